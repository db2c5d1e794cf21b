"""Areas under the curves against scikit-learn: ties, rare classes, certain outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics

from fedjax_layers.ops.metrics import class_log_odds, rank_scores

NAMES = {"roc_auc": metrics.roc_auc_score, "average_precision": metrics.average_precision_score}


def ours(logits, labels, mask=None):
    mask = np.ones(len(labels), bool) if mask is None else mask
    score = jax.jit(lambda x, y, m: rank_scores(class_log_odds(x), y, m))
    found = score(jnp.asarray(logits, jnp.float32), jnp.asarray(labels, jnp.int32), jnp.asarray(mask))
    return {name: float(x) for name, x in found.items()}


def theirs(logits, labels):
    """Macro one-versus-rest over the classes with both sides; of two classes, class 1 alone."""
    logits = np.asarray(logits, np.float64)
    share = np.exp(logits - logits.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    classes = [1] if logits.shape[1] == 2 else range(logits.shape[1])
    some = [s for s in classes if 0 < (labels == s).sum() < len(labels)]
    return {name: np.mean([fn(labels == s, share[:, s]) for s in some]) for name, fn in NAMES.items()}


def rows(classes, number, seed=0, steps=4):
    """Labels of which class 0 has nine in ten, and logits of few levels, so that many are tied."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(number) < 0.9, 0, rng.integers(0, classes, number))
    logits = np.round(rng.normal(size=(number, classes)) * steps) / steps
    logits[np.arange(number), labels] += 0.5
    return logits, labels


@pytest.mark.parametrize(("classes", "number"), [(2, 60), (5, 40), (3, 7)])
def test_ranks_as_in_scikit_learn(classes, number):
    logits, labels = rows(classes, number)
    assert ours(logits, labels) == pytest.approx(theirs(logits, labels), rel=1e-5)


def test_rows_outside_the_mask_and_nan_outputs():
    logits, labels = rows(3, 30)
    mask = np.arange(30) % 3 > 0
    hidden = np.where(mask[:, None], logits, 50.0)
    assert ours(hidden, labels, mask) == pytest.approx(theirs(logits[mask], labels[mask]), rel=1e-5)
    assert ours(np.full((6, 2), np.nan), [0, 1, 0, 1, 0, 0]) == pytest.approx(
        {"roc_auc": 0.5, "average_precision": 2 / 6}
    )
    for nothing in (ours(logits, labels, np.zeros(30, bool)), ours(logits, np.full(30, 2))):
        assert np.isnan(list(nothing.values())).all()


def test_probabilities_that_float32_cannot_tell_apart_keep_their_order():
    logits = np.array([[0, 40, 1], [0, 30, 1], [0, 20, 1], [25, 0, 1], [0, 0, 60]])  # three of class 1 are sure
    assert jax.nn.softmax(jnp.asarray(logits, jnp.float32))[:3, 1].tolist() == [1, 1, 1]
    labels = np.array([1, 0, 1, 0, 2])
    assert ours(logits, labels) == pytest.approx(theirs(logits, labels), rel=1e-6)
    odds = np.asarray(class_log_odds(jnp.asarray(logits, jnp.float32)))
    others = np.log(np.exp(0) + np.exp(1))
    np.testing.assert_allclose(odds[:3, 1], np.array([40, 30, 20]) - others, rtol=1e-6)


def test_a_thousand_examples():
    logits, labels = rows(4, 1000, steps=1000)
    assert ours(logits, labels) == pytest.approx(theirs(logits, labels), rel=1e-5)
