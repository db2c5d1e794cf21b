"""Bad clients: their choice, and their attacks on their data or on the models that they send."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers import data
from fedjax_layers.clients import keys
from fedjax_layers.clients.stacked import where_rows
from fedjax_layers.clients.trainer import Collude
from fedjax_layers.data.changes.corruption import CORRUPTIONS, corrupt
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.ops import colluding_updates, poison_update
from fedjax_layers.ops.collusion import COLLUSIONS, SEARCHING, Collusion, Direction
from fedjax_layers.ops.poison import POISONS, Poison
from fedjax_layers.options import renamed, unknown_name
from fedjax_layers.types import Array, Key, LayerMap, Params


def attacked_clients(config: RunConfig, clients: data.ClientData) -> np.ndarray:
    """Draw the bad clients with the run's seed, bool ``[C]``: a share of the clients that take part."""
    seen = np.flatnonzero(~clients.unseen)
    number = round(config.attack_fraction * len(seen)) if config.attack else 0
    bad = np.zeros(clients.num_clients, bool)
    bad[np.random.default_rng([config.seed, keys.ATTACK]).permutation(seen)[:number]] = True
    return bad


def attackers_of(config: RunConfig, clients: data.ClientData) -> np.ndarray | None:
    """Return the bad clients ``[C]`` of a run, for its records; ``None`` for a run without an attack."""
    return attacked_clients(config, clients) if config.attack else None


def corrupted(config: RunConfig, clients: data.ClientData) -> data.ClientData:
    """Return the clients' data as they are trained on, corrupted if that is the attack."""
    if config.attack not in CORRUPTIONS:
        return clients
    assert config.strength is not None  # there is an attack
    bad = attacked_clients(config, clients)
    with renamed({"target": "attack_target"}):
        return corrupt(clients, bad, config.attack, config.strength, config.seed, config.attack_target)


def traced_attack(config: RunConfig, clients: data.ClientData) -> dict[str, Any]:
    """Return the traced inputs of an attack on updates: ``bad`` ``[C]`` and ``attack_strength``; empty without one."""
    if _poison(config) is None and collusion_of(config) is None:
        return {}
    strength = config.attack_boost if config.attack == "backdoor" else config.strength
    return {"bad": attacked_clients(config, clients), "attack_strength": strength}


def _poison(config: RunConfig) -> Poison | None:
    """Return the kind of attack on updates; a boosted backdoor also scales them."""
    if config.attack == "backdoor":
        return "scale" if config.attack_boost != 1 else None
    return cast(Poison, config.attack) if config.attack in POISONS else None


def poison_of(config: RunConfig, layers: LayerMap) -> tuple[Poison, tuple[bool, ...]] | None:
    """Return the attack on updates and the layers ``[L]`` that it changes; ``None`` where there is none.

    Raises:
      ValueError: the model does not have a named block.
    """
    kind = _poison(config)
    if kind is None:
        return None
    chosen = layers.block_names if config.attack_blocks is None else config.attack_blocks
    for name in chosen:
        if name not in layers.block_names:
            raise unknown_name("attack_blocks", name, layers.block_names)
    return kind, tuple(layers.block_names[b] in chosen for b in layers.blocks)


def collusion_of(config: RunConfig) -> tuple[Collusion, Direction] | None:
    """Return the attack of clients that know the benign updates, and its direction; ``None`` where there is none."""
    if config.attack not in COLLUSIONS:
        return None
    direction = config.attack_direction if config.attack in SEARCHING else "unit"
    return cast(Collusion, config.attack), cast(Direction, direction)


def make_collusion(kind: Collusion, direction: Direction, hyper: Mapping[str, Any]) -> Collude:
    """Make the :attr:`~fedjax_layers.clients.Trainer.collude` of bad clients.

    Args:
      kind: the attack, see :func:`fedjax_layers.ops.colluding_updates`.
      direction: its direction, see there.
      hyper: the traced ``bad``, bool ``[C]``, and ``attack_strength``, which may be ``None``.
    """

    def collude(ids: Array, rows: Params, weight: Array, centre: Params) -> Params:
        bad = hyper["bad"][ids]
        updates = jax.tree.map(lambda x, c: x - c[None], rows, centre)
        sent = colluding_updates(updates, bad, weight, kind, hyper["attack_strength"], direction)
        added = jax.tree.map(lambda s, c: s + c[None], sent, centre)
        return where_rows(bad, added, rows)  # benign rows keep every bit

    return collude


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
