"""Means over clients: properties, hand-computed values, empty cohorts, NaN in padding, dtypes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fedjax_layers.ops import layer_map, masked_mean, weighted_mean

K, L = 5, 3
SHAPES = [{"w": (2, 2), "b": (2,)}, {"w": (2, 1), "b": (1,)}, {"w": (1, 2)}]
LAYERS = layer_map(jax.tree.map(jnp.zeros, SHAPES, is_leaf=lambda x: isinstance(x, tuple)))

values = st.lists(st.floats(-1e3, 1e3, width=32), min_size=K, max_size=K)
amounts = st.lists(st.integers(0, 50), min_size=K, max_size=K).filter(any)
masks = st.lists(st.booleans(), min_size=K * L, max_size=K * L)
properties = settings(max_examples=50, deadline=None)


def stacked_from(numbers, dtype=jnp.float32):
    """A stacked model whose leaves all differ, from K numbers."""
    column = np.asarray(numbers)

    def leaf(i, shape):
        size = int(np.prod(shape))
        return jnp.asarray((column[:, None] * (i + 1) + np.arange(size)).reshape(K, *shape), dtype)

    return jax.tree.unflatten(LAYERS.treedef, [leaf(i, s) for i, s in enumerate(LAYERS.leaf_shapes)])


def fallback(value=-7.0, dtype=jnp.float32):
    return jax.tree.unflatten(LAYERS.treedef, [jnp.full(s, value, dtype) for s in LAYERS.leaf_shapes])


def assert_close(a, b, **kw):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **(kw or {"rtol": 2e-5, "atol": 2e-3})), a, b)


compiled_mean = jax.jit(weighted_mean)  # once, not for every drawn example
compiled_masked_mean = jax.jit(masked_mean)


@properties
@given(values, amounts, st.permutations(range(K)))
def test_order_does_not_matter(numbers, weights, order):
    tree, weights, order = stacked_from(numbers), jnp.asarray(weights, jnp.float32), jnp.asarray(order)
    assert_close(compiled_mean(tree, weights), compiled_mean(jax.tree.map(lambda x: x[order], tree), weights[order]))


@properties
@given(values, amounts, st.sampled_from([2.0**-20, 0.3, 7.0, 2.0**20]))
def test_only_the_ratios_of_the_weights_matter(numbers, weights, scale):
    tree, weights = stacked_from(numbers), jnp.asarray(weights, jnp.float32)
    assert_close(compiled_mean(tree, weights), compiled_mean(tree, weights * scale))


@properties
@given(values, amounts)
def test_the_mean_lies_between_the_clients_that_count(numbers, weights):
    tree, there = stacked_from(numbers), np.asarray(weights) > 0
    mean = compiled_mean(tree, jnp.asarray(weights, jnp.float32))
    for x, m in zip(jax.tree.leaves(tree), jax.tree.leaves(mean), strict=True):
        slack = 1e-5 * np.abs(x).max() + 1e-30
        assert (np.asarray(x)[there].min(0) - slack <= m).all()
        assert (m <= np.asarray(x)[there].max(0) + slack).all()


@properties
@given(values, amounts, masks)
def test_a_mask_per_client_renormalises_each_layer(numbers, weights, mask):
    mask = np.asarray(mask).reshape(K, L)
    tree, weights = stacked_from(numbers), np.asarray(weights, np.float64)
    found = compiled_masked_mean(tree, jnp.asarray(weights, jnp.float32), jnp.asarray(mask), LAYERS, fallback())
    for layer, x, mean in zip(LAYERS.leaf_layers, jax.tree.leaves(tree), jax.tree.leaves(found), strict=True):
        share = weights * mask[:, layer]
        rows = np.asarray(x, np.float64)
        hand = np.tensordot(share, rows, 1) / share.sum() if share.any() else np.full(rows.shape[1:], -7.0)
        np.testing.assert_allclose(mean, hand, rtol=2e-5, atol=2e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(-1000, 1000), amounts)
def test_whole_numbers_that_agree_stay_what_they_are(number, weights):
    tree = {"step": jnp.full((K, 2), number, jnp.int32)}
    mean = weighted_mean(tree, jnp.asarray(weights, jnp.float32))
    assert mean["step"].dtype == jnp.int32
    assert mean["step"].tolist() == [number, number]


@settings(max_examples=30, deadline=None)
@given(values, amounts)
def test_doubles_keep_their_digits_whatever_the_weights_dtype(numbers, weights):
    assume(max(map(abs, numbers)) > 0)
    with jax.enable_x64(True):
        tree = {"w": jnp.asarray(numbers, jnp.float64)}
        found = weighted_mean(tree, jnp.asarray(weights, jnp.float32))["w"]
        assert found.dtype == jnp.float64
        hand = np.average(np.asarray(numbers, np.float64), weights=weights)
        np.testing.assert_allclose(found, hand, rtol=1e-12, atol=1e-12 * max(map(abs, numbers)))


def test_three_clients_by_hand():
    tree = {"w": jnp.asarray([[1.0, 2.0], [3.0, 4.0], [100.0, jnp.nan]])}
    np.testing.assert_allclose(weighted_mean(tree, jnp.asarray([1.0, 3.0, 0.0]))["w"], [2.5, 3.5], rtol=1e-6)
    np.testing.assert_allclose(weighted_mean(tree, jnp.asarray([1, 3, 0]))["w"], [2.5, 3.5], rtol=1e-6)


def test_halves_are_averaged_in_single_precision():
    x = jnp.concatenate([jnp.ones((1, 1)), jnp.full((999, 1), 2.0)]).astype(jnp.bfloat16)
    found = weighted_mean({"w": x}, jnp.ones(1000))["w"]
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found.astype(jnp.float32), [2.0])  # 1.999; summing in bfloat16 stalls at 512


def test_rows_of_weight_zero_may_hold_nan_and_gradients_stay_finite():
    tree, weights = stacked_from(range(K)), jnp.asarray([2.0, 0.0, 1.0, 0.0, 1.0])
    poisoned = jax.tree.map(lambda x: x.at[1].set(jnp.nan).at[3].set(jnp.inf), tree)
    assert_close(weighted_mean(poisoned, weights), weighted_mean(tree, weights), rtol=0, atol=0)
    mask = jnp.asarray(np.ones((K, L), bool)).at[0, 1].set(False)
    on_layer_1 = jax.tree.map(lambda x: x, poisoned)
    on_layer_1[1]["w"] = on_layer_1[1]["w"].at[0].set(jnp.nan)
    found = masked_mean(on_layer_1, weights, mask, LAYERS, fallback())
    assert_close(found, masked_mean(tree, weights, mask, LAYERS, fallback()), rtol=0, atol=0)

    def total(x, w):
        return sum(leaf.sum() for leaf in jax.tree.leaves(weighted_mean(x, w)))

    by_leaf, by_weight = jax.grad(total, (0, 1))(poisoned, weights)
    assert_close(by_leaf, jax.tree.map(lambda x: jnp.ones_like(x) * _column(weights / 4, x), tree))
    assert np.isfinite(by_weight).all()


def test_derivatives_by_hand():
    """d mean / d w_k is (x_k - mean) / W."""
    x, w = jnp.asarray([1.0, 2.0, 6.0]), jnp.asarray([1.0, 2.0, 1.0])
    by_weight = jax.grad(lambda w: weighted_mean({"x": x}, w)["x"])(w)
    np.testing.assert_allclose(by_weight, [(1 - 2.75) / 4, (2 - 2.75) / 4, (6 - 2.75) / 4], rtol=1e-5)


def _column(w, x):
    return w.reshape(w.shape + (1,) * (x.ndim - 1))


def test_nobody_gives_the_fallback_or_nan():
    tree, none = stacked_from(range(K)), jnp.zeros(K)
    assert_close(weighted_mean(tree, none, fallback()), fallback(), rtol=0, atol=0)
    assert all(np.isnan(x).all() for x in jax.tree.leaves(weighted_mean(tree, none)))
    assert weighted_mean({"n": jnp.ones((K, 2), jnp.int32)}, none)["n"].tolist() == [0, 0]
    grads = jax.grad(lambda w: weighted_mean({"x": jnp.arange(5.0)}, w, {"x": jnp.float32(3)})["x"])(none)
    np.testing.assert_array_equal(grads, np.zeros(K))


def test_a_common_mask_takes_other_layers_from_the_fallback():
    tree, weights = stacked_from(range(K)), jnp.asarray([1.0, 2.0, 0.0, 4.0, 1.0])
    found = masked_mean(tree, weights, jnp.asarray([True, False, True]), LAYERS, fallback())
    whole = weighted_mean(tree, weights)
    assert_close(found, [whole[0], fallback()[1], whole[2]], rtol=0, atol=0)


def test_jit_and_vmap_equal_a_loop():
    tree, other = stacked_from(range(K)), fallback()
    rows = jnp.asarray([[1.0, 2, 0, 4, 1], [0, 0, 0, 0, 0], [0, 0, 5, 0, 0]])
    mask = jnp.asarray(np.arange(K * L).reshape(K, L) % 2 == 0)
    together = jax.jit(jax.vmap(lambda w: masked_mean(tree, w, mask, LAYERS, other)))(rows)
    for i, w in enumerate(rows):
        one = masked_mean(tree, w, mask, LAYERS, other)
        assert_close(jax.tree.map(lambda x, i=i: x[i], together), one, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("weights", [np.ones(K - 1), np.ones((K, 1)), np.float32(1)])
def test_weights_of_another_shape_are_refused(weights):
    weights = jnp.asarray(weights, jnp.float32)
    with pytest.raises(ValueError, match=r"weights: expected shape \(5\), found"):
        weighted_mean(stacked_from(range(K)), weights)
    with pytest.raises(ValueError, match="expected shape"):
        masked_mean(stacked_from(range(K)), weights, jnp.ones(L, bool), LAYERS, fallback())


@pytest.mark.parametrize("shape", [(L + 1,), (K, L - 1), (K + 1, L), (1, K, L)])
def test_masks_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="mask: expected shape"):
        masked_mean(stacked_from(range(K)), jnp.ones(K), jnp.ones(shape, bool), LAYERS, fallback())


def test_trees_that_differ_are_named_by_path():
    tree = stacked_from(range(K))
    with pytest.raises(ValueError, match=r"stacked: .*shape \(4, 1, 2\) at '2/w'"):
        weighted_mean([*tree[:2], {"w": tree[2]["w"][:4]}], jnp.ones(K))
    with pytest.raises(ValueError, match=r"stacked: expected leaves .* scalar at 'x'"):
        weighted_mean({"x": jnp.float32(1)}, jnp.ones(K))
    with pytest.raises(ValueError, match="fallback: expected a leaf at '1/b'"):
        weighted_mean(tree, jnp.ones(K), [fallback()[0], {"w": jnp.zeros((2, 1))}, fallback()[2]])
    with pytest.raises(ValueError, match=r"stacked at '2/w': expected shape \(5, 1, 2\), found \(5, 2, 1\)"):
        masked_mean([*tree[:2], {"w": jnp.zeros((K, 2, 1))}], jnp.ones(K), jnp.ones(L, bool), LAYERS, fallback())


@pytest.mark.parametrize("wrong", [(K, 1, 2), (2, 2), ()])
def test_a_fallback_leaf_of_another_shape_is_refused(wrong):
    """Broadcasting it would hand back a model of another shape, or one number for a whole leaf."""
    tree, other = stacked_from(range(K)), [*fallback()[:2], {"w": jnp.zeros(wrong)}]
    with pytest.raises(ValueError, match="fallback at '2/w': expected shape"):
        weighted_mean(tree, jnp.ones(K), other)
    with pytest.raises(ValueError, match="fallback at '2/w': expected shape"):
        masked_mean(tree, jnp.ones(K), jnp.ones(L, bool), LAYERS, other)
