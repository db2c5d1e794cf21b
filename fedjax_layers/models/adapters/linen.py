"""Flax Linen modules: training and evaluation modes, batch norms, layers in the order in which modules are called."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fedjax_layers.models.adapters.network import Network, mode
from fedjax_layers.models.batch_norm import AFFINE, STATISTICS, Path, find_norms, join, mask_norms, split, watch_norms
from fedjax_layers.models.order import call_order
from fedjax_layers.types import Array, Key, Params


def linen_network(module: nn.Module, sample: jax.ShapeDtypeStruct) -> Network:
    """Make a network of a Linen module, with its running statistics among the params.

    Args:
      module: the module, ``[B, ...] -> [B, ...]``.
      sample: shape and dtype of one preprocessed batch.

    Raises:
      ValueError: the module has state that no ``BatchNorm`` keeps, a norm with neither scale nor bias, or norms without
        an argument that switches them.
    """

    def init(key: Key) -> Params:
        return join(module.init(key, jnp.zeros(sample.shape, sample.dtype), **_mode(module, True)))

    def forward(params: Params, x: Array, key: Key | None, **options: Any) -> Any:
        rngs = None if key is None else {"dropout": key}
        return module.apply(split(params, norms), x, rngs=rngs, **_mode(module, key is None), **options)

    def train(params: Params, x: Array, mask: Array, key: Key) -> tuple[Array, Params]:
        with mask_norms(mask):
            outputs, changed = forward(params, x, key, mutable=["batch_stats"])
        return outputs, join(split(params, norms) | changed)

    def apply(params: Params, x: Array, key: Key | None) -> Array:
        if norms and key is not None:
            return train(params, x, jnp.ones(x.shape[0], bool), key)[0]
        return forward(params, x, key)

    called: set[Path] = set()
    with watch_norms(called):
        variables = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, **_mode(module, True)), sample)
    norms = find_norms(variables, called)
    if norms and not _mode(module, True):
        raise ValueError("model: expected an argument deterministic, train or training beside BatchNorm, found none")
    return Network(
        join(variables),
        init,
        apply,
        lambda: call_order(module, sample, **_mode(module, True)),
        train if norms else None,
        leaves_of(norms, STATISTICS),
        leaves_of(norms, AFFINE),
    )


def leaves_of(norms: Collection[Path], names: Sequence[str]) -> tuple[str, ...]:
    """Return regular expressions that match the leaves ``names`` of ``norms``."""
    return tuple(f"{re.escape('/'.join(path))}/({'|'.join(names)})" for path in sorted(norms))


def _mode(module: nn.Module, deterministic: bool) -> dict[str, bool]:
    return mode(type(module).__call__, deterministic)
