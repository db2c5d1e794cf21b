"""A division that gives 0 for a zero denominator."""

import jax.numpy as jnp

from fedjax_layers.types import Array


def ratio(top: Array, bottom: Array) -> Array:
    """Return ``top / bottom``, and 0 where ``bottom`` is 0."""
    safe = jnp.where(bottom > 0, bottom, 1)
    return jnp.where(bottom > 0, top / safe, 0)
