"""DemLearn (Nguyen et al., arXiv 2007.03278): clients are grouped anew each round, in levels under one root."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt, Le
from flax import struct

from fedjax_layers.algorithms.factory import factory
from fedjax_layers.algorithms.novel import rows_or, welcome_by_server, with_one
from fedjax_layers.algorithms.report import Decision
from fedjax_layers.algorithms.sharing.round import round_info
from fedjax_layers.clients import LocalOptions, Trainer, train_cohort
from fedjax_layers.clients.stacked import copies, where_rows
from fedjax_layers.clients.store import put_clients, take_clients, take_note
from fedjax_layers.ops import segment_mean
from fedjax_layers.ops.cluster import clusters_at_depth, dendrogram, pairwise_distances
from fedjax_layers.ops.prox import with_proximal_term
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm, Array, Cohort, Key, Params, RoundInfo, RoundMemory, per_client


@struct.dataclass
class DemLearnState:
    """State between rounds.

    Attributes:
      round: ``[]`` int32, the number of rounds with at least one client.
      server: params of the root.
      clients: every client's model ``[C, ...]``, mixed with its groups' models.
      parents: the group's model with which each client was last mixed, leaves ``[C, ...]``.
      client_opt: clients' optimiser states ``[C, ...]``, or ``()``.
      seen: ``[C]`` bool, who has taken part.
    """

    round: Array
    server: Params
    clients: Params = per_client()
    parents: Params = per_client()
    client_opt: Any = per_client()
    seen: Array = per_client()


class Mixed(NamedTuple):
    """The results of mixing in a hierarchy: members' and parents' models ``[K, ...]``, and the root's model."""

    members: Params
    parents: Params
    root: Params


def _first_rounds(numbers: Sequence[int], recorded: Mapping[str, np.ndarray], first: int) -> np.ndarray:
    """Return whether each of n rounds is among the first ``numbers [M]`` rounds, bool ``[M, n]``."""
    rounds = first + np.arange(len(recorded["loss"]))
    return rounds < np.asarray(numbers)[:, None]


@factory(decision=lambda options: Decision("amplified_rounds", _first_rounds), aggregates=False)
def demlearn(
    trainer: Trainer,
    *,
    levels: Annotated[int, Ge(0)] = 3,
    mu: Annotated[Traced[float], Ge(0)] = 0.0,
    parent_share: Annotated[Traced[float], Ge(0), Le(1)] = 0.6,
    amplification: Annotated[Traced[float], Gt(0)] = 1.0,
    amplified_rounds: Annotated[Traced[int], Ge(0)] = 5,
    weighting: Literal["uniform", "examples"] = "uniform",
) -> Algorithm:
    """Train clients, cluster their models, average these bottom-up, and mix the averages top-down.

    A client trains on ``f(theta) + mu/2 * ||theta - parent||^2`` from its own model; its parent is the group with which
    it was last mixed, and before its first round the common start. The present clients' models are clustered by average
    linkage on the Euclidean distance of all their weights, and the tree is cut after 1, 2, ... ``levels`` splits from
    the root, into at most 2, 4, 8 groups. A client that a split leaves alone belongs to the last group that contained
    it. A group's model is the mean of its members' models by the number of clients. From the root down, each group and
    each client becomes ``(1 - parent_share) * own + parent_share * parent``.

    The paper scores each client's model on its own examples (C-SPE), which is the personal model here, and on all
    clients' examples (C-GEN), which is a score of many models; the global model here is the root's. A client that never
    took part gets the root's model, too. Average linkage, the cut and the numbers are those of the authors' code (3
    levels, 2 epochs; parent_share 0.6 on MNIST, 0.7 elsewhere; mu 0, or 0.002 for DemLearn-P). Clustering K present
    clients takes K^2 numbers of memory and K^3 operations: 0.2 s for a thousand.

    Args:
      trainer: how each client trains.
      levels: number of levels of groups between the clients and the root of the tree; 0 hangs all clients from the
        root. The authors' code has 3.
      mu: strength of the pull of a client to its parent, per unit of squared distance. The authors' code has 0, or
        0.002 for DemLearn-P.
      parent_share: weight of the parent's model in a client's, the paper's alpha; 1 with any levels gives all clients
        the root's model, 0 none. The authors' code has 0.6 on MNIST, 0.7 elsewhere.
      amplification: factor on every group's mean; the authors' code takes 1.15. The root's is multiplied once per
        level.
      amplified_rounds: number of first rounds in which ``amplification`` is applied. The authors' code has 5.
      weighting: how means over clients are weighted: ``"uniform"``, as in the paper, or by training ``"examples"``.

    Returns:
      The algorithm; it offers personal models and the root. Every round reports ``groups`` ``[levels + 1]``, the number
      of groups after each split.

    Raises:
      ValueError: levels or a pull below 0, a parent_share outside [0, 1], an amplification that is not positive, or an
        unknown weighting.
    """
    trainer = dataclasses.replace(trainer, optimizer=with_proximal_term(trainer.optimizer, mu))
    everything = jnp.ones(trainer.task.layers.num_layers, bool)

    def init(key: Key, params: Params) -> DemLearnState:
        del key
        stacked = copies(params, trainer.num_clients)
        seen = jnp.zeros(trainer.num_clients, bool)
        return DemLearnState(jnp.int32(0), params, stacked, stacked, trainer.init_optimizer(params), seen)

    def round_(key: Key, state: DemLearnState, cohort: Cohort) -> tuple[DemLearnState, RoundInfo]:
        own, parents, opt_state = take_clients((state.clients, state.parents, state.client_opt), cohort)
        options = LocalOptions(scale=trainer.scale_of(state.round))
        result = train_cohort(trainer, key, cohort, own=own, opt_state=opt_state, anchor=parents, options=options)
        cohort = trainer.heard(cohort, result.loss)
        present = cohort.weight > 0
        weights = cohort.weight if weighting == "examples" else present.astype(cohort.weight.dtype)
        nested = hierarchy(result.sent, present, levels)
        factor = jnp.where(state.round < amplified_rounds, amplification, 1.0)
        mixed = mix(result.sent, weights, nested, parent_share, factor, fallback=state.server)
        info = round_info(trainer, result, cohort, everything, groups=jnp.stack([_count_groups(g) for g in nested]))
        state = dataclasses.replace(
            state,
            round=state.round + present.any(),
            server=mixed.root,
            clients=put_clients(state.clients, cohort, mixed.members),
            parents=put_clients(state.parents, cohort, mixed.parents),
            client_opt=put_clients(state.client_opt, cohort, result.opt_state),
            seen=take_note(state.seen, cohort),
        )
        return state, info

    def welcome(state: DemLearnState, shared: Any, ids: Array) -> DemLearnState:
        parents = with_one(state.parents, state.seen, state.server)
        return dataclasses.replace(welcome_by_server(state, shared, ids), parents=parents)

    return Algorithm(
        init,
        round_,
        personal=lambda s: rows_or(s.clients, s.seen, s.server),
        global_model=lambda s: s.server,
        welcome=welcome,
        memory=RoundMemory(states=2, slot=8),
    )


def hierarchy(stacked: Params, present: Array, levels: int) -> list[Array]:
    """Group models at depth 0 (the root) to ``levels``.

    Args:
      stacked: leaves ``[K, ...]``.
      present: ``[K]`` bool.
      levels: number of splits from the root.

    Returns:
      ``levels + 1`` arrays ``[K]`` int32, the lowest slot of each slot's group; -1 where the slot has no group at that
      depth, since it is absent or alone there.
    """
    tree = dendrogram(pairwise_distances(stacked, present), present)
    root = jnp.where(present, jnp.argmax(present).astype(jnp.int32), -1)
    nested = [root]
    for depth in range(1, levels + 1):
        labels = clusters_at_depth(tree, depth, present)
        alone = (labels[:, None] == labels[None]).sum(1) == 1
        nested.append(jnp.where(alone, -1, labels))
    return nested


def mix(
    stacked: Params,
    weights: Array,
    nested: Sequence[Array],
    parent_share: float | Array,
    amplification: float | Array,
    fallback: Params,
) -> Mixed:
    """Average a hierarchy's models bottom-up, then mix each with its parent's top-down.

    Args:
      stacked: the members' models ``[K, ...]``.
      weights: ``[K]``, the members' weights, 0 where absent.
      nested: groups by depth, as from :func:`hierarchy`.
      parent_share: weight of the parent's model.
      amplification: factor on every group's mean of its children.
      fallback: the root's model where no client is present.

    Source: arXiv 2007.03278, hierarchical averaging.
    """
    slots = weights.shape[0]
    inside = jnp.stack([groups >= 0 for groups in nested])
    around = inside.sum(0, dtype=jnp.int32)  # number of groups that contain each member, the root included

    def averages(depth: int) -> Params:
        """Compute the models ``[K, ...]`` of the groups of a depth, each at its lowest slot."""
        # Every group above a member amplifies its model; its weight takes the factor, so that models need no copies.
        groups = jnp.where(inside[depth], nested[depth], slots)
        counted = weights * jnp.asarray(amplification) ** (around - depth)
        total, scaled = (jax.ops.segment_sum(w, groups, slots) for w in (weights, counted))
        ratio = scaled / jnp.where(total > 0, total, 1)
        return jax.tree.map(lambda x: x * _beside(ratio, x), segment_mean(stacked, groups, slots, counted))

    def share(own: Params, parent: Params) -> Params:
        return jax.tree.map(lambda x, p: x + jnp.asarray(parent_share, x.dtype) * (p - x), own, parent)

    first = jnp.argmax(weights > 0)
    some = (weights > 0).any()
    root = jax.tree.map(lambda x, old: jnp.where(some, x[first], old), averages(0), fallback)
    parents = copies(root, slots)
    for depth in range(1, len(nested)):
        groups = jax.tree.map(lambda x, d=depth: x[nested[d]], averages(depth))
        lower = share(groups, parents)
        parents = where_rows(inside[depth], lower, parents)
    return Mixed(share(stacked, parents), parents, root)


def _count_groups(groups: Array) -> Array:
    """Count the groups, each of which is named by one of its members."""
    return (groups == jnp.arange(groups.shape[0], dtype=groups.dtype)).sum(dtype=jnp.int32)


def _beside(per_slot: Array, x: Array) -> Array:
    """Reshape ``[K]`` to ``[K, 1, ...]``, to broadcast with ``x``; numbers get its dtype."""
    column = per_slot.reshape(-1, *(1,) * (x.ndim - 1))
    return column if column.dtype == bool else column.astype(x.dtype)
