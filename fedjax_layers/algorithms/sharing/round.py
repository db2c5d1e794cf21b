"""A round in which some layers are averaged and the others stay with their client.

All algorithms that decide per layer what is shared use it: sharing all layers is FedAvg, none is local training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fedjax_layers.algorithms.sharing.private_mean import first_bound, private_mean
from fedjax_layers.algorithms.sharing.state import Own, Phase, SharingState
from fedjax_layers.clients import (
    Begin,
    Client,
    ClientVisit,
    LocalOptions,
    LocalResult,
    Passed,
    Trained,
    Trainer,
    keys,
    one_pass,
    rescaled,
    train,
)
from fedjax_layers.clients.running_statistics import weights_only, with_statistics
from fedjax_layers.clients.stacked import copies
from fedjax_layers.clients.store import take_note
from fedjax_layers.ops import Term, fill, part, select, settle
from fedjax_layers.ops.optimizer_update import refuse_objective, reseed
from fedjax_layers.types import Array, Cohort, Key, LayerMap, Params, RoundInfo


def init_sharing(
    trainer: Trainer,
    params: Params,
    *,
    personal: bool | np.ndarray,
    server_optimizer: optax.GradientTransformation | None = None,
) -> SharingState:
    """Make the state before the first round, in which every model is ``params``.

    Args:
      trainer: how each client trains.
      params: params of one model.
      personal: whether clients keep models; or bool ``[L]``, the layers that they keep.
      server_optimizer: the server's optimiser; ``None`` without one.

    Raises:
      ValueError: the server's optimiser needs more than the pseudo-gradient, a loss for instance.
    """
    refuse_objective("server_optimizer", "the server", server_optimizer, params)
    layers, objective = trainer.task.layers, trainer.objective
    kept = np.broadcast_to(personal, layers.num_layers)
    rows = () if objective is None else copies(objective.row(trainer, params), trainer.num_clients)
    return SharingState(
        round=jnp.int32(0),
        server=params,
        clients=copies(part(params, layers, kept), trainer.num_clients) if kept.any() else None,
        client_opt=trainer.init_optimizer(params),
        server_opt=() if server_optimizer is None else server_optimizer.init(params),
        clip=first_bound(trainer),
        common=() if objective is None else objective.common(params),
        objective=rows,
        seen=None if personal is False and not jax.tree.leaves(rows) else jnp.zeros(trainer.num_clients, bool),
    )


def sharing_pass(
    trainer: Trainer,
    key: Key,
    state: SharingState,
    cohort: Cohort,
    visit: Callable[[Client, Own], ClientVisit],
    *,
    extra: Any = (),
) -> Phase:
    """Run a pass in which each client's ``sums`` is one :class:`fedjax_layers.ops.Term`: its model times its share.

    Where the trainer has an objective, ``sums`` is a pair of this term and the objective's sums.

    Args:
      trainer: the trainer with the client axis.
      key: the round's key.
      state: the state before the round.
      cohort: the clients that take part.
      visit: ``(client, own) -> ClientVisit`` whose ``row`` is an :class:`Own`; ``client.shared`` is the server's
        model.
      extra: further rows that the algorithm keeps for each client, leaves ``[C, ...]``.

    Raises:
      ValueError: the trainer asks for differential privacy, and clients send more than updates.
    """
    private = None if trainer.privacy is None else private_mean(trainer, state.clip)
    visit = visit if private is None else private.visit(visit)
    store = Own(state.clients, state.client_opt, extra, state.objective)
    known, centre = state.server, None
    if trainer.objective is not None:
        known, centre, visit = (state.server, state.common), state.server, _told_apart(visit)
    passed = one_pass(trainer, cohort, visit, store=store, shared=known, centre=centre, private=private is not None)
    heard = trainer.heard(cohort, passed.loss)
    if private is not None:
        mean, clip = private.mean(key, passed.sums, state.server, len(cohort.ids))
        return Phase(mean, passed, heard, clip, state.common)
    models, common = passed.sums, state.common
    if trainer.objective is not None:
        models, told = passed.sums
        common = trainer.objective.step(common, told)
    sums = rescaled(trainer, models, cohort.weight.sum(), heard.weight.sum())
    server = jax.tree.map(lambda s, x: None if s is None else x, models, state.server, is_leaf=_missing)
    return Phase(settle(sums, heard.weight.sum() > 0, server), passed, heard, common=common)


def _told_apart(visit: Callable[[Client, Own], ClientVisit]) -> Callable[[Client, Own], ClientVisit]:
    """Make a visit to which the server's model and what it keeps for the objective come as one pair."""

    def told(client: Client, own: Own) -> ClientVisit:
        server, common = client.shared
        return visit(client._replace(shared=server, common=common), own)

    return told


def local_phase(
    trainer: Trainer,
    key: Key,
    state: SharingState,
    cohort: Cohort,
    shared: Array | np.ndarray | None,
    *,
    trainable: Array | None = None,
    with_gradient: bool = False,
    look: Callable[[Client, LocalResult], Any] | None = None,
    judged: Array | None = None,
) -> Phase:
    """Train the cohort locally, from the server's shared layers and each client's own other layers.

    Args:
      trainer: how each client trains.
      key: the round's key.
      state: the state before the round.
      cohort: the clients that take part.
      shared: bool ``[L]``, the layers that start at the server's; ``None`` means all.
      trainable: bool ``[L]``, the layers to train; ``None`` means all.
      with_gradient: whether local training also returns the mean gradient.
      look: ``(client, result) -> small arrays``, which are kept for every slot as ``passed.out``; ``None`` for nothing.
      judged: bool ``[L]``, the layers by which a rule of aggregation judges models; ``None`` means those of ``shared``.
    """
    layers = trainer.task.layers
    options = LocalOptions(trainable, trainer.scale_of(state.round), with_gradient)

    def visit(client: Client, own: Own) -> ClientVisit:
        params = start_from(layers, client.shared, own.model, shared)
        begin = Begin(params, own.opt_state, shared, own.objective, client.common)
        result, kept, told, model = _trained(trainer, key, client, begin, options)
        row = Own(kept_part(result.params, own.model), result.opt_state, objective=kept)
        out = () if look is None else look(client, result)
        part_sent = summed_part(trainer, result.sent, client.shared, shared if judged is None else judged)
        summed = Term(part_sent, client.share)
        sums = summed if trainer.objective is None or trainer.privacy is not None else (summed, told)
        return ClientVisit(*((result.params, result.loss) if model is None else model), sums, row, out)

    return sharing_pass(trainer, key, state, cohort, visit)


def _trained(trainer: Trainer, key: Key, client: Client, begin: Begin, options: LocalOptions) -> Trained:
    """Train a client on the trainer's objective, or on the plain loss."""
    if trainer.objective is not None:
        return trainer.objective.train(trainer, key, client, begin, options)
    return Trained(train(trainer, key, client, begin.params, opt_state=begin.opt_state, options=options))


def summed_part(trainer: Trainer, params: Params, server: Params, shared: Array | np.ndarray | None) -> Any:
    """Return what a client sends: the layers of a static mask, or a whole model.

    Rules of aggregation and privacy measure norms and distances, in which a layer that stays with its client must not
    count: where the mask is traced, such a layer is the server's.
    """
    if isinstance(shared, np.ndarray):
        return part(params, trainer.task.layers, shared)
    if shared is None or (trainer.aggregate is None and trainer.privacy is None):
        return params
    return select(shared, trainer.task.layers, params, server)


def start_from(layers: LayerMap, server: Params, own: Any, shared: Array | np.ndarray | None) -> Params:
    """Build a client's model at the start of its round: the server's layers where ``shared [L]``, its own elsewhere."""
    if shared is None or not jax.tree.leaves(own):
        return server
    return select(shared, layers, server, fill(own, server))


def kept_part(params: Params, own: Any) -> Any:
    """Return the leaves of a trained model that ``own`` keeps, with ``None`` in the same places."""
    if not jax.tree.leaves(own):
        return own
    return jax.tree.map(lambda o, x: None if o is None else x, own, params, is_leaf=_missing)


def server_key(key: Key, cohort: Cohort | None) -> Key:
    """Return the key of the server's optimiser; a cohort of one has its own within the round, ``None`` says nothing."""
    visited = 0 if cohort is None else jnp.where(cohort.weight > 0, cohort.ids, 0).sum()
    return jax.random.fold_in(jax.random.fold_in(key, keys.SERVER_OPTIMIZER), visited)


def server_phase(
    trainer: Trainer,
    key: Key,
    state: SharingState,
    phase: Phase,
    shared: Array | np.ndarray,
    server_optimizer: optax.GradientTransformation | None = None,
) -> SharingState:
    """Set the server's shared layers to the mean, or step its optimiser, and keep the clients' trained models.

    With a server optimiser the pseudo-gradient is ``server - mean`` (Reddi et al. 2021, Algorithm 2); layers that
    are not shared do not move whatever the optimiser's state is, and an empty cohort leaves that state unchanged.
    With differential privacy the noise of an empty cohort is a pseudo-gradient as any other.
    """
    layers = trainer.task.layers
    mean = select(shared, layers, fill(phase.mean, state.server), state.server)
    server, server_opt = mean, state.server_opt
    if server_optimizer is not None:
        pseudo = weights_only(trainer.task, jax.tree.map(jnp.subtract, state.server, mean))
        server_opt = reseed(state.server_opt, server_key(key, phase.cohort if trainer.privacy is None else None))
        updates, server_opt = server_optimizer.update(pseudo, server_opt, weights_only(trainer.task, state.server))
        moved = with_statistics(trainer.task, optax.apply_updates(state.server, updates), mean)
        server = select(shared, layers, moved, state.server)
        # With differential privacy a server that stood still would tell that nobody was heard, without noise.
        some = (phase.cohort.weight.sum() > 0) | (trainer.privacy is not None)
        server, server_opt = jax.tree.map(
            lambda new, old: jnp.where(some, new, old), (server, server_opt), (state.server, state.server_opt)
        )
    return dataclasses.replace(
        state,
        round=state.round + 1,
        server=server,
        clients=phase.passed.store.model,
        client_opt=phase.passed.store.opt_state,
        server_opt=server_opt,
        clip=phase.clip,
        common=phase.common,
        objective=phase.passed.store.objective,
        seen=take_note(state.seen, phase.cohort),
    )


def round_info(
    trainer: Trainer, passed: Passed | LocalResult, cohort: Cohort, shared: Array | np.ndarray, **extra: Any
) -> RoundInfo:
    """Make the report of a round in which the layers of ``shared [L]`` are sent both ways."""
    moved = trees_moved(trainer, cohort, shared)
    more = 0 if trainer.objective is None else trainer.objective.more_steps(trainer, cohort)
    return RoundInfo(
        observed=passed.observed,
        loss=passed.loss,
        steps=trainer.steps_of_slots(cohort).sum(dtype=jnp.int32) + more,
        sent=moved,
        received=moved,
        sent_scalars=jnp.int32(extra.pop("sent_scalars", 0)),
        extra=extra,
    )


def trees_moved(trainer: Trainer, cohort: Cohort, shared: Array | np.ndarray) -> Array:
    """Count the trees of each layer's size, ``[L]`` int32, that go one way for the layers of ``shared [L]``."""
    copies = 1 if trainer.objective is None else trainer.objective.copies
    return jnp.where(shared, copies * (cohort.weight > 0).sum(dtype=jnp.int32), 0).astype(jnp.int32)


def last_phase(
    trainer: Trainer, key: Key, cohort: Cohort, params: Params, options: LocalOptions, opt_states: Any = ()
) -> Any:
    """Train every slot from one model after all rounds; return what the cohort's observer computes, ``[K, ...]``.

    ``opt_states`` are the kept optimiser states, ``[C, ...]``, or ``()``.
    """

    def visit(client: Client, opt_state: Any) -> ClientVisit:
        result = train(trainer, key, client, client.shared, opt_state=opt_state, options=options)
        return ClientVisit(result.params, result.loss, row=opt_state)

    return one_pass(trainer, cohort, visit, store=opt_states, shared=params).observed


def _missing(x: Any) -> bool:
    return x is None
