"""Choosing layers by a mask, and summing over them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers.ops import layer_map, layer_sums, select

SHAPES = [{"w": (2, 3), "b": (3,)}, {"w": (3, 2), "b": (2,)}, {"w": (2, 2), "gain": ()}]
K = 4


def model(value, lead=(), dtype=jnp.float32):
    is_shape = lambda x: isinstance(x, tuple)  # noqa: E731
    return jax.tree.map(lambda s: jnp.full((*lead, *s), value, dtype), SHAPES, is_leaf=is_shape)


def ramp(lead=()):
    """Every element different, so that a row taken from the wrong client shows."""
    leaves, treedef = jax.tree.flatten(model(0, lead))
    return jax.tree.unflatten(treedef, [jnp.arange(x.size, dtype=x.dtype).reshape(x.shape) + 100 for x in leaves])


LAYERS = layer_map(model(0))


def expected(mask, on, off, lead):
    """Element by element, in NumPy."""

    def leaf(i, shape, a, b):
        out = np.empty((*lead, *shape), np.float32)
        for k in np.ndindex(*lead):
            row = mask[k[0]] if np.ndim(mask) == 2 else mask
            source = a if row[i] else b
            out[k] = source[k] if np.ndim(source) > len(shape) else source
        return out

    leaves = zip(LAYERS.leaf_layers, LAYERS.leaf_shapes, jax.tree.leaves(on), jax.tree.leaves(off), strict=True)
    return jax.tree.unflatten(LAYERS.treedef, [leaf(*x) for x in leaves])


ONE = np.array([True, False, True])
EACH = np.array([[True, False, True], [False, False, False], [True, True, True], [False, True, False]])


@pytest.mark.parametrize(
    ("mask", "on_lead", "off_lead"),
    [
        (ONE, (), ()),
        (ONE, (K,), (K,)),
        (ONE, (K,), ()),
        (ONE, (), (K,)),
        (EACH, (K,), (K,)),
        (EACH, (K,), ()),
        (EACH, (), (K,)),
        (EACH, (), ()),
    ],
)
def test_select_takes_each_layer_from_where_the_mask_says(mask, on_lead, off_lead):
    on, off = ramp(on_lead), model(-1, off_lead)
    lead = on_lead or off_lead or ((K,) if mask.ndim == 2 else ())
    found = jax.jit(lambda m, a, b: select(m, LAYERS, a, b))(mask, on, off)
    jax.tree.map(np.testing.assert_array_equal, found, expected(mask, on, off, lead))


def test_select_lets_no_nan_through():
    found = select(jnp.asarray(ONE), LAYERS, jax.tree.map(lambda x: x, model(1.0)), model(jnp.nan))
    assert [bool(jnp.isnan(x).any()) for x in jax.tree.leaves(found[0])] == [False, False]
    assert [bool(jnp.isnan(x).all()) for x in jax.tree.leaves(found[1])] == [True, True]
    grads = jax.grad(lambda p: layer_sums(select(jnp.asarray(ONE), LAYERS, p, model(jnp.nan)), LAYERS)[0])(ramp())
    jax.tree.map(np.testing.assert_array_equal, grads, [model(1.0)[0], *model(0.0)[1:]])


def test_a_vmapped_select_equals_the_mask_per_client():
    on, off = ramp((K,)), model(-1, (K,))
    rows = jax.vmap(lambda m, a, b: select(m, LAYERS, a, b))(jnp.asarray(EACH), on, off)
    jax.tree.map(np.testing.assert_array_equal, rows, select(jnp.asarray(EACH), LAYERS, on, off))


@pytest.mark.parametrize("shape", [(2,), (4,), (), (K, 2), (2, K, 3)])
def test_a_mask_of_another_length_is_refused(shape):
    with pytest.raises(ValueError, match=r"mask: expected shape \[L\] or \[K, L\] with L = 3 layers, found"):
        select(jnp.ones(shape, bool), LAYERS, model(0), model(1))


def test_trees_that_differ_are_named_by_argument_and_path():
    missing = [*model(0)[:2], {"w": jnp.zeros((2, 2))}]
    extra = [*model(0)[:2], {**model(0)[2], "more": jnp.zeros(1)}]
    with pytest.raises(ValueError, match="on: expected a leaf at '2/gain', found none"):
        select(jnp.asarray(ONE), LAYERS, missing, model(0))
    with pytest.raises(ValueError, match="off: expected no leaf at '2/more', found one"):
        select(jnp.asarray(ONE), LAYERS, model(0), extra)
    with pytest.raises(ValueError, match="tree: expected the containers"):
        layer_sums(tuple(model(0)), LAYERS)


def test_layer_sums_add_all_leaves_of_a_layer():
    assert layer_sums(model(2.0), LAYERS).tolist() == [18.0, 16.0, 10.0]
    stacked = jax.vmap(lambda t: layer_sums(t, LAYERS))(ramp((K,)))
    sequential = [layer_sums(jax.tree.map(lambda x, k=k: x[k], ramp((K,))), LAYERS) for k in range(K)]
    np.testing.assert_allclose(stacked, jnp.stack(sequential), rtol=1e-6)


def test_layer_sums_keep_more_digits_than_half_precision_has():
    tree = [{"w": jnp.full((64, 64), 0.1, jnp.bfloat16), "b": jnp.zeros(3, jnp.bfloat16)}]
    found = layer_sums(tree, layer_map(tree))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, [4096 * float(jnp.bfloat16(0.1))], rtol=1e-6)


def test_layer_sums_of_doubles_and_of_counts(x64):
    assert layer_sums(model(0.1, dtype=jnp.float64), LAYERS).dtype == jnp.float64
    counts = layer_sums(model(3, dtype=jnp.int32), LAYERS)
    assert counts.tolist() == [27.0, 24.0, 15.0]
