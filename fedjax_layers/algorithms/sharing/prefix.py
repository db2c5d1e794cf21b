"""Masks of the first layers, from a whole number that may be traced."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from fedjax_layers.ops import prefix_mask


def prefix(cut: int | jax.Array, num_layers: int) -> Any:
    """The mask ``[L]`` of the first ``cut`` layers: of NumPy, so that it is known to be static, unless it is traced."""
    return prefix_mask(cut, num_layers) if isinstance(cut, jax.core.Tracer) else np.arange(num_layers) < np.asarray(cut)
