"""Rounds that tell apart the two factors of low-rank adapters, and clients that hold a rank of their own."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from annotated_types import Ge

from fedjax_layers.algorithms.factory import ServerOptimizer
from fedjax_layers.algorithms.sharing.round import (
    init_sharing,
    kept_part,
    local_phase,
    round_info,
    server_phase,
    sharing_pass,
    start_from,
    summed_part,
)
from fedjax_layers.algorithms.sharing.state import Own, Phase, SharingState
from fedjax_layers.clients import Client, ClientVisit, LocalOptions, Trainer, train
from fedjax_layers.clients.work import as_steps
from fedjax_layers.ops import Term, fill
from fedjax_layers.types import Adapters, Algorithm, Array, Cohort, Key, Params, Personal, RoundInfo

Factor = Literal["A", "B", "none"]
Ranks = Annotated[int | tuple[int, ...] | None, Ge(1)]


def adapter_sharing(
    trainer: Trainer,
    name: str,
    *,
    frozen: Factor = "none",
    local: Factor = "none",
    ranks: Ranks = None,
    server_optimizer: ServerOptimizer = None,
) -> Algorithm:
    """Average adapters, except the factors that nobody trains and those that stay with their client.

    With ``ranks``, client c holds the first ``r_c`` rows of each A and columns of each B. The others are 0 in its model
    and do not train. The server's adapters have the full rank: its mean counts what a client does not hold as 0, except
    where nobody of the round holds it, which stays as it was. A client is served its own part of the server's adapters.

    Args:
      trainer: how each client trains.
      name: the algorithm's name, for messages.
      frozen: the factor that stays at the common start.
      local: the factor that stays with its client.
      ranks: the rank that a client holds, one number or one for each client; ``None`` means all of the task's.
      server_optimizer: as in :func:`fedavg`.

    Returns:
      The algorithm. It offers personal models where a factor is local or ``ranks`` are given, and the global one where
      no factor is local. A client that never took part has the common start in place of the local factor, B = 0.

    Raises:
      ValueError: a task without adapters; ranks outside 1 to the adapters' rank, of another number than the clients, or
        with differential privacy or an objective other than the loss.
    """
    adapters = _adapters(trainer, name)
    factor_of = dict(zip(trainer.task.layers.leaf_layers, adapters.factors, strict=True))
    factors = np.array([factor_of[layer] for layer in range(trainer.task.layers.num_layers)])
    own, trained = factors == local, factors != frozen
    shared = trained & ~own
    held = _held(trainer, adapters, ranks)
    alike = held is None and not own.any()

    def init(key: Key, params: Params) -> SharingState:
        del key
        return init_sharing(trainer, params, personal=False if alike else own, server_optimizer=server_optimizer)

    def round_(key: Key, state: SharingState, cohort: Cohort) -> tuple[SharingState, RoundInfo]:
        if held is None:
            trainable = None if trained.all() else jnp.asarray(trained)
            phase = local_phase(trainer, key, state, cohort, shared, trainable=trainable)
        else:
            phase = _pass(trainer, key, state, cohort, shared, trained, held)
            phase = phase._replace(mean=held.or_server(phase, state.server))
        state = server_phase(trainer, key, state, phase, shared, server_optimizer)
        return state, round_info(trainer, phase.passed, phase.cohort, shared)

    def personal(state: SharingState) -> Personal:
        def build(row: Any, server: Params, ident: Array) -> Params:
            model = start_from(trainer.task.layers, server, row[0], ~own)
            return model if held is None else held.part(ident, model)

        return Personal((state.clients, state.seen), state.server, build)

    served = None if own.any() else lambda state: state.server
    return Algorithm(init, round_, None if alike else personal, global_model=served)


@dataclasses.dataclass(frozen=True)
class _Held:
    """The rank that each client holds, at the end of each adapter's axis of ranks cut off.

    Attributes:
      ranks: ``r_c``, ``[C]``.
      adapters: of the task.
    """

    ranks: np.ndarray
    adapters: Adapters

    def part(self, ident: Array, params: Params) -> Params:
        """Return a model with 0 in the rows of A and the columns of B that a client does not hold."""
        within = jnp.arange(self.adapters.rank) < jnp.asarray(self.ranks)[ident]
        return self._where(within, params, jax.tree.map(jnp.zeros_like, params))

    def or_server(self, phase: Phase, server: Params) -> Params:
        """Return a round's mean with the server's rows and columns where nobody of the round holds them."""
        present = phase.cohort.weight > 0
        most = jnp.where(present, jnp.asarray(self.ranks)[phase.cohort.ids], 0).max()
        return self._where(jnp.arange(self.adapters.rank) < most, fill(phase.mean, server), server)

    def _where(self, within: Array, on: Params, off: Params) -> Params:
        shaped = {"A": within[:, None], "B": within[None, :]}
        chosen = [
            jnp.where(shaped[factor], a, b) if factor else a
            for factor, a, b in zip(self.adapters.factors, jax.tree.leaves(on), jax.tree.leaves(off), strict=True)
        ]
        return jax.tree.unflatten(jax.tree.structure(on), chosen)


def _pass(
    trainer: Trainer,
    key: Key,
    state: SharingState,
    cohort: Cohort,
    shared: np.ndarray,
    trained: np.ndarray,
    held: _Held,
) -> Phase:
    """Train the cohort, each client within the rank that it holds."""
    layers = trainer.task.layers
    options = LocalOptions(None if trained.all() else jnp.asarray(trained), trainer.scale_of(state.round))

    def visit(client: Client, own: Own) -> ClientVisit:
        params = held.part(client.ident, start_from(layers, client.shared, own.model, shared))
        solver = _gated(trainer, held, client.ident)
        result = train(solver, key, client, params, opt_state=own.opt_state, options=options)
        row = Own(kept_part(result.params, own.model), result.opt_state)
        summed = summed_part(trainer, result.sent, client.shared, shared)
        return ClientVisit(result.params, result.loss, Term(summed, client.share), row)

    return sharing_pass(trainer, key, state, cohort, visit)


def _gated(trainer: Trainer, held: _Held, ident: Array) -> Trainer:
    """Return the trainer whose updates are 0 in what the client does not hold, whatever its optimiser adds there."""
    inner = optax.with_extra_args_support(trainer.optimizer)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        updates, state = inner.update(updates, state, params, **extra)
        return held.part(ident, updates), state

    return dataclasses.replace(trainer, optimizer=optax.GradientTransformationExtraArgs(inner.init, update))


def _adapters(trainer: Trainer, name: str) -> Adapters:
    if trainer.task.adapters is None:
        raise ValueError(f"low_rank: expected a task with adapters for {name}, got one without")
    return trainer.task.adapters


def _held(trainer: Trainer, adapters: Adapters, ranks: Ranks) -> _Held | None:
    if ranks is None:
        return None
    if trainer.privacy is not None:
        raise ValueError(f"ranks: expected none with differential privacy, got {ranks}")
    if trainer.objective is not None:
        raise ValueError(f"ranks: expected none with the objective {trainer.objective.name}, got {ranks}")
    each = np.broadcast_to(as_steps("ranks", ranks, trainer.num_clients), trainer.num_clients)
    if each.max() > adapters.rank:
        raise ValueError(f"ranks: expected at most {adapters.rank}, the adapters' rank, got {each.max()}")
    return _Held(each.astype(np.int32), adapters)
