"""Rows of stacked models: made, and chosen between."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from fedjax_layers.types import Array, Params


def copies(params: Params, num: int) -> Params:
    """One model as ``num`` equal ones, leaves ``[num, ...]``."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (num, *x.shape)), params)


def where_rows(flags: Array, on: Any, off: Any) -> Any:
    """Rows of ``on`` where flagged ``[K]``, else of ``off``; leaves ``[K, ...]``."""
    return jax.tree.map(lambda a, b: jnp.where(flags.reshape(-1, *(1,) * (a.ndim - 1)), a, b), on, off)
