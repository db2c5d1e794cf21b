"""The settings of client-level differential privacy."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from fedjax_layers.types import Array


@dataclasses.dataclass(frozen=True)
class Privacy:
    """Clipping of each client's update, and noise on their sum, so that no client's presence can be told.

    All clients count alike, and the sum is divided by the number of slots of the cohort, whoever is heard: neither the
    weights nor the number of clients that fail may tell anything of a client.

    Attributes:
      noise: z, the standard deviation of the noise on the sum of updates over the bound. May be traced.
      clip: S, the largest norm of a client's update; with ``quantile`` the one of the first round. May be traced.
      per_layer: clip each layer by its own norm; see :func:`fedjax_layers.ops.clip_update`.
      quantile: adapt the bound, so that this share of the updates is within it; ``None`` keeps it. May be traced.
      clip_rate: step size of the bound's logarithm. May be traced.
      count_noise: standard deviation of the noise on the number of updates within the bound; ``None`` means a
        twentieth of the number of slots, as in the paper, or ``noise`` if that is larger. A part of ``noise`` is spent
        on it.

    Raises:
      ValueError: a number that is not traced is out of range, or ``quantile`` with ``per_layer``.

    Source: McMahan, Ramage, Talwar and Zhang 2018, arXiv 1710.06963; Andrew, Thakkar, McMahan and Ramaswamy 2021, arXiv
      1905.03871, for the adapted bound.
    """

    noise: float | Array
    clip: float | Array
    per_layer: bool = False
    quantile: float | Array | None = None
    clip_rate: float | Array = 0.2
    count_noise: float | None = None

    def __post_init__(self) -> None:
        for name in ("noise", "clip", "clip_rate"):
            _expect(name, getattr(self, name), above=name == "clip")
        if self.quantile is not None:
            if self.per_layer:
                raise ValueError("quantile: expected none with per_layer, whose layers have no common norm")
            _expect("quantile", self.quantile, most=1.0)
        if self.count_noise is not None:
            _expect("count_noise", self.count_noise, above=True)

    @property
    def adapts(self) -> bool:
        """Whether the bound is adapted from round to round; static."""
        return self.quantile is not None

    def count_deviation(self, slots: int) -> Any:
        """Return the standard deviation of the noise on the number of updates within the bound."""
        if self.count_noise is not None:
            return self.count_noise
        larger = jnp.maximum if isinstance(self.noise, jax.core.Tracer) else max
        return larger(slots / 20, self.noise)  # the count spends no more than a quarter of 1 / noise^2

    def update_noise(self, slots: int) -> Any:
        """Return the noise multiplier of the updates, from which that of the count has been taken.

        Raises:
          ValueError: the noise on the count alone spends more than ``noise`` allows.
        """
        if not self.adapts:
            return self.noise
        counted = 2 * self.count_deviation(slots)
        if not isinstance(self.noise, jax.core.Tracer) and float(self.noise) >= counted:
            raise ValueError(f"noise: expected less than {counted:g}, twice the noise on the count, got {self.noise}")
        # z^-2 = z_update^-2 + (2 sigma)^-2: the count changes by a half of 1 around its middle.
        return self.noise / (1 - (self.noise / counted) ** 2) ** 0.5


def _expect(name: str, value: Any, *, above: bool = False, most: float = math.inf) -> None:
    if isinstance(value, jax.core.Tracer):
        return
    number = float(value)
    if not math.isfinite(number) or number < 0 or number > most or (above and number == 0):
        limit = "a finite number" if most == math.inf else f"a number up to {most:g}"
        raise ValueError(f"{name}: expected {limit} {'above' if above else 'of at least'} 0, got {value}")
