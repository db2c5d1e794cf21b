"""Options that are numbers: which of them are, and masks from whole ones."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from fedjax_layers.ops import prefix_mask
from fedjax_layers.options import options_of


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
