"""The mask of the first layers, from a number of layers that may be traced."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from fedjax_layers.ops import prefix_mask


def prefix(cut: int | jax.Array, num_layers: int) -> Any:
    """Make the mask ``[L]`` of the first ``cut`` layers: a NumPy array, hence static, unless ``cut`` is traced."""
    return prefix_mask(cut, num_layers) if isinstance(cut, jax.core.Tracer) else np.arange(num_layers) < np.asarray(cut)
