"""Scores of a survival model: how well its risks predict the order of deaths."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from fedjax_layers.ops.metrics.ratio import ratio
from fedjax_layers.types import Array

NOBODY = -1.0  # the time of a padding row, which is therefore at risk at no event


@dataclasses.dataclass(frozen=True)
class SurvivalScorer:
    """The scorer that gives Harrell's concordance index and the loss, both of all of a client's examples together.

    Attributes:
      losses: ``(outputs, labels) -> [n]``, one loss per event, 0 for a censored example. Both labels of a padding row
        are :data:`NOBODY`.
    """

    losses: Callable[[Array, Array], Array]
    joint = True
    keeps_rows = True
    adds_up = True
    names = ("concordance", "loss")

    def tally(self, outputs: Array, labels: Array, mask: Array) -> tuple[()]:
        """Return an empty tally: scores over pairs do not add up over batches."""
        del outputs, labels, mask
        return ()

    def merge(self, tallies: tuple[()]) -> tuple[()]:
        """Return an empty tally."""
        return tallies

    def scores(self, tally: tuple[()], loss: Array) -> dict[str, Array]:
        """Return no scores; all come from :meth:`whole`."""
        del tally, loss
        return {}

    def whole(self, outputs: Array, labels: Array, mask: Array) -> dict[str, Array]:
        """Return the concordance index, and the mean loss per event: NaN without an event, infinite where diverged."""
        time, event = labels[:, 0], (labels[:, 1] > 0) & mask
        losses = self.losses(outputs, jnp.where(mask[:, None], labels, jnp.asarray(NOBODY, labels.dtype)))
        events = event.sum().astype(losses.dtype)
        loss = ratio(jnp.where(event, losses, 0).sum(), events)
        loss = jnp.where(jnp.isnan(loss), jnp.inf, loss)
        return {
            "concordance": concordance(outputs.reshape(time.shape), time, event, mask),
            "loss": jnp.where(events > 0, loss, jnp.nan),
        }


def concordance(risk: Array, time: Array, event: Array, mask: Array) -> Array:
    """Compute the share of comparable pairs in which the earlier death had the higher risk; equal risks count half.

    A pair is comparable if one has died, and the other was alive after that time, or censored at it. Two that died at
    the same time are not compared. lifelines' ``concordance_index`` follows the same rules.

    Args:
      risk: ``[n]``, higher for an earlier death; NaN ranks lowest.
      time: ``[n]``, the time of death or of censoring.
      event: ``[n]`` bool, True for death, False for censoring.
      mask: ``[n]`` bool, which rows are real.

    Returns:
      ``[]``, NaN without a comparable pair.

    Source: Harrell, Califf, Pryor, Lee and Rosati 1982.
    """
    real = jnp.promote_types(risk.dtype, jnp.float32)
    risk = jnp.where(jnp.isnan(risk), -jnp.inf, risk)

    def against(row: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        own, when, died = row  # one row against all others, so that memory grows with n and not with its square
        pair = mask & died & ((time > when) | ((time == when) & ~event))
        won = jnp.where(pair, (own > risk).astype(real) + (own == risk).astype(real) / 2, 0)
        return won.sum(), pair.sum().astype(real)

    won, pairs = lax.map(against, (risk, time, event & mask))
    return jnp.where(pairs.sum() > 0, ratio(won.sum(), pairs.sum()), jnp.nan)
