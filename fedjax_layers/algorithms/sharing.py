"""One round in which some layers are averaged and the others stay with their client.

The frame of every algorithm that decides per layer what is shared: all layers is FedAvg, none is local training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from fedjax_layers import keys
from fedjax_layers.algorithms.stacked import copies, where_rows
from fedjax_layers.local_training import LocalOptions, LocalResult, Trainer, train_cohort
from fedjax_layers.ops import ClientAxis, map_clients, masked_mean, select
from fedjax_layers.ops.optimizer_update import refuse_objective, reseed
from fedjax_layers.running_statistics import weights_only, with_statistics
from fedjax_layers.types import Array, Cohort, Key, Params, RoundInfo, per_client

_PARTS = 8  # in which large rows of all clients are renewed


@struct.dataclass
class SharingState:
    """State between rounds.

    Attributes:
      round: ``[]`` int32, rounds done.
      server: params of the global model.
      clients: each client's latest trained model, leaves ``[C, ...]``; ``None`` where nothing personal is kept.
      client_opt: clients' optimiser states ``[C, ...]``, or ``()``.
      server_opt: state of the server's optimiser, or ``()``.
      seen: ``[C]`` bool, who has taken part; ``None`` where nothing personal is kept.
    """

    round: Array
    server: Params
    server_opt: Any
    clients: Params | None = per_client()
    client_opt: Any = per_client()
    seen: Array | None = per_client()


def init_sharing(
    trainer: Trainer,
    params: Params,
    *,
    personal: bool,
    server_optimizer: optax.GradientTransformation | None = None,
) -> SharingState:
    """The state before the first round: every model is ``params``.

    Raises:
      ValueError: a server optimiser that needs more than the pseudo-gradient, such as a loss.
    """
    refuse_objective("server_optimizer", "the server", server_optimizer, params)
    stacked = copies(params, trainer.num_clients)
    return SharingState(
        round=jnp.int32(0),
        server=params,
        clients=stacked if personal else None,
        client_opt=trainer.init_optimizer(params),
        server_opt=() if server_optimizer is None else server_optimizer.init(params),
        seen=jnp.zeros(trainer.num_clients, bool) if personal else None,
    )


def take_clients(store: Any, cohort: Cohort) -> Any:
    """Rows ``[K, ...]`` of the store ``[C, ...]`` for the cohort's slots."""
    if cohort.everyone:
        return store
    return jax.tree.map(lambda x: x[cohort.ids], store)


def put_clients(store: Any, cohort: Cohort, rows: Any) -> Any:
    """The store with the cohort's rows replaced; slots of weight 0 write nothing."""
    leaves = jax.tree.leaves(store)
    if not leaves:  # nothing of this kind is kept
        return store
    if cohort.everyone:
        keep = cohort.weight > 0
        return where_rows(keep, rows, store)
    # Padding is sent past the end, where the scatter drops it.
    target = jnp.where(cohort.weight > 0, cohort.ids, leaves[0].shape[0])
    return jax.tree.map(lambda s, r: s.at[target].set(r, mode="drop"), store, rows)


def take_note(seen: Any, cohort: Cohort) -> Any:
    """``seen [C]``, who has taken part, after a round with this cohort."""
    return put_clients(seen, cohort, jnp.ones(cohort.ids.shape, bool))


def one_by_one(visit: Callable[[Key, Any, Cohort], tuple[Any, Any]], key: Key, state: Any, cohort: Cohort) -> Any:
    """A round slot after slot, each from the state that the last one left.

    Args:
      visit: ``(key, state, cohort) -> (state, seen)``, what a round does with a cohort; ``seen`` is ``[K, ...]``.
      key: the round's, handed to every visit.
      state: before the round.
      cohort: whose slots are visited in turn, as cohorts of one.

    Returns:
      The state after the last slot, and ``seen`` of all slots ``[K, ...]``.
    """

    def one(state: Any, slot: Any) -> tuple[Any, Any]:
        ident, weight, train = jax.tree.map(lambda x: x[None], slot)
        alone = dataclasses.replace(cohort, ids=ident, weight=weight, train=train, everyone=False)
        state, seen = visit(key, state, alone)
        return state, jax.tree.map(lambda x: x[0], seen)

    return jax.lax.scan(one, state, (cohort.ids, cohort.weight, cohort.train))


def renew_clients(
    fn: Callable[..., Any], store: Any, cohort: Cohort, *rows: Any, axis: ClientAxis, shared: tuple[Any, ...] = ()
) -> Any:
    """The store with ``fn(its row, *row, *shared)`` in place of each present client's row.

    Where everybody takes part, an eighth of the rows after the other, so that a store of large rows is not held twice.

    Args:
      fn: of one client; its result has the tree, shapes and dtypes of the store's row.
      store: leaves ``[C, ...]``.
      cohort: whose rows are renewed; slots of weight 0 renew nothing.
      *rows: pytrees with leaves ``[K, ...]``.
      axis: width and devices.
      shared: pytrees handed to every client whole.

    Returns:
      The store, leaves ``[C, ...]``.
    """
    num = cohort.ids.shape[0]
    size = max(axis.width or num, -(-num // _PARTS))
    if not cohort.everyone or axis.mesh is not None or size >= num:
        new = map_clients(fn, take_clients(store, cohort), *rows, shared=shared, axis=axis)
        return put_clients(store, cohort, new)
    everything = (cohort.weight > 0, rows)

    def part(i: Array, store: Any) -> Any:
        start = jnp.minimum(i * size, num - size)  # the last part reaches back over rows that are renewed already
        old, (present, others) = jax.tree.map(
            lambda x: jax.lax.dynamic_slice_in_dim(x, start, size), (store, everything)
        )
        present = present & (jnp.arange(size) + start >= i * size)
        new = where_rows(present, map_clients(fn, old, *others, shared=shared, axis=axis), old)
        return jax.tree.map(lambda s, r: jax.lax.dynamic_update_slice_in_dim(s, r, start, 0), store, new)

    return jax.lax.fori_loop(0, -(-num // size), part, store)


def local_phase(
    trainer: Trainer,
    key: Key,
    state: SharingState,
    cohort: Cohort,
    shared: Array | None,
    *,
    trainable: Array | None = None,
    with_gradient: bool = False,
) -> LocalResult:
    """Local training of the cohort from the server's shared layers and each client's own others."""
    scale = trainer.scale_of(state.round)
    return train_cohort(
        trainer,
        key,
        cohort,
        server=state.server,
        own=take_clients(state.clients, cohort),
        shared=shared,
        opt_state=take_clients(state.client_opt, cohort),
        options=LocalOptions(trainable, scale, with_gradient),
    )


def server_key(key: Key, cohort: Cohort) -> Key:
    """The stream of what the server's optimiser draws; of a cohort of one, that of its visit within the round."""
    visited = jnp.where(cohort.weight > 0, cohort.ids, 0).sum()
    return jax.random.fold_in(jax.random.fold_in(key, keys.SERVER_OPTIMIZER), visited)


def server_phase(
    trainer: Trainer,
    key: Key,
    state: SharingState,
    cohort: Cohort,
    result: LocalResult,
    shared: Array,
    server_optimizer: optax.GradientTransformation | None = None,
) -> SharingState:
    """Average the shared layers, step the server, and keep what each client trained.

    With a server optimiser the pseudo-gradient is ``server - mean`` (Reddi et al. 2021, Algorithm 2); layers that
    are not shared do not move whatever the optimiser remembers, and an empty cohort leaves its state alone.
    """
    mean = masked_mean(result.params, cohort.weight, shared, trainer.task.layers, state.server)
    return server_step(trainer, key, state, cohort, result, mean, shared, server_optimizer)


def server_step(
    trainer: Trainer,
    key: Key,
    state: SharingState,
    cohort: Cohort,
    result: LocalResult,
    mean: Params,
    shared: Array,
    server_optimizer: optax.GradientTransformation | None = None,
) -> SharingState:
    """As :func:`server_phase`, from a mean that is there already, the server's own where a layer is not shared."""
    layers = trainer.task.layers
    server, server_opt = mean, state.server_opt
    if server_optimizer is not None:
        pseudo = weights_only(trainer.task, jax.tree.map(jnp.subtract, state.server, mean))
        server_opt = reseed(state.server_opt, server_key(key, cohort))
        updates, server_opt = server_optimizer.update(pseudo, server_opt, weights_only(trainer.task, state.server))
        moved = with_statistics(trainer.task, optax.apply_updates(state.server, updates), mean)
        server = select(shared, layers, moved, state.server)
        some = cohort.weight.sum() > 0
        server, server_opt = jax.tree.map(
            lambda new, old: jnp.where(some, new, old), (server, server_opt), (state.server, state.server_opt)
        )
    return dataclasses.replace(
        state,
        round=state.round + 1,
        server=server,
        clients=put_clients(state.clients, cohort, result.params),
        client_opt=put_clients(state.client_opt, cohort, result.opt_state),
        server_opt=server_opt,
        seen=take_note(state.seen, cohort),
    )


def round_info(trainer: Trainer, result: LocalResult, cohort: Cohort, shared: Array, **extra: Any) -> RoundInfo:
    """The report of a round in which the layers of ``shared`` [L] go both ways."""
    present = cohort.weight > 0
    moved = jnp.where(shared, present.sum(dtype=jnp.int32), 0).astype(jnp.int32)
    steps = jnp.where(present, trainer.num_steps(cohort.train.count, cohort.ids), 0)
    return RoundInfo(
        trained=result.params,
        loss=result.loss,
        steps=steps.sum(dtype=jnp.int32),
        sent=moved,
        received=moved,
        sent_scalars=jnp.int32(extra.pop("sent_scalars", 0)),
        extra=extra,
    )


def served_models(trainer: Trainer, state: SharingState, shared: Array) -> Params:
    """Personal models ``[C, ...]`` at the start of the next round: shared layers are the server's."""
    return jax.vmap(lambda own: select(shared, trainer.task.layers, state.server, own))(state.clients)
