"""Tracing a function only once where a loop needs the shapes of its result before calling it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import jaxpr_as_fun


def traced_once(fn: Callable[..., Any], *shapes: Any) -> tuple[Callable[..., Any], Any]:
    """Trace a function for arguments of these shapes; return the traced function and the shapes of its result."""
    closed, found = jax.make_jaxpr(fn, return_shape=True)(*shapes)
    tree = jax.tree.structure(found)
    flat = jaxpr_as_fun(closed)
    return lambda *args: jax.tree.unflatten(tree, flat(*jax.tree.leaves(args))), found
