"""Options that are numbers: an array in place of one for all clients is refused by name; masks from whole numbers."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

from fedjax_layers.names import options_of
from fedjax_layers.ops import prefix_mask

P = ParamSpec("P")
R = TypeVar("R")


def numbers_for_all(*besides: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorates an algorithm: each option that is a number, by its annotation, is one for all clients.

    An array of C numbers would go with whatever axis of the parameters is C long, the classes say, and not with the
    clients. Options that may be tuples have a meaning of their own for several numbers, and look after themselves.

    Args:
      *besides: names of options that take a number for each client, or each team; the algorithm acts on them so.

    Returns:
      The decorator; what it makes raises ``ValueError`` for an array.
    """

    def decorate(factory: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(factory)
        def checked(*args: P.args, **options: P.kwargs) -> R:
            for name in options.keys() & number_options(factory) - set(besides):
                value: Any = options[name]
                shape = np.shape(value)
                if shape != ():
                    raise ValueError(f"{name}: expected one number for all clients, got shape {shape}")
            return factory(*args, **options)

        return checked

    return decorate


def prefix(cut: int | jax.Array, num_layers: int) -> Any:
    """The mask ``[L]`` of the first ``cut`` layers: of NumPy, so that it is known to be static, unless it is traced."""
    return prefix_mask(cut, num_layers) if isinstance(cut, jax.core.Tracer) else np.arange(num_layers) < np.asarray(cut)


@functools.cache
def number_options(factory: Callable[..., Any]) -> frozenset[str]:
    """Names of an algorithm's options whose annotation is a number, maybe traced or none, and nothing else."""
    hints = typing.get_type_hints(factory)
    return frozenset(name for name in options_of(factory) if _is_number(hints[name]))


def _is_number(hint: Any) -> bool:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    kinds = typing.get_args(hint) if union else (hint,)
    return any(kind in (bool, int, float) for kind in kinds) and not any(typing.get_origin(k) is tuple for k in kinds)
