"""The order of settings: by validation, never by test; stopped ones behind, broken ones last."""

import pytest

from fedjax_layers.sweeps.groups import fall_behind
from fedjax_layers.sweeps.request import Stopping
from fedjax_layers.sweeps.results import headline_of, rank


def row(mu, seed, val, test, why="finished", rounds=4):
    scores = {"personal/val/macro_f1": val, "personal/test/macro_f1": test, "personal/test/accuracy": 0.0}
    scores["personal/test/macro_f1/n"] = 5 - seed
    return {"mu": mu, "seed": seed, "why": why, "rounds": rounds} | scores


def test_the_best_by_validation_with_its_test_score():
    rows = [row(0.1, 0, 0.5, 0.9), row(0.1, 1, 0.7, 0.7), row(0.2, 0, 0.8, 0.1), row(0.2, 1, 0.6, 0.3)]
    best, other = rank(rows, ["mu"])
    assert (best["mu"], best["runs"], best["why"]) == (0.2, 2, {"finished": 2})
    assert best["validation"] == pytest.approx(0.7)
    assert best["n"] == 4, "the fewest clients of its seeds"
    assert (best["test"], best["test_std"]) == (pytest.approx(0.2), pytest.approx(0.1))
    assert (other["mu"], other["test"]) == (0.1, pytest.approx(0.8))


def test_stopped_settings_come_behind_and_broken_ones_last():
    rows = [
        row(1, 0, None, None, "diverged", 1),
        row(2, 0, 0.9, 0.9, "stopped", 2),
        row(3, 0, 0.1, 0.1),
        row(4, 0, 0.95, 0.9, "stopped", 1),
        row(5, 0, 0.2, 0.1, "patience", 2),
    ]
    assert [line["mu"] for line in rank(rows, ["mu"])] == [5, 3, 2, 4, 1]


def test_perplexity_is_better_low():
    rows = [
        {"k": k, "why": "finished", "rounds": 1, "personal/val/perplexity": v, "personal/test/perplexity": v}
        | {"personal/test/perplexity/n": 3}
        for k, v in ((1, 30.0), (2, 20.0), (3, 25.0))
    ]
    assert headline_of(rows) == "perplexity"
    assert [line["k"] for line in rank(rows, ["k"])] == [2, 3, 1]


def test_the_share_that_goes_on_is_rounded_up_and_ties_go_by_order():
    merits = {"a": [0.1, 0.3], "b": [0.9], "c": [0.2], "d": [float("-inf"), 1.0], "e": [0.2]}
    assert fall_behind(merits, 0.5) == {"e", "d"}
    assert fall_behind(merits, 0.21) == {"a", "c", "e", "d"} - {"a"}
    assert fall_behind({"a": [0.1]}, 0.01) == set()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"rungs": (0,)}, "rungs: expected rounds of at least 1 that go up, got"),
        ({"rungs": (3, 3)}, "rungs: expected rounds of at least 1 that go up, got"),
        ({"keep": 1.0}, "keep: expected a share between 0 and 1, got 1.0"),
        ({"keep": 0.0}, "keep: expected a share between 0 and 1, got 0.0"),
    ],
)
def test_a_rule_that_is_none_is_named(how, message):
    with pytest.raises(ValueError, match=message):
        Stopping(**how)
