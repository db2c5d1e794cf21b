"""The type of a number that may be traced; apart from the other declarations, which do without JAX."""

from __future__ import annotations

from typing import Annotated, TypeVar

import jax

from fedjax_layers.options.declared import Mark

T = TypeVar("T")
Traced = Annotated[T | jax.Array, Mark.TRACED]
"""A number that may be traced: ``Traced[float]``; sweeps trace a ``Traced[int]`` where it is varied."""
