"""Bad clients: their choice, and their attacks on their data or on the models that they send."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers import data
from fedjax_layers.clients import keys
from fedjax_layers.data.changes.corruption import CORRUPTIONS, corrupt
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.ops import poison_update
from fedjax_layers.ops.poison import POISONS, Poison
from fedjax_layers.options import unknown_name
from fedjax_layers.types import Array, Key, LayerMap, Params


def attacked_clients(config: RunConfig, clients: data.ClientData) -> np.ndarray:
    """Draw the bad clients with the run's seed, bool ``[C]``: a share of the clients that take part."""
    seen = np.flatnonzero(~clients.unseen)
    number = round(config.attack_fraction * len(seen)) if config.attack else 0
    bad = np.zeros(clients.num_clients, bool)
    bad[np.random.default_rng([config.seed, keys.ATTACK]).permutation(seen)[:number]] = True
    return bad


def corrupted(config: RunConfig, clients: data.ClientData) -> data.ClientData:
    """Return the clients' data as they are trained on, corrupted if that is the attack."""
    if config.attack not in CORRUPTIONS:
        return clients
    return corrupt(clients, attacked_clients(config, clients), config.attack, config.attack_strength, config.seed)


def poison_of(config: RunConfig, layers: LayerMap) -> tuple[Poison, tuple[bool, ...]] | None:
    """Return the attack on updates and the layers ``[L]`` that it changes; ``None`` where there is none.

    Raises:
      ValueError: the model does not have a named block.
    """
    if config.attack not in POISONS:
        return None
    chosen = layers.block_names if config.attack_blocks is None else config.attack_blocks
    for name in chosen:
        if name not in layers.block_names:
            raise unknown_name("attack_blocks", name, layers.block_names)
    return cast(Poison, config.attack), tuple(layers.block_names[b] in chosen for b in layers.blocks)


def make_attack(
    layers: LayerMap, kind: Poison, where: tuple[bool, ...], hyper: Mapping[str, Any]
) -> Callable[[Key, Array, Params, Params], Params]:
    """Make the :attr:`~fedjax_layers.clients.Trainer.attack` of bad clients.

    Args:
      layers: the layer map.
      kind: the attack, see :func:`fedjax_layers.ops.poison_update`.
      where: ``[L]`` bool, the layers that it changes.
      hyper: the traced ``bad``, bool ``[C]``, and ``attack_strength``.
    """

    def attack(key: Key, ident: Array, start: Params, trained: Params) -> Params:
        delta = jax.tree.map(jnp.subtract, trained, start)
        key = jax.random.fold_in(key, keys.ATTACK)
        sent = poison_update(key, delta, layers, kind, hyper["attack_strength"], jnp.asarray(where))
        bad = hyper["bad"][ident]
        return jax.tree.map(lambda s, d, t: jnp.where(bad, s + d, t), start, sent, trained)

    return attack
