"""How alike two representations of the same examples are, whatever their rotation and scale."""

from __future__ import annotations

import jax.numpy as jnp

from fedjax_layers.ops.checks import at_least_float32
from fedjax_layers.ops.layer_metrics.rows import shrunk
from fedjax_layers.types import Array

_NOISE = 8  # roundings of the values themselves, below which their spread counts as none


def linear_cka(x: Array, y: Array) -> Array:
    """Compute the linear centred kernel alignment, ``||Y'X||^2 / (||X'X|| ||Y'Y||)`` in Frobenius norms.

    X and Y are the representations with the mean over the examples taken off. The number does not change with a
    rotation, a common scale or an offset of either.

    Args:
      x: ``[n, ...]``, what one model computes of n examples; further axes are features.
      y: ``[n, ...]``, what another computes of the same examples; it may have another number of features.

    Returns:
      ``[]`` from 0 to 1, where 1 means alike; 0 where either is the same for all examples.

    Raises:
      ValueError: another number of examples.

    Source: Kornblith et al., Similarity of neural network representations revisited (arXiv 1905.00414). PLayer-FL's
    text (arXiv 2502.08829) squares the denominators, which is a misprint.
    """
    a, b = _both(x, y)
    cross = _frobenius(jnp.matmul(a.T, b, precision="highest"))
    own = [_frobenius(jnp.matmul(z.T, z, precision="highest")) for z in (a, b)]
    scale = jnp.sqrt(own[0]) * jnp.sqrt(own[1])
    return jnp.where(scale > 0, jnp.clip(cross / jnp.where(scale > 0, scale, 1), 0, 1), 0)


def procrustes(x: Array, y: Array) -> Array:
    """Compute the angle that is left between two representations after the best rotation (orthogonal Procrustes).

    It is ``arccos(||X'Y||_nuclear / (||X|| ||Y||))``, with X and Y as in :func:`linear_cka`; the nuclear norm is the
    sum of the singular values. Unlike 1 - CKA it is a metric: angles fulfil the triangle inequality.

    Args:
      x: ``[n, ...]``, what one model computes of n examples; further axes are features.
      y: ``[n, ...]``, what another computes of the same examples; it may have another number of features.

    Returns:
      ``[]`` in radians, from 0 (alike) to pi/2; pi/2 where either is the same for all examples. In float32 the angle of
      a representation with itself is some 1e-3, as the arccos loses half of the digits there.

    Raises:
      ValueError: another number of examples.

    Source: Williams et al., Generalized shape metrics on neural representations (arXiv 2110.14739), as PLayer-FL's
    published code uses it, without the search over shifts of convolutions.
    """
    a, b = _both(x, y)
    values = jnp.linalg.svd(jnp.matmul(a.T, b, precision="highest"), compute_uv=False)
    scale = jnp.sqrt(_frobenius(a)) * jnp.sqrt(_frobenius(b))
    return jnp.arccos(jnp.where(scale > 0, jnp.clip(values.sum() / jnp.where(scale > 0, scale, 1), 0, 1), 0))


def rotated(x: Array) -> Array:
    """Return a representation with at most n features that differs from ``x [n, ...]`` by offset, rotation and scale.

    Neither :func:`linear_cka` nor :func:`procrustes` can tell the two apart, and both are much cheaper on it.
    """
    x = jnp.asarray(x)
    x = x.reshape(x.shape[0], -1).astype(at_least_float32(x.dtype))
    largest = jnp.max(jnp.abs(x), initial=0)
    x = x / jnp.where(largest > 0, largest, 1)
    x = x - x.mean(0, keepdims=True)
    spread = jnp.max(jnp.abs(x), initial=0)
    x = shrunk(jnp.where(spread > _NOISE * jnp.finfo(x.dtype).eps, x, 0))
    return x if x.shape[1] <= x.shape[0] else jnp.linalg.qr(x.T, mode="r").T


def _both(x: Array, y: Array) -> tuple[Array, Array]:
    for name, z in (("x", x), ("y", y)):
        if jnp.ndim(z) < 2:
            raise ValueError(f"{name}: expected shape [n, ...], found {jnp.shape(z)}")
    if jnp.shape(x)[0] != jnp.shape(y)[0]:
        raise ValueError(f"y: expected the {jnp.shape(x)[0]} examples of x, found {jnp.shape(y)[0]}")
    return rotated(x), rotated(y)


def _frobenius(x: Array) -> Array:
    """Return the squared Frobenius norm."""
    return jnp.sum(jnp.square(x))
