"""What the pages of the algorithms say about transfers and local work, against a round of each."""

import numpy as np

from tests import toy
from tests.rounds import task_of
from tests.test_algorithm_pages import REFRESH

ROWS = REFRESH.ROWS
NUMBERS = {"team_rounds": {"hsgd": 3, "permfl": 10}, "head_epochs": 10, "num_models": toy.CLIENTS - 1, "retained": 2}
"""The options that the phrases name, as the contract's rounds have them."""


def compare(name, info, clients):
    """Compare what a round of these clients has reported with the row of the algorithm."""
    row, here = ROWS[name], len(clients)
    sent, received, steps = (np.asarray(x) for x in (info.sent, info.received, info.steps))
    assert _moves(row.up, name, sent, here), (row.up, sent)
    assert _moves(row.down, name, received, here), (row.down, received)
    scalars = {
        "the model and num_models numbers": NUMBERS["num_models"],
        "the model and a number": 1,
        "the model and its marks": 4,
    }
    means = _means_of(clients) if row.up == "the means of its classes, with counts" else 0
    assert int(info.sent_scalars) == scalars.get(row.up, 0) * here + means
    trainer = toy.make_trainer(task_of(name))
    once = sum(int(trainer.num_steps(toy.COUNTS[c], c)) for c in clients)
    averaged = row.work.endswith("averaging") and sent.any()
    assert {
        "1": steps == once,
        "2": steps == 2 * once,
        "team_rounds": steps == (NUMBERS["team_rounds"].get(name) or 0) * once,
        "1, and head_epochs of the head": steps == (1 + NUMBERS["head_epochs"]) * once,
        "1, none in rounds of averaging": steps == (0 if averaged else once),
        "1, of the examples that are not held back": once / 2 <= steps <= once,
    }[row.work], (row.work, steps, once)


def _means_of(clients):
    """The numbers in the mean features and counts of the clients' classes."""
    labels = toy.make_pool()[1]
    own = (labels[toy.STARTS[c] : toy.STARTS[c] + toy.COUNTS[c]] for c in clients)
    return sum(len(np.unique(y)) for y in own) * (toy.WIDTHS[-2] + 1)


def _moves(phrase, name, counts, here):
    """Return whether the numbers of clients that sent or received each layer are those of a phrase."""
    some = set(counts.tolist())
    rounds = NUMBERS["team_rounds"].get(name)
    return {
        "nothing": some == {0},
        "the means of its classes, with counts": some == {0},
        "the common means": some == {0},
        "the model": some == {here},
        "the model and a number": some == {here},
        "the model and its marks": some == {here},
        "the model and a variate": some == {2 * here},
        "the adapters": some == {here},
        "every A": some == {0, here},
        "every B": some == {0, here},
        "the model and num_models numbers": some == {here},
        "the shared layers": some == {0, here},
        "the layers of one group": some == {0, here},
        "the chosen blocks": some == {0, here},
        "the layers that are due": some <= {0, here},
        "the layers averaged since its last round": (counts <= here).all(),
        "the layers that its coins keep": (counts <= here).all(),
        "the layers not kept": counts.sum() == here * (len(counts) - NUMBERS["retained"]),
        "num_models models": some == {NUMBERS["num_models"] * here},
        "the model, in each team round": some == {rounds and rounds * here},
        "the model, in rounds of averaging": some in ({0}, {here}),
    }[phrase]
