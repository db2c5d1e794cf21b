"""The curvature of a loss within each layer, by products of the layer's block of the Hessian with vectors."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from fedjax_layers.ops.checks import model_leaves
from fedjax_layers.ops.layers import fill, part
from fedjax_layers.types import Array, Key, LayerMap, Params

Loss = Callable[[Params], Array]
Product = Callable[[Array], Array]


def hessian_trace(loss: Loss, params: Params, layers: LayerMap, key: Key, *, samples: int = 10) -> Array:
    """Estimate the trace of each layer's block of the Hessian, the sum of the block's eigenvalues (Hutchinson).

    The estimate is the mean of ``v' H_l v`` over random vectors v of signs. It has no bias; its variance is
    ``2 sum_{i != j} H_ij^2 / samples``, so that a diagonal block is found exactly.

    Args:
      loss: ``params -> []``, twice differentiable.
      params: one model.
      layers: the layer map. The Hessian of a layer is that in all its leaves, with all other layers fixed.
      key: of the random vectors.
      samples: number of vectors for each layer.

    Returns:
      ``[L]``, in the dtype of the layers' leaves; 0 for a layer without any entry.

    Raises:
      ValueError: a tree that differs from the map (the path is named), a loss that is no number, or no sample.

    Source: M. F. Hutchinson, A stochastic estimator of the trace (1990); the text of PLayer-FL (arXiv 2502.08829). Its
    code computes another number, the sum of singular values of one product with a vector.
    """
    if samples < 1:
        raise ValueError(f"samples: expected at least 1, got {samples}")

    def trace(product: Product, start: Array, key: Key) -> Array:
        def one(key: Key) -> Array:
            signs = jax.random.rademacher(key, start.shape, start.dtype)
            return jnp.vdot(signs, product(signs), precision="highest")

        return jax.lax.map(one, jax.random.split(key, samples)).mean()

    return _per_block(loss, params, layers, key, trace)


def top_eigenvalue(loss: Loss, params: Params, layers: LayerMap, key: Key, *, iterations: int = 10) -> Array:
    """Compute the largest eigenvalue of each layer's block of the Hessian (Lanczos, each vector made orthogonal anew).

    It is the largest one with its sign, the sharpest direction, and not the largest in size. The value grows towards
    the eigenvalue with the number of iterations, and is exact once they are as many as the layer has entries.

    Args:
      loss: ``params -> []``, twice differentiable.
      params: one model.
      layers: the layer map, see :func:`hessian_trace`.
      key: of the vector that the iteration starts from.
      iterations: number of products with the Hessian for each layer; memory grows with it, a layer's size each.

    Returns:
      ``[L]``, in the dtype of the layers' leaves; 0 for a layer without any entry.

    Raises:
      ValueError: a tree that differs from the map (the path is named), a loss that is no number, or no iteration.
    """
    if iterations < 1:
        raise ValueError(f"iterations: expected at least 1, got {iterations}")

    def largest(product: Product, start: Array, key: Key) -> Array:
        return _lanczos(product, jax.random.normal(key, start.shape, start.dtype), min(iterations, start.size))

    return _per_block(loss, params, layers, key, largest)


def _per_block(
    loss: Loss, params: Params, layers: LayerMap, key: Key, compute: Callable[[Product, Array, Key], Array]
) -> Array:
    """Call ``compute(product with the block, the block's params [n_l], key)`` for each layer; ``[L]``."""
    model_leaves(params, layers, "params")
    found = jax.eval_shape(loss, params)
    if getattr(found, "shape", None) != () or not jnp.issubdtype(found.dtype, jnp.floating):
        raise ValueError(f"loss: expected a function from params to one real number, found {found}")
    numbers = []
    for layer in range(layers.num_layers):
        start, whole = ravel_pytree(part(params, layers, np.arange(layers.num_layers) == layer))
        if not start.size:
            numbers.append(jnp.zeros((), found.dtype))
            continue
        # Linearised once, the forward and backward pass at the params are not computed again for each vector.
        gradient = jax.grad(lambda block, whole=whole: loss(fill(whole(block), params)))
        product = jax.linearize(gradient, start)[1]
        numbers.append(compute(product, start, jax.random.fold_in(key, layer)).astype(found.dtype))
    return jnp.stack(numbers)


def _lanczos(product: Product, start: Array, steps: int) -> Array:
    """Return the largest eigenvalue of the tridiagonal matrix that Lanczos makes of a symmetric product."""

    def step(carry: tuple[Array, Array], place: Array) -> tuple[tuple[Array, Array], tuple[Array, Array, Array]]:
        basis, v = carry
        basis = basis.at[place].set(v)
        w = product(v)
        diagonal = jnp.vdot(v, w, precision="highest")
        for _ in range(2):  # once is not enough in float32
            inside = jnp.matmul(basis, w, precision="highest")
            w = w - jnp.matmul(inside, basis, precision="highest")
        length = jnp.linalg.norm(w)
        return (basis, w / jnp.where(length > 0, length, 1)), (diagonal, length, jnp.any(v != 0))

    basis = jnp.zeros((steps, start.size), start.dtype)
    first = (basis, start / jnp.linalg.norm(start))
    diagonal, length, there = jax.lax.scan(step, first, jnp.arange(steps))[1]
    # After the last direction that the start reaches, rows are empty; the first number is never above the largest.
    diagonal = jnp.where(there, diagonal, diagonal[0])
    beside = length[:-1]
    return jnp.linalg.eigvalsh(jnp.diag(diagonal) + jnp.diag(beside, 1) + jnp.diag(beside, -1))[-1]
