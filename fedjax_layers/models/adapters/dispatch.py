"""The choice of the adapter for a model; a framework that the user has not imported is not imported here either."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax

from fedjax_layers.models.adapters.equinox import equinox_network
from fedjax_layers.models.adapters.functions import Functions, functions_network
from fedjax_layers.models.adapters.linen import linen_network
from fedjax_layers.models.adapters.network import Network, is_a, parameters_of
from fedjax_layers.models.adapters.nnx import nnx_network

_EXPECTED = (
    "a Flax Linen, Flax NNX or Equinox module, a function of rngs (NNX) or of key (Equinox) that makes one, or a pair "
    "of functions (init, apply)"
)


def network_of(model: Any, sample: jax.ShapeDtypeStruct) -> Network:
    """Make a network of a model of any kind.

    Args:
      model: a Linen module; an NNX module, or a function with a parameter ``rngs`` that makes one; an Equinox module,
        or a function with a parameter ``key`` that makes one; :class:`Functions`, or a pair ``(init, apply)``.
      sample: shape and dtype of one preprocessed batch.

    Raises:
      ValueError: the model is none of these, or its adapter refuses it.
    """
    if isinstance(model, nn.Module):
        return linen_network(model, sample)
    if is_a(model, "flax.nnx"):
        return nnx_network(model, sample)
    if is_a(model, "equinox"):
        return equinox_network(model, sample)
    if isinstance(model, tuple) and 2 <= len(model) <= len(Functions._fields):
        return functions_network(Functions(*model), sample)
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise ValueError(f"model: expected a module, got its class: write {model.__name__}(...)")
    if callable(model):
        names = parameters_of(model)
        if "rngs" in names:
            return nnx_network(model, sample)
        if "key" in names:
            return equinox_network(model, sample)
    raise ValueError(f"model: expected {_EXPECTED}, got {model!r}")
