"""Mixing by layer: against loops, its pull-back against autodiff, sparse and sharded forms, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_layers.ops import (
    ClientAxis,
    SparseWeights,
    layer_map,
    mix_layers,
    mix_pullback,
    regroup,
    top_weights,
    weighted_mean,
)
from fedjax_layers.ops import mix as mix_module

POOL = {  # two layers, one of two leaves
    "Dense_0": {"kernel": (3, 2), "bias": (2,)},
    "Dense_1": {"kernel": (2, 4)},
}
SHAPES = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s, jnp.float32), POOL, is_leaf=lambda x: isinstance(x, tuple))
LAYERS = layer_map(SHAPES, ["Dense_0", "Dense_1"])


def pool(num, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(size=(num, *s.shape)), dtype), SHAPES)


def weights(targets, layers, num, seed=1):
    raw = np.random.default_rng(seed).random((targets, layers, num)) + 0.01
    return (raw / raw.sum(-1, keepdims=True)).astype(np.float32)


def layer_vectors(stacked, layers):
    """Each layer of each model as one flat vector: a list over layers of ``[C, P_l]``."""
    leaves = [np.asarray(x, np.float64).reshape(len(x), -1) for x in jax.tree.leaves(stacked)]
    numbers = layers.leaf_layers
    parts = [[x for x, n in zip(leaves, numbers, strict=True) if n == i] for i in range(layers.num_layers)]
    return [np.concatenate(part, axis=1) for part in parts]


def close(found, expected, **tolerance):
    tolerance = tolerance or {"rtol": 1e-5, "atol": 1e-6}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), found, expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.sampled_from(["tensor", "layer", "block", "model"]), st.integers(0, 99))
def test_every_layer_is_its_own_weighted_sum(targets, num, by, seed):
    stacked, layers = pool(num, seed), regroup(LAYERS, by)
    alpha = weights(targets, layers.num_layers, num, seed)
    expected = [np.einsum("kc,cp->kp", alpha[:, i], x) for i, x in enumerate(layer_vectors(stacked, layers))]
    found = layer_vectors(mix_layers(stacked, jnp.asarray(alpha), layers), layers)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_one_row_is_one_model_and_a_uniform_one_the_mean():
    stacked = pool(4)
    alpha = jnp.full((2, 4), 0.25)
    one = mix_layers(stacked, alpha, LAYERS)
    close(one, weighted_mean(stacked, jnp.ones(4)))


def test_oneself_alone_is_oneself_bit_for_bit():
    stacked = pool(5)
    alone = jnp.broadcast_to(jnp.eye(5)[:, None], (5, 2, 5))
    jax.tree.map(np.testing.assert_array_equal, mix_layers(stacked, alone, LAYERS), stacked)


def test_groups_by_name():
    blocks = layer_map(SHAPES, ["Dense_0", "Dense_1"], blocks=[0, 0])
    assert regroup(LAYERS, "tensor").names == ("Dense_0/bias", "Dense_0/kernel", "Dense_1/kernel")
    assert regroup(blocks, "block").sizes == regroup(LAYERS, "model").sizes == (6 + 2 + 8,)
    assert regroup(LAYERS, "layer") is LAYERS
    assert regroup(LAYERS, "tensor").sizes == (2, 6, 8)
    with pytest.raises(ValueError, match="by: expected tensor, layer, block or model, got 'leaf'"):
        regroup(LAYERS, "leaf")


def test_tensors_stand_in_call_order():
    shapes = {f"Dense_{i}": {"kernel": jax.ShapeDtypeStruct((1, 1), jnp.float32)} for i in (2, 10)}
    names = regroup(layer_map(shapes, ["Dense_2", "Dense_10"]), "tensor").names
    assert names == ("Dense_2/kernel", "Dense_10/kernel")  # flatten order has 10 first


@pytest.mark.parametrize("by", ["tensor", "layer", "model"])
def test_the_pull_back_is_autodiffs(by):
    stacked, layers = pool(5), regroup(LAYERS, by)
    alpha = jnp.asarray(weights(3, layers.num_layers, 5))
    cotangent = pool(3, seed=7)
    _, back = jax.vjp(lambda a: mix_layers(stacked, a, layers), alpha)
    np.testing.assert_allclose(mix_pullback(stacked, cotangent, layers), back(cotangent)[0], rtol=1e-5, atol=1e-6)


def test_relative_products_differ_by_a_constant_and_vanish_for_equal_models():
    stacked, cotangent = pool(5), pool(3, seed=7)
    gap = mix_pullback(stacked, cotangent, LAYERS) - mix_pullback(stacked, cotangent, LAYERS, relative=True)
    np.testing.assert_allclose(gap, jnp.broadcast_to(gap[..., :1], gap.shape), rtol=1e-4, atol=1e-5)
    equal = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), stacked)
    np.testing.assert_array_equal(mix_pullback(equal, cotangent, LAYERS, relative=True), 0)


def test_pools_larger_than_a_chunk(monkeypatch):
    stacked, cotangent = pool(7, dtype=np.float16), pool(3, seed=7, dtype=np.float16)
    alpha = jnp.asarray(weights(3, 2, 7))
    whole = mix_layers(stacked, alpha, LAYERS), mix_pullback(stacked, cotangent, LAYERS, relative=True)
    monkeypatch.setattr(mix_module, "_CHUNK_ELEMENTS", 24)  # three rows of 8, four of 6; the last chunk overlaps
    parts = mix_layers(stacked, alpha, LAYERS), mix_pullback(stacked, cotangent, LAYERS, relative=True)
    close(parts, whole, rtol=2e-3, atol=2e-3)
    assert all(x.dtype == np.float16 for x in jax.tree.leaves(parts[0]))
    assert parts[1].dtype == np.float32


def test_the_models_of_largest_weight_alone():
    stacked, alpha = pool(6), jnp.asarray(weights(4, 2, 6))
    everybody = mix_layers(stacked, top_weights(alpha, 6), LAYERS)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        everybody,
        mix_layers(stacked, alpha, LAYERS),
    )
    sparse = top_weights(alpha, 2)
    kept = np.where(np.argsort(np.argsort(-np.asarray(alpha), -1), -1) < 2, alpha, 0)
    dense = mix_layers(stacked, jnp.asarray(kept / kept.sum(-1, keepdims=True)), LAYERS)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), mix_layers(stacked, sparse, LAYERS), dense
    )
    np.testing.assert_array_equal(top_weights(jnp.zeros((1, 1, 3)), 2).weights, [[[1, 0]]])


@pytest.mark.devices
@pytest.mark.parametrize("num", [8, 5])
def test_a_sharded_pool_gives_the_same(num):
    mesh = jax.make_mesh((jax.device_count(),), ("clients",), axis_types=(jax.sharding.AxisType.Auto,))
    axis = ClientAxis(mesh=mesh)
    stacked, alpha, cotangent = pool(num), jnp.asarray(weights(3, 2, num)), pool(3, seed=7)
    close(mix_layers(stacked, alpha, LAYERS, axis), mix_layers(stacked, alpha, LAYERS))
    for relative in (False, True):
        sharded = jax.jit(lambda p, g, r=relative: mix_pullback(p, g, LAYERS, axis, relative=r))(stacked, cotangent)
        close(sharded, mix_pullback(stacked, cotangent, LAYERS, relative=relative))


def test_jit_vmap_and_gradient_by_the_pool():
    stacked, alpha = pool(3), jnp.asarray(weights(2, 2, 3))
    many = jax.jit(jax.vmap(lambda a: mix_layers(stacked, a, LAYERS)))(jnp.stack([alpha, alpha[::-1]]))
    close(jax.tree.map(lambda a: a[1], many), mix_layers(stacked, alpha[::-1], LAYERS))
    total = jax.grad(lambda p: sum(x.sum() for x in jax.tree.leaves(mix_layers(p, alpha, LAYERS))))(stacked)
    heard = np.asarray(alpha).sum(0)  # [L, C]
    close(total["Dense_1"]["kernel"], np.broadcast_to(heard[1][:, None, None], (3, 2, 4)))


def test_integers_are_rounded():
    found = mix_layers(
        [jnp.asarray([3, 3, 3])], jnp.full((1, 3), 1 / 3), layer_map([jax.ShapeDtypeStruct((), jnp.int32)])
    )
    assert found[0].tolist() == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[..., :2], r"alpha: expected shape \(K, 2, 3\), found \(2, 2, 2\)"),
        (lambda a: a[:, :1], r"alpha: expected shape \(K, 2, 3\), found \(2, 1, 3\)"),
        (lambda a: a[0, 0], r"alpha: expected shape .*, found \(3,\)"),
        (
            lambda a: a.at[1, 0].mul(2),
            "alpha: .* that sum to 1, got 2 with least .* for client 1, layer 0",
        ),
        (
            lambda a: a.at[0, 1].set(jnp.asarray([1.5, -0.5, 0])),
            "got 1 with least -0.5 for client 0, layer 1",
        ),
        (lambda a: a.at[0, 0, 0].set(jnp.nan), "alpha: .* got nan"),
        (
            lambda a: SparseWeights(jnp.full((1, 2, 1), 3), jnp.ones((1, 2, 1))),
            "expected rows 0 to 2 .*, got 3",
        ),
        (lambda a: SparseWeights(jnp.zeros((1, 2, 1), int), jnp.ones((1, 2, 2))), "alpha.weights: expected shape"),
    ],
)
def test_weights_that_are_none(change, message):
    with pytest.raises(ValueError, match=message) as error:
        mix_layers(pool(3), change(jnp.asarray(weights(2, 2, 3))), LAYERS)
    assert "\n" not in str(error.value)


def test_other_bad_input():
    broken = pool(3)
    broken["Dense_1"]["kernel"] = broken["Dense_1"]["kernel"].at[2, 0, 0].set(jnp.nan)
    with pytest.raises(ValueError, match="stacked: expected finite models, got one that is not in row 2"):
        mix_layers(broken, jnp.asarray(weights(2, 2, 3)), LAYERS)
    with pytest.raises(ValueError, match="m: expected 1 to 3, the stored models, got 4"):
        top_weights(jnp.asarray(weights(2, 2, 3)), 4)
    with pytest.raises(ValueError, match="cotangent: expected a leaf at 'Dense_1/kernel', found none there"):
        mix_pullback(pool(3), {"Dense_0": pool(2)["Dense_0"]}, LAYERS)
