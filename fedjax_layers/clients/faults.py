"""Faults of clients: those that drop out before or during training, do less work, or return broken numbers."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from fedjax_layers.clients import keys
from fedjax_layers.types import Array, ClientFaults, Cohort, Key

# The number of each kind's draw; a further kind gets a further number, so that the others keep theirs.
_DROP_BEFORE, _DROP_DURING, _STRAGGLE, _BROKEN = range(4)


@dataclasses.dataclass(frozen=True)
class Faults:
    """How likely each fault is, for each client in each round, independently of all others.

    Each number may be traced. ``None`` leaves a kind of fault out of the program; clients that join late are a change
    of the data, see :mod:`fedjax_layers.data.changes`.

    Attributes:
      drop_before: probability that a client drops out before it trains: it is absent from the round.
      drop_during: probability that a client drops out while it trains: it does its work, but nobody hears of it, and
        its own model stays as it was.
      straggle: probability that a client does only a share of its local steps.
      straggle_work: this share, rounded up to whole steps.
      broken: probability that a client returns NaN.

    Raises:
      ValueError: a number that is not traced is outside 0 to 1.
    """

    drop_before: float | Array | None = None
    drop_during: float | Array | None = None
    straggle: float | Array | None = None
    straggle_work: float | Array = 0.5
    broken: float | Array | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not isinstance(value, jax.core.Tracer) and not 0 <= float(value) <= 1:
                raise ValueError(f"{name}: expected a number from 0 to 1, got {value}")


def struck(faults: Faults, key: Key, cohort: Cohort) -> Cohort:
    """Draw the faults of a round's clients.

    Args:
      faults: how likely each fault is.
      key: the round's key; a client's faults depend on it and on the client's id alone.
      cohort: the clients as they were chosen.

    Returns:
      The cohort in which clients that drop out before training have weight 0, with the others' ``faults``.
    """
    stream = jax.random.fold_in(key, keys.FAULTS)

    def hit(kind: int, probability: float | Array) -> Array:
        of_client = jax.vmap(lambda c: jax.random.fold_in(jax.random.fold_in(stream, kind), c))(cohort.ids)
        return jax.vmap(lambda k: jax.random.bernoulli(k, probability))(of_client)

    weight, lost, work, broken = cohort.weight, None, None, None
    if faults.drop_before is not None:
        weight = jnp.where(hit(_DROP_BEFORE, faults.drop_before), 0, weight)
    if faults.drop_during is not None:
        lost = hit(_DROP_DURING, faults.drop_during)
    if faults.straggle is not None:
        work = jnp.where(hit(_STRAGGLE, faults.straggle), jnp.asarray(faults.straggle_work, jnp.float32), 1)
    if faults.broken is not None:
        broken = hit(_BROKEN, faults.broken)
    return dataclasses.replace(cohort, weight=weight, faults=ClientFaults(work, lost, broken))
