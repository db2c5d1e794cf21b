"""When a run counts as diverged, from its history alone."""

import numpy as np
import pytest

from fedjax_layers.experiment.records.soundness import divergence

NOBODY = "since the middle of the run, the results of no client are finite"


class Told:
    """What ``divergence`` reads of a history."""

    def __init__(self, losses, participants=(3,), nonfinite=(0,)):
        self.rounds = {"participants": np.array(participants), "nonfinite": np.array(nonfinite)}
        self.evaluations = {"served/test/loss": np.array(losses, float)}


@pytest.mark.parametrize(
    ("told", "guess", "expected"),
    [
        (Told([[1, 2, 3], [1, 2, 4]]), np.inf, None),
        (Told([[1, 2, 3], [1, 3e3, 4e3]]), np.inf, "the median test loss over clients is 3e+03"),
        (Told([[1, 2, 3], [1, 1.9e3, 4e3]]), np.inf, None),  # twice a thousand would be the limit
        (Told([[0.01, 0.02, 0.03], [1, 900, 4e3]]), np.inf, None),  # overfit, of a loss below 1
        (Told([[1e5, 1e5, 1e5]]), np.inf, None),  # a loss of values has no scale of its own
        (Told([[1e5, 1e5, 1e5]]), np.log(10), "the median test loss over clients is 1e+05"),
        (Told([[1, 2, 3], [1, 2, np.inf]]), np.inf, None),  # one client whose test examples are broken
        (Told([[1, 2, 3], [1, np.inf, np.inf]]), np.inf, "the median test loss over clients is not finite"),
        (Told([[1, np.nan, np.nan]]), np.inf, None),  # NaN is a client without test examples
        (Told([[1, 2, 3]], [3, 0, 2], [0, 3, 1]), np.inf, None),
        (
            Told([[1, 2, 3]], [3, 0, 0], [0, 2, 0]),
            np.inf,
            NOBODY,
        ),
    ],
)
def test_divergence(told, guess, expected):
    assert divergence(told, "served", None, guess) == expected


def test_clients_that_never_take_part_do_not_count():
    told = Told([[1, np.inf, np.inf]])
    assert divergence(told, "served", np.array([False, True, True])) is None
