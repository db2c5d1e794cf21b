"""Names for arrays, keys and trees of them."""

from __future__ import annotations

from typing import Any

import jax

Array = jax.Array
Key = jax.Array
Params = Any  # a pytree of arrays: one model, or K or C models along axis 0 where the name says "stacked"
