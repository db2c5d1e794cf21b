"""The type of a number that may be traced; in a file of its own, so that ``options.declared`` need not import JAX."""

from __future__ import annotations

from typing import Annotated, TypeVar

import jax

from fedjax_layers.options.declared import Mark

T = TypeVar("T")
Traced = Annotated[T | jax.Array, Mark.TRACED]
"""A number that may be traced: ``Traced[float]``. A sweep traces a ``Traced[int]`` only where it varies it."""
