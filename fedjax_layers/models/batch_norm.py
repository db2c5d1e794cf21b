"""Linen modules with batch normalisation: their statistics in the params tree, and padding rows kept out of them."""

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
    """Parameters and running statistics as one tree: ``scale, bias, mean, var`` of a norm lie side by side."""
    if "batch_stats" not in variables:
        return variables["params"]
    return unflatten_dict(flatten_dict(variables["params"]) | flatten_dict(variables["batch_stats"]))


def split(params: Params, norms: Collection[Path]) -> dict[str, Any]:
    """The variables that Linen asks for, from a joined tree; ``norms`` are the paths of its ``BatchNorm`` modules."""
    if not norms:
        return {"params": params}
    flat = flatten_dict(params)
    statistics = {path for path in flat if path[:-1] in norms and path[-1] in STATISTICS}
    return {
        "params": unflatten_dict({path: x for path, x in flat.items() if path not in statistics}),
        "batch_stats": unflatten_dict({path: flat[path] for path in statistics}),
    }


def find_norms(variables: Mapping[str, Any], called: Collection[Path]) -> frozenset[Path]:
    """Paths of the ``BatchNorm`` modules of a model.

    Args:
      variables: the model's, as ``init`` gives them.
      called: paths of all ``BatchNorm`` modules of its forward pass, see :func:`watch_norms`.

    Raises:
      ValueError: state beside parameters that no ``BatchNorm`` keeps, or a norm with neither scale nor bias.
    """
    state = sorted(set(variables) - {"params", "batch_stats"})
    if state:
        raise ValueError(f"module: expected no state but batch statistics, found {', '.join(state)}")
    parameters = {path[:-1] for path in flatten_dict(variables["params"])}
    norms = frozenset(path[:-1] for path in flatten_dict(variables.get("batch_stats", {})))
    for path in sorted(norms):
        name = "/".join(path)
        if path not in called:
            raise ValueError(f"module: expected batch statistics of flax.linen.BatchNorm alone, found some of {name!r}")
        if path not in parameters:
            raise ValueError(f"module: expected a scale or a bias in every BatchNorm, found neither in {name!r}")
    return norms


def watch_norms(called: set[Path]) -> AbstractContextManager[Any]:
    """While it is open, the path of each ``BatchNorm`` that is called is added to the set."""

    def watch(follow: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, nn.BatchNorm):
            called.add(tuple(context.module.path))
        return follow(*args, **kwargs)

    return nn.intercept_methods(watch)


def mask_norms(mask: Array) -> AbstractContextManager[Any]:
    """While it is open, the statistics of every ``BatchNorm`` that is called leave out the rows masked out.

    No module needs an argument for it, so that any model with Flax's own norms is right about padding.

    Args:
      mask: ``[B]`` bool.

    Raises:
      ValueError: inside, a norm whose input has another first axis than the batch.
    """

    def hand_over(follow: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, nn.BatchNorm) and context.method_name == "__call__":
            x: jax.Array = args[0] if args else kwargs["x"]
            if x.shape[:1] != mask.shape:
                name = "/".join(context.module.path)
                raise ValueError(f"module: expected {mask.shape[0]} rows as the batch in {name!r}, found {x.shape}")
            kwargs = {"mask": mask.reshape(mask.shape + (1,) * (x.ndim - 1))} | kwargs
        return follow(*args, **kwargs)

    return nn.intercept_methods(hand_over)
