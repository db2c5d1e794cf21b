"""Attacks of bad clients on their updates: noise, flipped sign, boosting or a constant shift, of all layers or some."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from fedjax_layers.ops.checks import at_least_float32, expect_shape, model_leaves
from fedjax_layers.types import Array, Key, LayerMap, Params

Poison = Literal["noise", "sign_flip", "scale", "offset"]
POISONS = ("noise", "sign_flip", "scale", "offset")


def poison_update(
    key: Key,
    delta: Params,
    layers: LayerMap,
    kind: Poison,
    strength: float | Array,
    where: Array | None = None,
) -> Params:
    """Change one client's update as a bad client does.

    Let ``rms_l = ||d_l|| / sqrt(n_l)`` be the size of layer l's update. ``"noise"`` adds normal numbers of standard
    deviation ``strength * rms_l``; ``"sign_flip"`` sends ``-strength * d``; ``"scale"`` sends ``strength * d``
    (boosting); ``"offset"`` adds ``strength * rms_l`` to every entry, a one-signed shift.

    Args:
      key: the key for the noise; other kinds do not use it.
      delta: the update, one params-shaped tree.
      layers: the layer map.
      kind: the attack, see above.
      strength: its strength, see above; may be traced.
      where: bool ``[L]``, the layers to change; ``None`` means all.

    Returns:
      A tree like ``delta``.

    Raises:
      ValueError: a tree that differs from the map (the path is named), an unknown kind, or a mask of another shape.

    Source: the noises and poisons of FedTLU's experiments, and the constant offset that they predict.
    """
    if kind not in _CHANGES:
        raise ValueError(f"kind: expected one of {', '.join(_CHANGES)}, got {kind!r}")
    leaves = model_leaves(delta, layers, "delta")
    hit = jnp.ones(layers.num_layers, bool) if where is None else jnp.asarray(where, bool)
    expect_shape(hit, (layers.num_layers,), "where")
    squares = [jnp.zeros(())] * layers.num_layers
    for layer, leaf in zip(layers.leaf_layers, leaves, strict=True):
        squares[layer] = squares[layer] + jnp.sum(leaf.astype(at_least_float32(leaf.dtype)) ** 2)
    sizes = [jnp.sqrt(s / max(n, 1)) for s, n in zip(squares, layers.sizes, strict=True)]
    poisoned = []
    for i, (layer, leaf) in enumerate(zip(layers.leaf_layers, leaves, strict=True)):
        force = jnp.asarray(strength, leaf.dtype)
        new = _CHANGES[kind](jax.random.fold_in(key, i), leaf, force, sizes[layer].astype(leaf.dtype))
        poisoned.append(jnp.where(hit[layer], new, leaf))
    return jax.tree.unflatten(layers.treedef, poisoned)


_CHANGES: dict[str, Callable[[Key, Array, Array, Array], Array]] = {
    "noise": lambda key, x, force, size: x + force * size * jax.random.normal(key, x.shape, x.dtype),
    "sign_flip": lambda key, x, force, size: -force * x,
    "scale": lambda key, x, force, size: force * x,
    "offset": lambda key, x, force, size: x + force * size,
}
