"""Scores from counts, against scikit-learn and by hand; the names of all scores."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from fedjax_layers.engine.evaluation import score_names as scoring
from fedjax_layers.ops.metrics import confusion_matrix, scores_from_confusion
from fedjax_layers.ops.metrics.classes import COUNTED


def sklearn_scores(labels, predictions):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # predicted classes without a true label, a single class
        return {
            "accuracy": metrics.accuracy_score(labels, predictions),
            "macro_f1": metrics.f1_score(labels, predictions, average="macro", zero_division=0),
            "weighted_f1": metrics.f1_score(labels, predictions, average="weighted", zero_division=0),
            "balanced_accuracy": metrics.balanced_accuracy_score(labels, predictions),
            "mcc": metrics.matthews_corrcoef(labels, predictions),
        }


def our_scores(labels, predictions, num_classes):
    labels, predictions = jnp.asarray(labels, jnp.int32), jnp.asarray(predictions, jnp.int32)
    counts = confusion_matrix(labels, predictions, jnp.ones(labels.shape, bool), num_classes)
    return {name: float(value) for name, value in scores_from_confusion(counts).items()}


def assert_like_sklearn(labels, predictions, num_classes):
    ours = our_scores(labels, predictions, num_classes)
    for name, value in sklearn_scores(labels, predictions).items():
        assert ours[name] == pytest.approx(value, rel=2e-6, abs=1e-6), name


def test_the_names_are_complete():
    assert set(our_scores([0, 1], [0, 1], 2)) == set(COUNTED)
    kinds = (scoring.METRICS, scoring.LANGUAGE_METRICS, scoring.REGRESSION_METRICS, scoring.SURVIVAL_METRICS)
    assert {*set().union(*kinds), scoring.ATTACK_SUCCESS} >= scoring.LOWER_IS_BETTER
    assert [scoring.headline(names) for names in kinds] == list(scoring.HEADLINES)
    with pytest.raises(ValueError, match=r"metrics: expected one of macro_f1, .*, got accuracy"):
        scoring.headline(["accuracy"])


def test_values_by_hand():
    # True 0 0 0 1 1 2, predicted 0 0 1 1 2 0, of 4 classes; class 3 never occurs.
    ours = our_scores([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 0], 4)
    assert ours["accuracy"] == pytest.approx(3 / 6)
    assert ours["macro_f1"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)  # 4/(4+2), 2/(2+2), 0/2
    assert ours["weighted_f1"] == pytest.approx((3 * 2 / 3 + 2 * 1 / 2) / 6)
    assert ours["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    # n·hits − Σ support·predicted = 18 − (9 + 4 + 1) = 4; 36 − (9 + 4 + 1) = 22 for truth and predictions.
    assert ours["mcc"] == pytest.approx(4 / 22)


def test_a_class_predicted_but_never_true_counts_in_macro_f1_and_not_in_balanced_accuracy():
    ours = our_scores([0, 0, 0, 0], [0, 0, 0, 1], 3)
    assert ours["macro_f1"] == pytest.approx((6 / 7 + 0) / 2)
    assert ours["balanced_accuracy"] == pytest.approx(3 / 4)
    assert_like_sklearn([0, 0, 0, 0], [0, 0, 0, 1], 3)


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [
        ([1, 1, 1], [1, 1, 1]),  # one class, all right
        ([1, 1, 1], [0, 0, 0]),  # one class, all wrong, another one predicted throughout
        ([2], [2]),
        ([0, 1, 2, 0], [1, 1, 1, 1]),  # one class predicted: mcc undefined
        ([2, 2, 0, 2], [2, 0, 0, 2]),  # class 1 absent
        ([0, 1, 0, 1], [1, 0, 1, 0]),  # perfectly wrong: mcc -1
    ],
)
def test_edge_cases_like_sklearn(labels, predictions):
    assert_like_sklearn(labels, predictions, 3)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_random_rows_like_sklearn(rows):
    labels, predictions = zip(*rows, strict=True)
    assert_like_sklearn(labels, predictions, 5)


def test_mcc_of_many_unbalanced_examples_survives_single_precision():
    # 400 of 400,000 positive: n·hits − Σ support·predicted would cancel from 1.6e11 to below 1e8.
    counts = np.array([[399_300, 300], [250, 150]])
    labels = np.repeat([0, 0, 1, 1], counts.ravel())
    predictions = np.repeat([0, 1, 0, 1], counts.ravel())
    ours = scores_from_confusion(jnp.asarray(counts, jnp.int32))
    assert float(ours["mcc"]) == pytest.approx(metrics.matthews_corrcoef(labels, predictions), rel=1e-5)


def test_no_example_is_nan_in_every_score_and_touches_no_other_client():
    counts = jnp.stack([jnp.zeros((3, 3), jnp.int32), jnp.eye(3, dtype=jnp.int32)])
    scores = scores_from_confusion(counts)
    for name in COUNTED:
        assert np.isnan(scores[name][0])
        assert scores[name][1] == pytest.approx(1)


def test_leading_axes_and_vmap_equal_a_loop():
    rng = np.random.default_rng(0)
    counts = jnp.asarray(rng.integers(0, 9, size=(2, 3, 4, 4)), jnp.int32)
    stacked = scores_from_confusion(counts)
    mapped = jax.vmap(jax.vmap(scores_from_confusion))(counts)
    for name in COUNTED:
        assert stacked[name].shape == (2, 3)
        np.testing.assert_array_equal(stacked[name], mapped[name])
        one = scores_from_confusion(counts[1, 2])[name]
        np.testing.assert_allclose(stacked[name][1, 2], one, rtol=1e-6)


def test_strict_promotion_and_double_precision():
    counts = jnp.array([[5, 1], [2, 3]], jnp.int32)
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        scores_from_confusion(counts)
        confusion_matrix(jnp.array([[0, 1]]), jnp.array([[0, 0]]), jnp.array([True]), 2)
    with jax.enable_x64(True):
        scores = scores_from_confusion(jnp.asarray(np.array([[5, 1], [2, 3]])))
        labels, predictions = [0] * 6 + [1] * 5, [0] * 5 + [1] + [0] * 2 + [1] * 3
        for name, value in sklearn_scores(labels, predictions).items():
            assert scores[name].dtype == jnp.float64
            assert float(scores[name]) == pytest.approx(value, rel=1e-14)


def test_confusion_rows_are_true_classes():
    labels, predictions = jnp.array([0, 0, 1, 2]), jnp.array([1, 1, 1, 0])
    counts = confusion_matrix(labels, predictions, jnp.ones(4, bool), 3)
    assert counts.dtype == jnp.int32
    np.testing.assert_array_equal(counts, [[0, 2, 0], [0, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(counts, metrics.confusion_matrix(labels, predictions))


def test_padding_and_labels_out_of_range_are_not_counted():
    labels = jnp.array([0, 1, -1, 3, 1, 2])
    predictions = jnp.array([0, 1, 1, 1, -1, 2])
    counts = confusion_matrix(labels, predictions, jnp.array([True, True, True, True, True, False]), 3)
    np.testing.assert_array_equal(counts, [[1, 0, 0], [0, 1, 0], [0, 0, 0]])


def test_labels_may_be_stored_in_a_dtype_that_cannot_hold_the_number_of_classes():
    labels = jnp.array([0, 255], jnp.uint8)
    counts = confusion_matrix(labels, jnp.array([0, 255]), jnp.array([False, True]), 256)
    assert int(counts.sum()) == int(counts[255, 255]) == 1


def test_a_mask_of_rows_masks_all_positions_of_a_row():
    labels = jnp.array([[0, 1], [1, 1]])
    counts = confusion_matrix(labels, labels, jnp.array([True, False]), 2)
    np.testing.assert_array_equal(counts, [[1, 0], [0, 1]])


def test_confusion_under_vmap_equals_a_loop():
    rng = np.random.default_rng(1)
    labels, predictions = jnp.asarray(rng.integers(0, 4, (2, 5, 7)))
    mask = jnp.asarray(rng.random((5, 7)) < 0.7)
    stacked = jax.vmap(confusion_matrix, (0, 0, 0, None))(labels, predictions, mask, 4)
    for c in range(5):
        expected = metrics.confusion_matrix(labels[c][mask[c]], predictions[c][mask[c]], labels=list(range(4)))
        np.testing.assert_array_equal(stacked[c], expected)


def test_shapes_that_do_not_belong_together_are_named():
    ones = jnp.ones(3, jnp.int32)
    with pytest.raises(ValueError, match=r"predictions: expected .*\(3,\), got \(2,\)"):
        confusion_matrix(ones, ones[:2], ones.astype(bool), 2)
    with pytest.raises(ValueError, match="mask"):
        confusion_matrix(ones, ones, jnp.ones(2, bool), 2)
    with pytest.raises(ValueError, match=r"confusion: expected \[..., S, S\]"):
        scores_from_confusion(jnp.zeros((2, 3), jnp.int32))
