"""Drawn models, weights and masks for the properties of the ops, and the register of which op has which."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from fedjax_layers.ops import layer_map

K = 7
SHAPES = {"conv": {"w": (2, 3)}, "head": {"b": (2,), "w": (3, 2)}}
LAYERS = layer_map(
    jax.tree.map(jnp.zeros, SHAPES, is_leaf=lambda x: isinstance(x, tuple)), order=["conv", "head"], blocks=[0, 1]
)
L = LAYERS.num_layers
COVERED: set[str] = set()  # names of public ops that have a property

seeds = st.integers(0, 2**32 - 1)
# Entries of a model, by what they are multiplied with: some are tiny, some huge, some have one sign only, some are 0.
scales = st.sampled_from([1.0, 1.0, 1e-20, 1e-4, 1e4, 1e12, 0.0, -1.0])
dtypes = st.sampled_from(["float32", "float32", "bfloat16"])


def of(*names):
    """Note that a test is a property of these ops."""
    COVERED.update(names)
    return lambda test: test


def _leaves(draw, front, dtype, distinct=False):
    rng, scale = np.random.default_rng(draw(seeds)), draw(scales)
    one_sign, equal = draw(st.booleans()), draw(st.booleans()) and draw(st.booleans())
    if distinct:  # no two rows alike, and squared distances within float32
        scale, equal = min(max(abs(scale), 1e-4), 1e4), False

    def leaf(shape):
        x = rng.normal(size=(*front, *shape))
        x = np.broadcast_to(x.ravel()[0], x.shape) if equal else x
        return jnp.asarray((np.abs(x) if one_sign else x) * scale, dtype)

    return jax.tree.unflatten(LAYERS.treedef, [leaf(shape) for shape in LAYERS.leaf_shapes])


@st.composite
def models(draw, dtype="float32"):
    """One model."""
    return _leaves(draw, (), dtype if isinstance(dtype, str) else draw(dtype))


@st.composite
def stacks(draw, dtype="float32", num=K, distinct=False):
    """K models, perhaps of which no two are alike."""
    return _leaves(draw, (num,), dtype if isinstance(dtype, str) else draw(dtype), distinct)


@st.composite
def weights(draw, least=1):
    """Weights of K clients, at least ``least`` of them present."""
    drawn = draw(st.lists(st.integers(0, 60), min_size=K, max_size=K))
    for i in range(least):
        drawn[i] = drawn[i] or 1 + i
    return jnp.asarray(draw(st.permutations(drawn)), jnp.float32)


masks = st.lists(st.booleans(), min_size=L, max_size=L).map(jnp.asarray)
masks_of_clients = st.lists(st.booleans(), min_size=K * L, max_size=K * L).map(lambda x: jnp.asarray(x).reshape(K, L))
orders = st.permutations(range(K)).map(jnp.asarray)


def assert_finite(tree):
    for x in jax.tree.leaves(tree):
        assert bool(jnp.isfinite(x.astype(jnp.float32)).all()), tree


def assert_same_form(tree, like, front=()):
    """The same tree, shapes (after ``front``) and dtypes."""
    assert jax.tree.structure(tree) == jax.tree.structure(like)
    for x, y in zip(jax.tree.leaves(tree), jax.tree.leaves(like), strict=True):
        assert (x.shape, x.dtype) == ((*front, *y.shape[len(front) :]), y.dtype)


def assert_close(tree, other, of):
    """Equal up to rounding, relative to the largest entry of ``of``."""
    for x, y, z in zip(*map(jax.tree.leaves, (tree, other, of)), strict=True):
        step = 2e-2 if x.dtype == jnp.bfloat16 else 2e-5
        size = float(jnp.abs(z.astype(jnp.float32)).max(initial=0))
        np.testing.assert_allclose(
            np.asarray(x, np.float64), np.asarray(y, np.float64), rtol=step, atol=step * size + 1e-37
        )


def assert_bits(tree, other):
    for x, y in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def spoilt(stack, weight, value=jnp.nan):
    """The same stack with a value in every row of weight 0."""

    def leaf(x):
        absent = (weight <= 0).reshape(-1, *(1,) * (x.ndim - 1))
        return jnp.where(absent, jnp.asarray(value, x.dtype), x)

    return jax.tree.map(leaf, stack)


def rows_of(tree, order):
    return jax.tree.map(lambda x: x[order], tree)
