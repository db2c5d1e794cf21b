"""Initial distributions of weights."""

from __future__ import annotations

import jax

kaiming_normal = jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal")
"""Normal with variance ``2 / fan_in`` (He et al., arXiv 1502.01852, eq. 10), as PyTorch's default ``kaiming_normal_``.

JAX's ``he_normal`` differs: its normal is truncated.
"""
