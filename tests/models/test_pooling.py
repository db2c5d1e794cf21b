import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers.models import max_pool
from fedjax_layers.models.pooling import shrink


@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ((3, 8, 6, 4), (2, 2)),
        ((3, 7, 5, 4), (2, 2)),
        ((3, 9, 6, 2), (3, 2)),
        ((2, 8, 3), (4,)),
        ((2, 4, 4, 6, 3), (2, 2, 2)),
        ((2, 5, 4, 3), (1, 2)),
    ],
)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.usefixtures("x64")
def test_values_and_gradients_of_flax(shape, window, ties):
    rng = np.random.default_rng(0)
    # Few distinct values: nearly every window has several equal maxima.
    x = jnp.asarray(rng.integers(0, 2, shape) if ties else rng.normal(size=shape), float)
    pools = (lambda x: max_pool(x, window), lambda x: nn.max_pool(x, window, window))
    (ours, our_back), (flax, flax_back) = (jax.vjp(p, x) for p in pools)
    np.testing.assert_array_equal(ours, flax)
    cotangent = jnp.asarray(rng.normal(size=ours.shape))
    np.testing.assert_array_equal(*our_back(cotangent), *flax_back(cotangent))


def test_gradient_goes_to_the_first_of_equals():
    x = jnp.array([[1.0, 3.0], [3.0, 3.0]])[None, :, :, None]
    grad = jax.grad(lambda x: max_pool(x).sum())(x)
    np.testing.assert_array_equal(grad[0, :, :, 0], [[0, 1], [0, 0]])


def test_relu_commutes_in_value_and_gradient():
    x = jnp.asarray(np.random.default_rng(1).integers(-2, 3, (4, 8, 8, 3)), jnp.float32)
    late, early = (lambda x: jax.nn.relu(max_pool(x))), (lambda x: max_pool(jax.nn.relu(x)))
    np.testing.assert_array_equal(late(x), early(x))
    grads = [jax.grad(lambda x, f=f: (f(x) ** 2).sum())(x) for f in (late, early)]
    np.testing.assert_array_equal(*grads)


@pytest.mark.parametrize("place", range(4))
def test_nan_shows(place):
    x = jnp.arange(4.0).at[place].set(jnp.nan).reshape(1, 2, 2, 1)
    assert jnp.isnan(max_pool(x)).all()


def test_unbatched():
    np.testing.assert_array_equal(max_pool(jnp.arange(16.0).reshape(4, 4, 1))[..., 0], [[5, 7], [13, 15]])


def test_shrink_never_below_one():
    assert shrink(jnp.ones((2, 1, 4, 3))).shape == (2, 1, 2, 3)
    assert shrink(jnp.ones((2, 1, 1, 3))).shape == (2, 1, 1, 3)


def test_refuses_too_small():
    with pytest.raises(ValueError, match=r"x: expected .*\(2, 2\), got \(1, 1, 4, 3\)"):
        max_pool(jnp.ones((1, 1, 4, 3)))
    with pytest.raises(ValueError, match="x: expected"):
        max_pool(jnp.ones((4, 3)))
