"""Batch normalisation in Linen modules: running statistics in the params tree, computed without padding rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from typing import Any

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict, unflatten_dict

from fedjax_layers.types import Array, Params

Path = tuple[str, ...]

STATISTICS = ("mean", "var")
AFFINE = ("scale", "bias")


def join(variables: Mapping[str, Any]) -> Params:
    """Join parameters and running statistics in one tree: ``scale, bias, mean, var`` of a norm lie side by side."""
    if "batch_stats" not in variables:
        return variables["params"]
    return unflatten_dict(flatten_dict(variables["params"]) | flatten_dict(variables["batch_stats"]))


def split(params: Params, norms: Collection[Path]) -> dict[str, Any]:
    """Split a joined tree into Linen's collections; ``norms`` are the paths of the model's ``BatchNorm`` modules."""
    if not norms:
        return {"params": params}
    flat = flatten_dict(params)
    statistics = {path for path in flat if path[:-1] in norms and path[-1] in STATISTICS}
    return {
        "params": unflatten_dict({path: x for path, x in flat.items() if path not in statistics}),
        "batch_stats": unflatten_dict({path: flat[path] for path in statistics}),
    }


def find_norms(variables: Mapping[str, Any], called: Collection[Path]) -> frozenset[Path]:
    """Find the paths of a model's ``BatchNorm`` modules.

    Args:
      variables: the model's variables, as ``init`` gives them.
      called: paths of all ``BatchNorm`` modules of its forward pass, see :func:`watch_norms`.

    Raises:
      ValueError: the model has state that no ``BatchNorm`` keeps, or a norm with neither scale nor bias.
    """
    state = sorted(set(variables) - {"params", "batch_stats"})
    if state:
        raise ValueError(f"model: expected no state but batch statistics, found {', '.join(state)}")
    parameters = {path[:-1] for path in flatten_dict(variables["params"])}
    norms = frozenset(path[:-1] for path in flatten_dict(variables.get("batch_stats", {})))
    for path in sorted(norms):
        name = "/".join(path)
        if path not in called:
            raise ValueError(f"model: expected batch statistics of flax.linen.BatchNorm alone, found some of {name!r}")
        if path not in parameters:
            raise ValueError(f"model: expected a scale or a bias in every BatchNorm, found neither in {name!r}")
    return norms


def watch_norms(called: set[Path]) -> AbstractContextManager[Any]:
    """Return a context in which the path of each ``BatchNorm`` that is called is added to ``called``."""

    def watch(follow: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, nn.BatchNorm):
            called.add(tuple(context.module.path))
        return follow(*args, **kwargs)

    return nn.intercept_methods(watch)


def mask_norms(mask: Array) -> AbstractContextManager[Any]:
    """Return a context in which the statistics of every ``BatchNorm`` that is called leave out the masked rows.

    Modules need no argument for the mask, so that any model with Flax's own norms is right about padding.

    Args:
      mask: ``[B]`` bool, False for a row to leave out.

    Raises:
      ValueError: raised inside, where the input of a norm has another first axis than the batch.
    """

    def hand_over(follow: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, nn.BatchNorm) and context.method_name == "__call__":
            x: jax.Array = args[0] if args else kwargs["x"]
            if x.shape[:1] != mask.shape:
                name = "/".join(context.module.path)
                raise ValueError(f"model: expected {mask.shape[0]} rows as the batch in {name!r}, found {x.shape}")
            kwargs = {"mask": mask.reshape(mask.shape + (1,) * (x.ndim - 1))} | kwargs
        return follow(*args, **kwargs)

    return nn.intercept_methods(hand_over)
