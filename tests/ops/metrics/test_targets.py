"""Scores of a regression against scikit-learn: batches, far targets, equal targets, several targets."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics

from fedjax_layers.ops.metrics import TargetScorer

SCORER = TargetScorer()


def ours(outputs, labels, cuts=(), mask=None):
    """Scores of rows that are evaluated in the pieces between the cuts."""
    outputs, labels = np.asarray(outputs, np.float32), np.asarray(labels, np.float32)
    mask = np.ones(len(labels), bool) if mask is None else mask
    edges = [0, *cuts, len(labels)]
    pieces = [slice(a, b) for a, b in itertools.pairwise(edges)]
    tallies = [SCORER.tally(*(jnp.asarray(x[piece]) for x in (outputs, labels, mask))) for piece in pieces]
    merged = SCORER.merge(jax.tree.map(lambda *x: jnp.stack(x), *tallies))
    scores = SCORER.scores(merged, jnp.float32(0))
    assert set(scores) == set(SCORER.names)
    return {name: float(scores[name]) for name in ("mae", "rmse", "r2")}


def theirs(outputs, labels):
    outputs, labels = (np.asarray(np.float32(x), np.float64) for x in (outputs, labels))
    return {
        "mae": metrics.mean_absolute_error(labels, outputs),
        "rmse": metrics.root_mean_squared_error(labels, outputs),
        "r2": metrics.r2_score(labels, outputs),
    }


@pytest.mark.parametrize("cuts", [(), (1,), (4, 9)])
def test_whatever_the_batches(cuts):
    rng = np.random.default_rng(0)
    labels = rng.normal(size=12) * 3 + 7
    outputs = labels + rng.normal(size=12)
    assert ours(outputs[:, None], labels, cuts) == pytest.approx(theirs(outputs, labels), rel=1e-5)


def test_r2_of_targets_far_from_zero_does_not_cancel():
    rng = np.random.default_rng(1)
    labels = 2000 + rng.integers(-4, 5, 300)
    outputs = labels + np.round(rng.normal(size=300) * 4) / 4
    assert ours(outputs, labels, (100, 101)) == pytest.approx(theirs(outputs, labels), rel=1e-4)


@pytest.mark.parametrize(("error", "r2"), [(0, 1), (0.5, 0)])
def test_equal_targets(error, r2):
    labels = np.full(7, 0.1)
    found = ours(np.float32(labels) + error, labels, (3,))
    assert found["r2"] == r2 == theirs(np.float32(labels) + error, labels)["r2"]


def test_several_targets_and_rows_outside_the_mask():
    rng = np.random.default_rng(2)
    labels, errors = rng.normal(size=(9, 3)) * [1, 5, 9], rng.normal(size=(9, 3))
    mask = np.arange(9) != 4
    outputs = np.where(mask[:, None], labels + errors, np.nan)
    assert ours(outputs, labels, (5,), mask) == pytest.approx(theirs(outputs[mask], labels[mask]), rel=1e-5)


def test_one_example_has_no_r2_none_has_nothing_and_a_diverged_model_is_infinitely_wrong():
    assert ours([3.0], [1.0]) == pytest.approx({"mae": 2, "rmse": 2, "r2": np.nan}, nan_ok=True)
    assert np.isnan(list(ours([3.0], [1.0], mask=np.array([False])).values())).all()
    assert ours([np.nan, 1.0], [1.0, 2.0]) == {"mae": np.inf, "rmse": np.inf, "r2": -np.inf}


def test_outputs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"outputs: expected one for each target, \(4,\), got \(4, 2\)"):
        SCORER.tally(jnp.zeros((4, 2)), jnp.zeros(4), jnp.ones(4, bool))
