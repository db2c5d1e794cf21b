"""A round of L2GD, in which a random draw decides whether clients train or move towards their means."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from fedjax_layers.algorithms.novel import seen_or
from fedjax_layers.algorithms.tethered.coupling import Coupling, Number, served
from fedjax_layers.clients import Client, ClientVisit, LocalOptions, Passed, Trainer, keys, one_pass, train
from fedjax_layers.clients.aggregate import reduce_rows
from fedjax_layers.clients.stacked import copies, where_rows
from fedjax_layers.clients.store import renew_clients, take_note
from fedjax_layers.ops import Term, Visit, settle, visit_clients, weighted_mean
from fedjax_layers.types import (
    Algorithm,
    Array,
    Cohort,
    Key,
    Params,
    RoundInfo,
    RoundMemory,
    per_client,
)


@struct.dataclass
class L2gdState:
    """State between rounds.

    Attributes:
      round: ``[]`` int32, the number of rounds with at least one client.
      server: params of the network mean, as last computed.
      teams: the clusters' models ``[T, ...]``, as last computed.
      clients: every client's model ``[C, ...]``.
      client_opt: clients' optimiser states ``[C, ...]``, or ``()``.
      seen: ``[C]`` bool, who has taken part.
    """

    round: Array
    server: Params
    teams: Params
    clients: Params = per_client()
    client_opt: Any = per_client()
    seen: Array = per_client()


def draw_coins(key: Key, num_teams: int, probability: Number, cluster_probability: Number = 0.0) -> tuple[Array, Array]:
    """Draw the coins of a round: ``[]`` bool of the network, ``[T]`` bool of the clusters, used if the first is False.

    Args:
      key: the round's key.
      num_teams: T, the number of clusters.
      probability: probability of the network's coin.
      cluster_probability: probability of each cluster's coin.
    """
    network_key, cluster_key = jax.random.split(jax.random.fold_in(key, keys.COINS))
    network = jax.random.bernoulli(network_key, probability)
    return network, jax.random.bernoulli(cluster_key, cluster_probability, (num_teams,))


def coupled_algorithm(trainer: Trainer, coupling: Coupling) -> Algorithm:
    """Make the algorithm in which clients are pulled to their cluster's model, and that to the network's."""

    def init(key: Key, params: Params) -> L2gdState:
        del key
        return L2gdState(
            round=jnp.int32(0),
            server=params,
            teams=copies(params, coupling.num_teams),
            clients=copies(params, trainer.num_clients),
            client_opt=trainer.init_optimizer(params),
            seen=jnp.zeros(trainer.num_clients, bool),
        )

    def round_(key: Key, state: L2gdState, cohort: Cohort) -> tuple[L2gdState, RoundInfo]:
        return _round(trainer, coupling, key, state, cohort)

    def welcome(state: L2gdState, shared: Any, ids: Array) -> L2gdState:
        means, some = shared
        of_client = jax.tree.map(lambda x: x[coupling.team_of[ids]], means)
        return dataclasses.replace(state, clients=where_rows(state.seen | ~some, state.clients, of_client))

    return Algorithm(
        init,
        round_,
        lambda state: served(coupling, state.clients, state.seen, state.server),
        global_model=lambda s: s.server,
        teams=lambda s: (s.teams, coupling.team_of),
        welcome=welcome,
        memory=RoundMemory(visit=4, server=2 * coupling.num_teams),
    )


def _round(
    trainer: Trainer, coupling: Coupling, key: Key, state: L2gdState, cohort: Cohort
) -> tuple[L2gdState, RoundInfo]:
    """Run a round: clients whose coin is False take local steps, the others average; a part without any is skipped."""
    network, clusters = draw_coins(key, coupling.num_teams, coupling.probability, coupling.cluster_probability)
    present = cohort.weight > 0
    meets = present & (network | clusters[coupling.team_of[cohort.ids]])
    trains = present & ~meets
    scale = trainer.scale_of(state.round)
    decay = jnp.asarray(1.0 if scale is None else scale, float)
    passed = _local_steps(trainer, coupling, key, state, cohort, trains, decay)
    trained, client_opt = passed.store
    moved, server, teams = jax.lax.cond(
        meets.any(),
        lambda: _mix(trainer, coupling, state, cohort, trained, (meets, network, clusters), coupling.step_size * decay),
        lambda: (trained, state.server, state.teams),
    )
    heard = trainer.heard(cohort, jnp.where(trains, passed.loss, 0))
    steps = jnp.where(trains, trainer.steps_of_slots(heard), 0)
    transfers = jnp.full(trainer.task.layers.num_layers, meets.sum(dtype=jnp.int32))
    info = RoundInfo(
        observed=passed.observed,
        loss=jnp.where(trains, passed.loss, 0),
        steps=steps.sum(dtype=jnp.int32),
        sent=transfers,
        received=transfers,
        sent_scalars=jnp.int32(0),
    )
    state = dataclasses.replace(
        state,
        round=state.round + (heard.weight > 0).any(),
        server=server,
        teams=teams,
        clients=moved,
        client_opt=client_opt,
        seen=take_note(state.seen, heard),
    )
    return state, info


def _local_steps(
    trainer: Trainer, coupling: Coupling, key: Key, state: L2gdState, cohort: Cohort, trains: Array, decay: Array
) -> Passed:
    """Train the slots that ``trains`` marks; the others take no step, and are observed with their present model."""
    scale = decay / ((1 - coupling.probability) * (1 - coupling.cluster_probability))

    def visit(client: Client, own: Any) -> ClientVisit:
        params, opt_state = own
        result = train(trainer, key, client, params, opt_state=opt_state, options=LocalOptions(scale=scale))
        # A client that does not train keeps its own model, even if it is a bad client.
        return ClientVisit(
            seen_or(client.present, result.params, params), result.loss, row=(result.sent, result.opt_state)
        )

    active = dataclasses.replace(cohort, weight=jnp.where(trains, cohort.weight, 0))
    return one_pass(trainer, active, visit, store=(state.clients, state.client_opt))


def _mix(
    trainer: Trainer,
    coupling: Coupling,
    state: L2gdState,
    cohort: Cohort,
    store: Params,
    coins: tuple[Array, Array, Array],
    step: Array,
) -> tuple[Params, Params, Params]:
    """Compute the clients' models ``[C, ...]`` after averaging, the network mean and the clusters' models.

    ``coins`` are the slots that average ``[K]``, the network's coin ``[]`` and the clusters' ``[T]``.
    """
    c, num, team = coupling, coupling.num_teams, coupling.team_of[cohort.ids]
    meets, network, clusters = coins
    pull = jnp.where(cohort.weight > 0, c.pull[cohort.ids], 0)
    mass = jnp.zeros(num, pull.dtype).at[team].add(pull)
    share = c.cluster_pull / jnp.where(mass + c.cluster_pull > 0, mass + c.cluster_pull, 1)  # a_j
    means = _cluster_means(trainer, cohort, store, team, pull / jnp.where(mass > 0, mass, 1)[team], mass, state.teams)
    mean = weighted_mean(means, share * mass, fallback=state.server)
    server = jax.tree.map(lambda new, old: jnp.where(network, new, old), mean, state.server)
    # A coin of probability 0 is never True, so its step is not divided.
    whole = step / jnp.where(c.probability > 0, c.probability, 1)
    rest = step * (1 - c.tau) / ((1 - c.probability) * jnp.where(c.cluster_probability > 0, c.cluster_probability, 1))
    to_network = pull * jnp.where(network, whole, 0) * share[team]
    to_cluster = pull * jnp.where(network, whole * c.tau, rest) * (1 - share)[team]

    def move(own: Params, up: Array, side: Array, place: Array) -> Params:
        def one(x: Array, mean: Array, means: Array) -> Array:
            return x + up.astype(x.dtype) * (mean - x) + side.astype(x.dtype) * (means[place] - x)

        return jax.tree.map(one, own, server, means)

    def model(old: Array, mean: Array, means: Array) -> Array:
        a, computed = (r.reshape(-1, *(1,) * (old.ndim - 1)) for r in (share, (network | clusters) & (mass > 0)))
        a = a.astype(old.dtype)
        return jnp.where(computed, a * mean + (1 - a) * means, old)

    those = dataclasses.replace(cohort, weight=jnp.where(meets, cohort.weight, 0))
    moved = renew_clients(move, store, those, to_network, to_cluster, team, axis=trainer.axis)
    return moved, server, jax.tree.map(model, state.teams, server, means)


def _cluster_means(
    trainer: Trainer, cohort: Cohort, store: Params, team: Array, share: Array, mass: Array, fallback: Params
) -> Params:
    """Compute means ``[T, ...]`` of the slots' models in the store, by ``share [K]`` of the team's ``mass [T]``."""

    def one(_: Any, row: Array, place: Array, share: Array) -> Visit:
        own = jax.tree.map(lambda x: x[row], store)
        return Visit(sums=Term(own, share, place, len(mass)))

    rule = trainer.rule_of(cohort.ids)
    if rule is not None:
        rows = jax.tree.map(lambda x: x[cohort.rows], store)
        made = reduce_rows(rule, Term(rows, share, team, len(mass)), cohort.weight > 0, fallback)
        return settle(made, mass > 0, fallback)
    found = visit_clients(one, cohort.rows, team, share, present=cohort.weight > 0, axis=trainer.axis)
    return settle(found.sums, mass > 0, fallback)
