"""PLayer-FL's score of each layer and the rule that turns scores into a cut (arXiv 2502.08829)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp

from fedjax_layers.ops.checks import at_least_float32, model_leaves
from fedjax_layers.types import Array, LayerMap, Params


def federation_sensitivity(
    params: Params,
    grads: Params,
    layers: LayerMap,
    *,
    rows: Mapping[str, Array] | None = None,
    combine: Literal["elements", "matrices"] = "elements",
    vectors: bool = False,
) -> Array:
    """Compute each layer's mean squared product of weight and gradient, ``s_k = 1/n_k * sum_p (w_p * g_p)^2``.

    The paper's *cumulative* score is ``jnp.cumsum`` of this. Biases and norm parameters are left out of the score
    (``LayerMap.leaf_scored``), except in a layer of vectors alone; they are still shared with their layer.

    Args:
      params: one model's weights.
      grads: the loss gradient at them.
      layers: the layer map.
      rows: token ids ``[B, S]`` (sequences of length S) per embedding path: only the table's rows that the batch used
        are scored, weights and gradients gathered at the ids and averaged over B, as in the published code.
      combine: how a layer of several matrices is scored: over all its elements (the equation), or as the
        unweighted mean of its matrices' scores (the published code's transformer groups).
      vectors: whether biases and norm parameters count as well, which the paper leaves out.

    Returns:
      ``[L]``, at least float32; 0 for a layer without any entry.

    Raises:
      ValueError: trees that differ from the map (path named), an unknown ``combine``, or a path in ``rows`` that
        is no leaf.

    Source: PLayer-FL, federation sensitivity; sums are accumulated in float32 or better.
    """
    if combine not in ("elements", "matrices"):
        raise ValueError(f"combine: expected 'elements' or 'matrices', found {combine!r}")
    rows = dict(rows or {})
    unknown = sorted(set(rows) - set(layers.leaf_paths))
    if unknown:
        raise ValueError(f"rows: expected paths of leaves, found {unknown[0]!r}")
    squares: list[list[tuple[Array, int]]] = [[] for _ in layers.names]
    for layer, path, scored, w, g in zip(
        layers.leaf_layers,
        layers.leaf_paths,
        layers.leaf_scored,
        model_leaves(params, layers, "params"),
        model_leaves(grads, layers, "grads"),
        strict=True,
    ):
        if scored or vectors:
            ids = rows.get(path)
            w, g = (x.astype(at_least_float32(w.dtype)) for x in (w, g))  # noqa: PLW2901
            product = w * g if ids is None else w[ids].mean(0) * g[ids].mean(0)
            squares[layer].append((jnp.sum(product * product), product.size))
    if combine == "matrices":
        return jnp.stack([_mean([(s / max(n, 1), 1) for s, n in parts]) for parts in squares])
    return jnp.stack([_mean(parts) for parts in squares])


def _mean(parts: list[tuple[Array, int]]) -> Any:
    """Compute the mean from sums and counts; 0 where nothing is counted."""
    return sum(s for s, _ in parts) / max(sum(n for _, n in parts), 1)


def transition_point(
    scores: Array, threshold: float | Array, *, cumulative: bool = False, local_on_first_jump: bool = False
) -> Array:
    """Find the number of layers to share: those before the first jump of the score.

    The cut is the first l (from 1) with ``s_{l+1} > threshold * s_l``; if there is none it is L, which shares all
    layers. The rule is written as a product, so that zero scores need no guard; a NaN score is never a jump.

    Args:
      scores: ``[L]``, per layer, not negative.
      threshold: the ratio that counts as a jump; may be traced.
      cumulative: whether cumulative scores ``F_l`` are compared in place of ``s_l``. No single threshold gives the
        published cuts that way.
      local_on_first_jump: whether a jump right after the first layer yields 0 (nothing shared) in place of 1. The
        paper's wording was not found; the summary of it says that such a spike "defaults to local training".

    Returns:
      ``[]`` int32 in 0..L.

    Source: PLayer-FL, Algorithm 1 (rule inferred from the published curves).
    """
    compared = jnp.cumsum(scores) if cumulative else scores
    num = compared.shape[0]
    jumps = compared[1:] > threshold * compared[:-1]
    cut = jnp.where(jumps.any(), jnp.argmax(jumps) + 1, num).astype(jnp.int32) if num > 1 else jnp.int32(num)
    if local_on_first_jump and num > 1:
        cut = jnp.where(cut == 1, 0, cut)
    return cut


def prefix_mask(cut: int | Array, num_layers: int) -> Array:
    """Make the mask that shares the first layers.

    Args:
      cut: number of shared layers; may be traced.
      num_layers: L.

    Returns:
      ``[L]`` bool, True for the first ``cut`` layers.
    """
    return jnp.arange(num_layers, dtype=jnp.result_type(cut)) < cut
