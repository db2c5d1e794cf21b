"""FedTLU's score of each layer's aggregated update, and the choice of the best (arXiv 2412.17692)."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from fedjax_layers.ops.checks import at_least_float32, client_count, expect_shape, model_leaves
from fedjax_layers.types import Array, LayerMap, Params

Reading = Literal["ratio", "product", "size", "clients", "absolute"]
READINGS = ("ratio", "product", "size", "clients", "absolute")
BlockRule = Literal["mean", "sum", "size"]
_ROW = 4096  # entries summed at once: float32 sums of millions of entries lose the digits that the score needs
_CAP = 1e12  # largest (mean / std)^2, reached where all entries are equal


class _Moments(NamedTuple):
    """Sums over the entries of one or several arrays."""

    entries: int
    total: Array
    squares: Array
    shift: Array
    shifted: Array
    shifted_squares: Array
    absolute: Array


def update_score(
    delta: Params,
    layers: LayerMap,
    *,
    reading: Reading = "ratio",
    clients: Params | None = None,
    matrices_only: bool = False,
    excess: bool = False,
) -> Array:
    """Score how one-signed each layer's update is: ``S = ||d|| / (sqrt(n) * std(d)) = sqrt(1 + (mean/std)^2)``.

    S is at least 1 and does not change with the update's length or sign; noise of zero mean lowers it, a constant
    offset raises it. For a layer of n entries of pure noise ``S - 1`` is about ``1 / (2 n)``, far below the spacing of
    float32 numbers near 1 once n is large, so rank layers with ``excess=True``.

    Args:
      delta: the aggregated update, one params-shaped tree.
      layers: the layer map; a layer's entries are those of all its leaves together.
      reading: ``"ratio"`` is the paper's. Others that its text might be taken for: ``"product"``
        ``||d|| / sqrt(n) * std`` (noisy layers win), ``"size"`` ``||d|| / (n * std)`` (small layers win), ``"clients"``
        ``||d||`` over the root of the summed variances between clients, ``"absolute"`` ``mean |d| / std``.
      clients: the clients' own updates ``[K, ...]``, given for ``"clients"`` alone.
      matrices_only: whether vectors (biases, norms) are left out in layers that have a matrix
        (``LayerMap.leaf_scored``).
      excess: whether ``"ratio"`` gives ``S - 1``, computed without cancellation.

    Returns:
      ``[L]``, at least float32. A zero update scores 1 (0 in excess, and in the other readings), and so does a layer
      without any entry; a constant one is capped at ``(mean/std)^2 = 1e12``.

    Raises:
      ValueError: trees that differ from the map (the path is named), an unknown reading, ``excess`` for another than
        ``"ratio"``, or ``clients`` missing or not asked for.

    Source: FedTLU, score of section III.
    """
    if reading not in READINGS:
        raise ValueError(f"reading: expected one of {', '.join(READINGS)}, got {reading!r}")
    if excess and reading != "ratio":
        raise ValueError(f"excess: expected False for reading {reading!r}, got True")
    if (clients is None) == (reading == "clients"):
        given = "none" if clients is None else "some"
        raise ValueError(f"clients: expected the clients' updates just for reading 'clients', got {given}")
    parts: list[list[_Moments]] = [[] for _ in layers.names]
    between: list[list[Array]] = [[] for _ in layers.names]
    spreads = [None] * len(layers.leaf_layers) if clients is None else _variances(clients, layers)
    for layer, scored, leaf, spread in zip(
        layers.leaf_layers, layers.leaf_scored, model_leaves(delta, layers, "delta"), spreads, strict=True
    ):
        if (scored or not matrices_only) and jnp.size(leaf):
            parts[layer].append(_moments(leaf))
            if spread is not None:
                between[layer].append(spread)
    nothing, still = [_moments(jnp.zeros(1))], [jnp.zeros(())]
    scores = [_score(p or nothing, reading, excess, b or still) for p, b in zip(parts, between, strict=True)]
    return jnp.stack(scores)


def block_score(scores: Array, layers: LayerMap, how: BlockRule = "mean") -> Array:
    """Compute scores of blocks from those of their layers.

    For the score of a block taken as one vector, score ``regroup(layers, "block")`` instead.

    Args:
      scores: ``[L]``.
      layers: the layer map, with its blocks.
      how: ``"mean"``, ``"sum"``, or ``"size"``, the mean weighted by the layers' numbers of parameters. The paper's
        rule is not known.

    Returns:
      ``[B]``.

    Raises:
      ValueError: scores of another length, or an unknown rule.
    """
    if how not in ("mean", "sum", "size"):
        raise ValueError(f"how: expected mean, sum or size, got {how!r}")
    expect_shape(scores, (layers.num_layers,), "scores")
    num = len(layers.block_names)
    weights = jnp.asarray(layers.sizes if how == "size" else [1] * layers.num_layers, scores.dtype)
    blocks = jnp.asarray(layers.blocks)
    totals = jax.ops.segment_sum(scores * weights, blocks, num)
    if how == "sum":
        return totals
    return totals / jnp.maximum(jax.ops.segment_sum(weights, blocks, num), 1)  # weights are whole numbers


def top_k_mask(scores: Array, k: int | Array) -> Array:
    """Mark the k largest scores.

    Args:
      scores: ``[n]``, of layers or blocks. Among equal scores the first is taken; NaN ranks lowest.
      k: number of scores to mark, 0 to n; may be traced.

    Returns:
      Bool, of the shape of ``scores``, k of them True.

    Raises:
      ValueError: ``k`` is out of range.
    """
    expect_shape(scores, (None,), "scores")
    num = scores.shape[0]
    if not isinstance(k, jax.core.Tracer) and not 0 <= int(k) <= num:
        raise ValueError(f"k: expected 0 to {num}, the scores, got {k}")
    order = jnp.argsort(jnp.where(jnp.isnan(scores), -jnp.inf, scores), descending=True, stable=True)
    return jnp.zeros(num, bool).at[order].set(jnp.arange(num) < k)


def _moments(x: Array) -> _Moments:
    """Compute all sums in one pass over the array."""
    x = jnp.asarray(x)  # a NumPy array may have a dtype that JAX has switched off, such as float64
    x = x.astype(at_least_float32(x.dtype)).ravel()
    shift = x[0]
    away = x - shift
    total, squares, shifted, shifted_squares, absolute = _sums(x, x * x, away, away * away, jnp.abs(x))
    return _Moments(x.size, total, squares, shift, shifted, shifted_squares, absolute)


def _sums(*arrays: Array) -> list[Array]:
    """Sum vectors of one length, by rows first and then over rows, so that the error does not grow with the length.

    All are one reduction with several operands: separate sums would each recompute or reread the vectors.
    """
    row = _row_length(arrays[0].size)
    whole = arrays[0].size // row * row
    rows = tuple(x[:whole].reshape(-1, row) for x in arrays)
    zeros = tuple(jnp.zeros((), x.dtype) for x in rows)
    totals = jax.lax.reduce(rows, zeros, lambda a, b: tuple(map(jnp.add, a, b)), (1,))
    totals = [t.sum() for t in jax.lax.optimization_barrier(totals)]  # without the barrier XLA fuses the two sums
    if whole == arrays[0].size:
        return totals
    return [total + x[whole:].sum() for total, x in zip(totals, arrays, strict=True)]


def _row_length(size: int) -> int:
    """Choose the entries per row: a divisor of ``size`` where there is a long one, so that no rest is read apart."""
    if size <= _ROW:
        return size
    divisors = (n for n in range(_ROW, _ROW // 64, -1) if size % n == 0)
    return next(divisors, _ROW)


def _score(parts: list[_Moments], reading: Reading, excess: bool, between: list[Array]) -> Array:
    """Compute the score of one layer from the moments of its arrays."""
    count = sum(p.entries for p in parts)
    mean = _add(p.total for p in parts) / count
    squares = _add(p.squares for p in parts) / count
    variance = jnp.maximum(_add(_about(p, mean) for p in parts), 0) / count
    root = jnp.sqrt(squares)
    if reading == "product":
        return root * jnp.sqrt(variance)
    if reading == "clients":
        return _over(root * jnp.sqrt(jnp.asarray(float(count), root.dtype)), jnp.sqrt(_add(between)))
    if reading == "absolute":
        return _over(_add(p.absolute for p in parts) / count, jnp.sqrt(variance))
    z = jnp.where(squares > 0, mean**2 / jnp.maximum(variance, mean**2 / _CAP), 0)
    ratio = jnp.sqrt(1 + z)
    if reading == "size":
        return jnp.where(squares > 0, ratio, 0) / count**0.5
    return z / (1 + ratio) if excess else ratio


def _add(numbers: Iterable[Array]) -> Array:
    return functools.reduce(jnp.add, numbers)


def _about(part: _Moments, mean: Array) -> Array:
    """Compute ``sum (x - mean)^2`` of one array from whichever of its two pairs of sums loses fewer digits."""
    plain = part.squares - mean * (2 * part.total - part.entries * mean)
    far = mean - part.shift
    shifted = part.shifted_squares - far * (2 * part.shifted - part.entries * far)
    one_signed = part.total**2 > part.entries * part.squares / 2
    return jnp.where(one_signed, shifted, plain)


def _over(a: Array, b: Array) -> Array:
    """Return the quotient, at most the cap's root; 0 over 0 is 0."""
    quotient = a / jnp.maximum(b, a / _CAP**0.5)
    return jnp.where(a > 0, quotient, jnp.zeros_like(a))


def _variances(clients: Params, layers: LayerMap) -> list[Array]:
    """Compute the variance between clients, summed over each leaf's entries."""
    num = client_count(clients, "clients")
    leaves = model_leaves(clients, layers, "clients")
    for path, shape, leaf in zip(layers.leaf_paths, layers.leaf_shapes, leaves, strict=True):
        expect_shape(leaf, (num, *shape), f"clients at {path!r}")
    leaves = [jnp.asarray(x).astype(at_least_float32(x.dtype)) for x in leaves]
    return [_sums(x.var(0).ravel())[0] if x.size else jnp.zeros((), x.dtype) for x in leaves]
