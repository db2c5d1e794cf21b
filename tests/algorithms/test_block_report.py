"""Steadiness of a choice of blocks, on choices whose steadiness is known."""

import numpy as np
import pytest

from fedjax_layers.algorithms.sharing.block_report import overlap, rank_correlation, selection_summary


def chosen(*rounds, blocks=4):
    return np.array([[b in chosen for b in range(blocks)] for chosen in rounds])


def test_overlap():
    assert overlap(chosen({0, 1}, {0, 1}, {0, 1})) == 1
    assert overlap(chosen({0}, {1}, {0})) == 0
    assert overlap(chosen({0, 1}, {1, 2})) == pytest.approx(1 / 3)
    assert overlap(chosen(set(), set())) == 1
    assert overlap(chosen({0})) is None


def test_rank_correlation():
    rising = np.array([[1.0, 2, 3, 4], [10, 20, 30, 40]])
    assert rank_correlation(rising) == pytest.approx(1)
    assert rank_correlation(np.stack([rising[0], rising[0][::-1]])) == pytest.approx(-1)
    gap = np.stack([rising[0], np.full(4, np.nan), rising[1]])
    assert rank_correlation(gap) == pytest.approx(1), "rounds without scores are stepped over"
    assert rank_correlation(np.ones((3, 4))) is None
    assert rank_correlation(np.full((3, 4), np.nan)) is None


def test_the_summary_of_recorded_rounds():
    rounds = {"selected": chosen({0, 1}, {1, 2}), "block_scores": np.array([[4.0, 3, 2, 1], [1, 4, 3, 2]])}
    found = selection_summary(rounds)["updated_blocks"]
    assert found["frequency"] == [0.5, 1.0, 0.5, 0.0]
    assert found["overlap"] == pytest.approx(1 / 3)
    assert -1 < found["rank_correlation"] < 1
