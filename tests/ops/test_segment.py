"""Means over teams: hand-computed, against a loop, empty teams, strangers, NaN, dtypes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_layers.ops import segment_mean, weighted_mean

TREE = {"w": jnp.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]), "b": jnp.asarray([1.0, 2.0, 3.0, 4.0])}


def test_by_hand_with_unequal_teams_and_weights():
    means = segment_mean(TREE, jnp.asarray([1, 0, 1, 1]), 2, jnp.asarray([1.0, 2.0, 3.0, 0.0]))
    np.testing.assert_allclose(means["w"], [[3, 4], [(1 + 15) / 4, (2 + 18) / 4]])
    np.testing.assert_allclose(means["b"], [2, (1 + 9) / 4])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 9)), min_size=1, max_size=12), st.integers(0, 99))
def test_equals_a_mean_per_team(clients, seed):
    ids, weights = (np.array(column) for column in zip(*clients, strict=True))
    x = np.random.default_rng(seed).normal(size=(len(ids), 3)).astype(np.float32)
    fallback = np.full((4, 3), 9, np.float32)
    found = segment_mean(jnp.asarray(x), jnp.asarray(ids), 4, jnp.asarray(weights, jnp.float32), jnp.asarray(fallback))
    for team in range(4):
        member = (ids == team) & (weights > 0)
        expected = np.average(x[member], axis=0, weights=weights[member]) if member.any() else fallback[team]
        np.testing.assert_allclose(found[team], expected, rtol=1e-5, atol=1e-6)


def test_one_team_is_the_weighted_mean():
    weights = jnp.asarray([1.0, 0.0, 2.0, 5.0])
    one = segment_mean(TREE, jnp.zeros(4, jnp.int32), 1, weights)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, rtol=1e-6), one, weighted_mean(TREE, weights))


def test_a_team_of_nobody_is_the_fallback_or_nan():
    ids = jnp.asarray([0, 0, 2, 2])
    assert np.isnan(segment_mean(TREE, ids, 3)["b"][1])
    kept = segment_mean(TREE, ids, 3, fallback={"w": jnp.full((3, 2), 5.0), "b": jnp.full(3, 6.0)})
    np.testing.assert_allclose(kept["w"][1], [5, 5])
    assert kept["b"][1] == 6
    assert segment_mean(jnp.asarray([1, 2, 3, 3]), ids, 3).tolist() == [2, 0, 3]  # 1.5 rounds to even


def test_nan_of_weight_zero_stays_outside():
    poisoned = TREE["w"].at[3].set(jnp.nan)
    means = segment_mean(poisoned, jnp.asarray([0, 0, 1, 1]), 2, jnp.asarray([1.0, 1.0, 1.0, 0.0]))
    np.testing.assert_allclose(means, [[2, 3], [5, 6]])


def test_jit_vmap_and_gradient():
    ids = jnp.asarray([0, 1, 1, 0])
    by_weights = jax.jit(jax.vmap(lambda w: segment_mean(TREE["w"], ids, 2, w)))
    many = by_weights(jnp.asarray([[1.0, 1, 1, 1], [1.0, 2, 3, 4]]))
    np.testing.assert_allclose(many[1], segment_mean(TREE["w"], ids, 2, jnp.asarray([1.0, 2, 3, 4])), rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_dtype_is_kept_and_sums_are_float32(dtype):
    ones = jnp.ones((3000, 2), dtype)
    means = segment_mean(ones, jnp.zeros(3000, jnp.int32), 1)
    assert means.dtype == dtype
    np.testing.assert_allclose(means.astype(jnp.float32), 1, rtol=1e-2 if dtype == jnp.bfloat16 else 1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segment_ids": jnp.zeros(3, jnp.int32)}, r"segment_ids: expected shape \(4\), found \(3,\)"),
        ({"segment_ids": jnp.zeros(4)}, "segment_ids: expected integers, found float32"),
        ({"num_segments": 0}, "num_segments: expected at least 1, got 0"),
        ({"weights": jnp.ones(5)}, r"weights: expected shape \(4\), found \(5,\)"),
        ({"fallback": {"w": jnp.zeros((3, 2)), "b": jnp.zeros(2)}}, r"fallback at 'w': expected shape \(2, 2\)"),
        ({"fallback": {"w": jnp.zeros((2, 2))}}, "fallback: expected a leaf at 'b', found none"),
    ],
)
def test_bad_input(changes, message):
    arguments = {"segment_ids": jnp.zeros(4, jnp.int32), "num_segments": 2} | changes
    with pytest.raises(ValueError, match=message):
        segment_mean(TREE, **arguments)
