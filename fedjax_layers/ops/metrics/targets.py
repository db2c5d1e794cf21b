"""Scores of a regression in the units of its targets."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp

from fedjax_layers.ops.metrics.ratio import ratio
from fedjax_layers.types import Array


class Moments(NamedTuple):
    """The sums from which a regression's scores are computed; D targets per example.

    Attributes:
      count: ``[]`` int32, the number of examples.
      mean: ``[D]``, the mean of the targets.
      spread: ``[D]``, the sum of squared distances of the targets from their mean.
      squared: ``[D]``, the sum of squared errors.
      absolute: ``[D]``, the sum of absolute errors.
    """

    count: Array  # type: ignore[assignment]  # hides tuple.count, which is not needed here
    mean: Array
    spread: Array
    squared: Array
    absolute: Array


@dataclasses.dataclass(frozen=True)
class TargetScorer:
    """The scorer of real targets ``[B]`` or ``[B, D]``: mean absolute error, root mean squared error and R².

    Each equals scikit-learn's function; for several targets, the plain mean over them.
    """

    joint = False
    keeps_rows = False
    adds_up = False
    names = ("mae", "rmse", "r2", "loss")

    def tally(self, outputs: Array, labels: Array, mask: Array) -> Moments:
        """Return the batch's moments; ``outputs`` have the labels' shape, or ``[B, 1]`` for labels ``[B]``."""
        if outputs.size != labels.size:
            raise ValueError(f"outputs: expected one for each target, {labels.shape}, got {outputs.shape}")
        real = jnp.promote_types(outputs.dtype, jnp.float32)
        there = mask[:, None]
        targets = labels.reshape(labels.shape[0], -1).astype(real)
        errors = jnp.where(there, outputs.reshape(targets.shape).astype(real) - targets, 0)
        count = mask.sum(dtype=jnp.int32)
        # Distances are taken from one of the targets, so that a constant target has spread 0 in spite of rounding.
        one = targets[jnp.argmax(mask)]
        away = jnp.where(there, targets - one, 0)
        mean = ratio(away.sum(0), count.astype(real))
        spread = jnp.where(there, (away - mean) ** 2, 0).sum(0)
        return Moments(count, one + mean, spread, (errors**2).sum(0), jnp.abs(errors).sum(0))

    def merge(self, tallies: Moments) -> Moments:
        """Merge the moments of several sets along axis 0 into one (Chan, Golub and LeVeque 1983)."""
        real = tallies.mean.dtype
        each = tallies.count.astype(real)[:, None]
        count = tallies.count.sum(0, dtype=tallies.count.dtype)
        one = tallies.mean[jnp.argmax(tallies.count > 0)]
        away = jnp.where(each > 0, tallies.mean - one, 0)
        mean = ratio((each * away).sum(0), count.astype(real))
        spread = tallies.spread.sum(0) + (each * (away - mean) ** 2).sum(0)
        return Moments(count, one + mean, spread, tallies.squared.sum(0), tallies.absolute.sum(0))

    def scores(self, tally: Moments, loss: Array) -> dict[str, Array]:
        """Return scores by name.

        As in scikit-learn, R² of one example is NaN, and R² of equal targets is 1 if all are met, else 0.
        """
        count = tally.count.astype(tally.mean.dtype)[..., None]
        worst = jnp.where(jnp.isnan(tally.squared), jnp.inf, tally.squared)  # NaN comes from a diverged model
        r2 = 1 - jnp.where(tally.spread > 0, ratio(worst, tally.spread), (worst > 0).astype(worst.dtype))
        absolute = jnp.where(jnp.isnan(tally.absolute), jnp.inf, tally.absolute)
        some = tally.count > 0
        return {
            "mae": jnp.where(some, ratio(absolute, count).mean(-1), jnp.nan),
            "rmse": jnp.where(some, jnp.sqrt(ratio(worst, count)).mean(-1), jnp.nan),
            "r2": jnp.where(tally.count > 1, r2.mean(-1), jnp.nan),
            "loss": loss,
        }

    def whole(self, outputs: Array, labels: Array, mask: Array) -> dict[str, Array]:
        """Return no scores; all follow from the moments."""
        del outputs, labels, mask
        return {}
