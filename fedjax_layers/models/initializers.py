"""Initial weights."""

from __future__ import annotations

import jax

kaiming_normal = jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal")
"""Normal with variance ``2 / fan_in``: PyTorch's ``kaiming_normal_`` as it is called without arguments.

Fan-in, gain √2 (He et al., arXiv 1502.01852, eq. 10). Not ``he_normal`` of JAX, whose normal is truncated.
"""
