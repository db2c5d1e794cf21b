"""Helpers for stacked models: copies of one model, and a choice between rows."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from fedjax_layers.types import Array, Params


def copies(params: Params, num: int) -> Params:
    """Stack ``num`` copies of one model, leaves ``[num, ...]``."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (num, *x.shape)), params)


def where_rows(flags: Array, on: Any, off: Any) -> Any:
    """Choose rows of ``on`` where ``flags [K]`` is True, else of ``off``; leaves ``[K, ...]``."""
    return jax.tree.map(lambda a, b: jnp.where(flags.reshape(-1, *(1,) * (a.ndim - 1)), a, b), on, off)
