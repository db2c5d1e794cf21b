"""The mean of a round's updates under client-level differential privacy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fedjax_layers.clients import Client, ClientVisit, Trainer, keys
from fedjax_layers.clients.privacy import Privacy
from fedjax_layers.clients.running_statistics import refuse_statistics
from fedjax_layers.ops import Term, adapted_bound, add_noise, clip_update
from fedjax_layers.types import Array, Key, LayerMap, Params


@dataclasses.dataclass(frozen=True)
class PrivateMean:
    """A pass that learns nothing of a client but its clipped update, within a noisy sum.

    Attributes:
      privacy: the settings.
      layers: the layer map.
      bound: the clipping bound ``[]`` of this round.
    """

    privacy: Privacy
    layers: LayerMap
    bound: Any

    def visit(self, visit: Callable[[Client, Any], ClientVisit]) -> Callable[[Client, Any], ClientVisit]:
        """Return the visit whose sums are the clipped update, and 1/2 if its norm was within the bound, else -1/2.

        Raises:
          ValueError: the algorithm keeps further results of each client, which have no noise.
        """

        def clipped(client: Client, own: Any) -> ClientVisit:
            found = visit(client, own)
            if jax.tree.leaves(found.out) or not isinstance(found.sums, Term):
                raise ValueError("privacy: expected an algorithm whose clients send nothing but updates, got another")
            update = jax.tree.map(_difference, found.sums.value, client.shared, is_leaf=_missing)
            update, within = clip_update(update, self.layers, self.bound, per_layer=self.privacy.per_layer)
            there = jax.tree.map(lambda x, u: None if x is None else u, found.sums.value, update, is_leaf=_missing)
            # Around its middle the count changes by a half with one client, whether its update is short or long.
            return found._replace(sums=(Term(there), Term(within.astype(jnp.float32) - 0.5)))

        return clipped

    def mean(self, key: Key, sums: tuple[Params, Array], server: Params, slots: int) -> tuple[Params, Any]:
        """Return the server's model plus the noisy mean of the updates, and the state's next ``clip``.

        Args:
          key: the round's key.
          sums: the pass's sums.
          server: the model from which all updates start.
          slots: K, the number of slots, by which sums are divided.
        """
        total, within = sums
        update_key, count_key = jax.random.split(jax.random.fold_in(key, keys.PRIVACY))
        noisy = add_noise(update_key, total, self.privacy.update_noise(slots) * self.bound)
        mean = jax.tree.map(
            lambda u, s: None if u is None else s + (u / slots).astype(s.dtype), noisy, server, is_leaf=_missing
        )
        if self.privacy.quantile is None:
            return mean, ()
        share = 0.5 + add_noise(count_key, within, self.privacy.count_deviation(slots)) / slots
        return mean, adapted_bound(self.bound, share, self.privacy.quantile, self.privacy.clip_rate)


def first_bound(trainer: Trainer) -> Any:
    """Return the state's ``clip`` before the first round: the bound where it is adapted, else ``()``.

    Raises:
      ValueError: the trainer asks for privacy of a model with batch normalisation.
    """
    if trainer.privacy is None:
        return ()
    refuse_statistics(trainer.task, "differential privacy")
    return jnp.asarray(trainer.privacy.clip, jnp.float32) if trainer.privacy.adapts else ()


def private_mean(trainer: Trainer, clip: Any) -> PrivateMean:
    """Make the private mean of a trainer with ``privacy``; ``clip`` is that of the state.

    Raises:
      ValueError: the trainer has a rule of aggregation in place of the mean.
    """
    assert trainer.privacy is not None  # checked by the caller
    if trainer.aggregate is not None:
        raise ValueError("privacy: expected the mean, or no attack that knows the updates, got a rule of aggregation")
    bound = clip if trainer.privacy.adapts else trainer.privacy.clip
    return PrivateMean(trainer.privacy, trainer.task.layers, bound)


def _difference(new: Array | None, old: Array) -> Array:
    return jnp.zeros_like(old) if new is None else new - old


def _missing(x: Any) -> bool:
    return x is None
