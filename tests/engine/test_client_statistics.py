"""Statistics over clients, and which evaluation is taken: hand-computed values."""

import math

import numpy as np
import pytest

from fedjax_layers.engine.history import client_statistics as fs

NAN, INF = math.nan, math.inf


def all_nan(values):
    return all(math.isnan(value) for value in values)


def test_summarise_by_hand():
    # Mean 0.5; weighted (0.2·1 + 0.4·1 + 0.9·2) / 4; deviations −0.3, −0.1, 0.4.
    found = fs.summarise([0.2, 0.4, 0.9], [1, 1, 2])
    assert list(found) == ["mean", "weighted", "std", "min", "p10", "n"]
    expected = {"mean": 0.5, "weighted": 0.6, "std": math.sqrt(0.26 / 3), "min": 0.2, "p10": 0.24, "n": 3}
    assert found == pytest.approx(expected)


def test_summarise_leaves_clients_without_a_score_out_with_their_weight():
    assert fs.summarise([NAN, 0.2, 0.6], [100, 1, 3]) == fs.summarise([0.2, 0.6], [1, 3])
    assert fs.summarise([NAN, 0.2, 0.6], [100, 1, 3])["n"] == 2


def test_summarise_of_nobody_and_of_no_weight():
    for nobody in (fs.summarise([NAN, NAN], [1, 1]), fs.summarise([], [])):
        assert nobody.pop("n") == 0
        assert all_nan(nobody.values())
    found = fs.summarise([0.2, 0.4], [0, 0])
    assert math.isnan(found["weighted"])
    assert found["mean"] == pytest.approx(0.3)


def test_a_diverged_client_shows():
    found = fs.summarise([1.0, INF, 3.0], [1, 1, 1])
    assert found["mean"] == found["weighted"] == INF
    assert math.isnan(found["std"])
    assert found["min"] == 1.0
    assert fs.summarise([1.0, INF], [1, 0])["weighted"] == 1.0


@pytest.mark.parametrize("weights", [[1, -1], [1, NAN], [INF, 1]])
def test_summarise_refuses_weights(weights):
    with pytest.raises(ValueError, match="weights"):
        fs.summarise([0.1, 0.2], weights)


def test_unequal_shapes_and_ranks_are_named():
    with pytest.raises(ValueError, match=r"values \(2,\), weights \(1,\)"):
        fs.summarise([0.1, 0.2], [1])
    with pytest.raises(ValueError, match="values: expected rank 1"):
        fs.fairness_variance([[0.1]])


def test_fairness_is_the_population_variance():
    assert fs.fairness_variance([1.0, 2.0, NAN, 6.0]) == pytest.approx((4 + 1 + 9) / 3)
    assert math.isnan(fs.fairness_variance([NAN]))


VAL_LOSS = [
    [2.0, NAN, 3.0, NAN, NAN],
    [1.0, 5.0, NAN, NAN, INF],
    [1.0, 4.0, NAN, NAN, INF],
    [NAN, 6.0, NAN, NAN, NAN],
]


def test_best_round_is_the_first_lowest():
    np.testing.assert_array_equal(fs.best_round(VAL_LOSS), [1, 2, 0, -1, 1])


def test_last_round_is_the_last_evaluated():
    np.testing.assert_array_equal(fs.last_round(VAL_LOSS), [2, 3, 0, -1, 2])


def test_no_evaluation_at_all():
    for function in (fs.best_round, fs.last_round):
        np.testing.assert_array_equal(function(np.empty((0, 3))), [-1, -1, -1])
    assert all_nan(fs.select_rounds(np.empty((0, 3)), [-1, -1, -1]))


def test_select_rounds_takes_the_client_s_own():
    scores = np.arange(20.0).reshape(4, 5)
    np.testing.assert_array_equal(fs.select_rounds(scores, fs.best_round(VAL_LOSS)), [5, 11, 2, NAN, 9])


@pytest.mark.parametrize("index", [[0, 4], [0, -2], [0], [0.0, 1.0]])
def test_select_rounds_refuses_an_index(index):
    with pytest.raises(ValueError, match="index"):
        fs.select_rounds(np.zeros((4, 2)), index)


COMMON = {
    "weights decide": ([[1.0, 5.0], [2.0, 1.0], [1.5, 1.5]], [9, 1], 0),
    "or even ones": ([[1.0, 5.0], [2.0, 1.0], [1.5, 1.5]], [1, 1], 1),
    "the first on ties": ([[2.0, 1.0], [1.0, 2.0]], [1, 1], 0),
    "rows of nobody are stepped over": ([[NAN, NAN], [2.0, 2.0], [1.0, 1.0], [NAN, NAN]], [1, 1], 2),
    "who is not always there does not count": ([[1.0, NAN], [0.9, 9.0], [1.1, 0.1]], [1, 1], 1),
    "nor who weighs nothing": ([[2.0, 1.0], [1.0, INF]], [1, 0], 1),
    "an infinite loss is not best": ([[INF, 1.0], [9.0, 9.0]], [1, 1], 1),
    "all infinite": ([[INF, 1.0], [INF, 0.5]], [1, 1], 0),
    "all infinite after nobody": ([[NAN, NAN], [INF, 0.5]], [1, 1], 1),
    "nobody is always there": ([[1.0, NAN], [NAN, 1.0]], [1, 1], -1),
    "nobody at all": ([[NAN, NAN]], [1, 1], -1),
}


@pytest.mark.parametrize("case", COMMON)
def test_best_common_round(case):
    losses, weights, expected = COMMON[case]
    assert fs.best_common_round([losses], weights) == expected
    for cut in range(1, len(losses)):
        assert fs.best_common_round([losses[:cut], losses[cut:]], weights) == expected
