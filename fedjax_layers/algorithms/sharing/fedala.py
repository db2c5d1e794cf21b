"""FedALA (Zhang et al. 2023): each client learns, number by number, how much of the global top layers it takes over."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt, Le
from flax import struct

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.novel import seen_or
from fedjax_layers.algorithms.sharing.round import init_sharing, kept_part, round_info, server_phase, sharing_pass
from fedjax_layers.algorithms.sharing.state import Own, SharingState
from fedjax_layers.clients import Client, ClientVisit, LocalOptions, Trainer, keys, plain_gradient, train
from fedjax_layers.clients.batches import take_batch
from fedjax_layers.clients.running_statistics import with_statistics
from fedjax_layers.clients.stacked import copies
from fedjax_layers.ops import Term, fill, part
from fedjax_layers.options import Mark
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import (
    Algorithm,
    Array,
    Cohort,
    Key,
    Params,
    Personal,
    RoundInfo,
    RoundMemory,
    Task,
    per_client,
)


@struct.dataclass
class FedAlaState:
    """State between rounds.

    Attributes:
      sharing: the models and optimiser states; clients keep their top layers.
      weights: how much of the global model each client takes over, leaves ``[C, ...]`` in 0 to 1, with ``None`` in
        place of leaves below the top layers.
      rounds: ``[C]`` int32, the number of rounds in which each client took part.
    """

    sharing: SharingState
    weights: Any = per_client()
    rounds: Array = per_client()


class Rule(NamedTuple):
    """How a client learns its weights; the fields are options of :func:`fedala`."""

    merge_rate: float | Array
    subset_share: float | Array
    threshold: float | Array
    window: int
    max_epochs: int


@factory()
def fedala(
    trainer: Trainer,
    *,
    layers: Annotated[int, Ge(1), Mark.LAYERS] = 1,
    merge_rate: Annotated[Traced[float], Ge(0)] = 1.0,
    subset_share: Annotated[Traced[float], Gt(0), Le(1)] = 0.8,
    threshold: Annotated[Traced[float], Ge(0)] = 0.1,
    window: Annotated[int, Ge(1)] = 10,
    max_epochs: Annotated[int, Ge(1)] = 50,
    server_optimizer: ServerOptimizer = None,
) -> Algorithm:
    """Start each client from a merge of its own and the global top layers, with a weight for every number.

    The layers below the top are the server's. The top ones are ``theta = w_i + (w - w_i) * W_i``, elementwise, from the
    client's last trained model w_i and the global one w. On batches of a part of its examples the client first steps
    ``W_i <- clip(W_i - merge_rate * dL(theta)/dtheta * (w - w_i), 0, 1)``, and only ``W_i`` moves. Then it trains all
    layers from ``theta``, and the server averages all layers as in :func:`fedavg`. The weights begin at 1, which is the
    global model, and are kept from round to round.

    In its first round a client has no model of its own and starts from the global one. In its second round it goes
    over the part until the last losses of ``window`` epochs, of more than ``window``, have a standard deviation below
    ``threshold``, and at most ``max_epochs`` times (the authors' code has no bound); in later rounds it goes over it
    once. The part is a contiguous range of the client's examples from a random start, drawn in every round, in batches
    of the solver's size in the order of the data. The last batch may be smaller: leaving it out, as the authors' code
    does, would leave no step and no loss for a client with less than a batch. Running statistics of batch norms in the
    top layers stay the client's own.

    The personal model is the next round's start with the weights as they are, before they are learnt anew, since
    serving a model sees no examples. A client that never took part gets the global model. An absent client keeps its
    top layers and its weights.

    Args:
      trainer: how each client trains.
      layers: number of layers at the top, counted from the output. The paper counts layers and has 1; the authors' code
        counts tensors and has 2, the same for a layer with a bias.
      merge_rate: step size of the weights, eta_W. The authors' code has 1. May be traced, like the next two. 0 leaves
        the weights at 1, which is FedAvg.
      subset_share: share of a client's examples on which it learns its weights; at least one example. The authors' code
        has 0.8.
      threshold: standard deviation of losses below which the first learning stops. The authors' code has 0.1.
      window: number of epochs whose losses are compared. The authors' code has 10.
      max_epochs: bound on the epochs of the first learning. This project's choice.
      server_optimizer: as in :func:`fedavg`.

    Returns:
      The algorithm; it offers personal models and the global one. Steps of the weights are not counted as local steps.

    Raises:
      ValueError: a number out of range.

    Source: Zhang et al. 2023 (arXiv 2212.01197), Algorithm 1; the authors' code for the numbers.
    """
    num_layers = trainer.task.layers.num_layers
    top = np.arange(num_layers) >= num_layers - layers
    everything = np.ones(num_layers, bool)
    rule = Rule(merge_rate, subset_share, threshold, window, max_epochs)

    def init(key: Key, params: Params) -> FedAlaState:
        del key
        sharing = init_sharing(trainer, params, personal=top, server_optimizer=server_optimizer)
        ones = jax.tree.map(jnp.ones_like, part(params, trainer.task.layers, top))
        num = trainer.num_clients
        return FedAlaState(sharing, copies(ones, num), jnp.zeros(num, jnp.int32))

    def round_(key: Key, state: FedAlaState, cohort: Cohort) -> tuple[FedAlaState, RoundInfo]:
        options = LocalOptions(scale=trainer.scale_of(state.sharing.round))

        def visit(client: Client, own: Own) -> ClientVisit:
            weights, rounds = own.extra
            weights = learnt_weights(trainer, key, client, own.model, weights, rounds, rule)
            start = seen_or(rounds > 0, merged(trainer.task, client.shared, own.model, weights), client.shared)
            result = train(trainer, key, client, start, opt_state=own.opt_state, options=options)
            row = Own(kept_part(result.params, own.model), result.opt_state, (weights, rounds + 1))
            return ClientVisit(result.params, result.loss, Term(result.sent, client.share), row)

        phase = sharing_pass(trainer, key, state.sharing, cohort, visit, extra=(state.weights, state.rounds))
        sharing = server_phase(trainer, key, state.sharing, phase, everything, server_optimizer)
        state = FedAlaState(sharing, *phase.passed.store.extra)
        return state, round_info(trainer, phase.passed, phase.cohort, everything)

    def personal(state: FedAlaState) -> Personal:
        def build(row: Any, server: Params, ident: Array) -> Params:
            del ident
            own, weights, seen = row
            return seen_or(seen, merged(trainer.task, server, own, weights), server)

        sharing = state.sharing
        return Personal((sharing.clients, state.weights, sharing.seen), sharing.server, build)

    sizes = np.asarray(trainer.task.layers.bytes)
    # While weights are learnt: the merged model's gradient, and the difference of own and global, both of the top.
    memory = RoundMemory(visit=3 + 2 * float(sizes[top].sum() / sizes.sum()))
    return Algorithm(init, round_, personal, global_model=lambda state: state.sharing.server, memory=memory)


def merged(task: Task, server: Params, own: Any, weights: Any) -> Params:
    """Return ``own + (server - own) * weights`` where ``own`` and ``weights`` have leaves, elsewhere the server's."""
    common = jax.tree.map(lambda o, s: None if o is None else s, own, server, is_leaf=_missing)
    top = jax.tree.map(lambda o, s, x: o + (s - o) * x, own, common, weights)
    return with_statistics(task, fill(top, server), fill(own, server))


def learnt_weights(
    trainer: Trainer, key: Key, client: Client, own: Any, weights: Any, rounds: Array, rule: Rule
) -> Any:
    """Learn a client's weights on a part of its examples.

    Args:
      trainer: the trainer, for the task and the size of a batch.
      key: the round's key.
      client: the client; ``client.shared`` is the server's model.
      own: its own top layers, with ``None`` in place of the others.
      weights: its weights, a tree like ``own``.
      rounds: ``[]``, the number of its rounds before this one.
      rule: how weights are learnt.

    Returns:
      The weights, which stay as they were in the client's first round and for a client without examples.
    """
    task, size = trainer.task, trainer.batch_size
    start_key, step_key = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, keys.MERGE), client.ident))
    first, count = drawn_part(start_key, client.count, rule.subset_share)
    batches = -(-count // size)
    gap = jax.tree.map(lambda o, s: None if o is None else s - o, own, client.shared, is_leaf=_missing)
    source = plain_gradient(task)

    def step(i: Array, carry: tuple[Any, Array, Array]) -> tuple[Any, Array, Array]:
        weights, _, epoch = carry
        rows = i * size + jnp.arange(size, dtype=jnp.int32)
        batch = take_batch(client.pool, client.start + first, rows, rows < count)
        theta = merged(task, client.shared, own, weights)
        loss, grads, *_ = source.compute(theta, (batch,), jax.random.fold_in(step_key, epoch * batches + i), ())
        slope = jax.tree.map(lambda d, g: None if d is None else g * d, gap, grads, is_leaf=_missing)
        moved = jax.tree.map(lambda x, g: jnp.clip(x - jnp.asarray(rule.merge_rate, x.dtype) * g, 0, 1), weights, slope)
        return moved, loss.astype(float), epoch

    def epoch_(carry: tuple[Any, Array, Array]) -> tuple[Any, Array, Array]:
        weights, losses, epoch = carry
        weights, loss, _ = jax.lax.fori_loop(0, batches, step, (weights, jnp.zeros((), float), epoch))
        return weights, losses.at[epoch % rule.window].set(loss), epoch + 1

    limit = jnp.where(rounds == 1, rule.max_epochs, jnp.minimum(rounds, 1))
    limit = jnp.where(count > 0, limit, 0)

    def goes_on(carry: tuple[Any, Array, Array]) -> Array:
        _, losses, epoch = carry
        return (epoch < limit) & ~((epoch > rule.window) & (losses.std() < rule.threshold))

    start = (weights, jnp.zeros(rule.window, float), jnp.int32(0))
    return jax.lax.while_loop(goes_on, epoch_, start)[0]


def drawn_part(key: Key, count: Array, share: float | Array) -> tuple[Array, Array]:
    """Draw a contiguous part of ``count []`` examples: its first one, and its number, ``share`` of all rounded down."""
    wanted = jnp.floor(jnp.asarray(share, jnp.float32) * count.astype(jnp.float32)).astype(jnp.int32)
    number = jnp.minimum(jnp.maximum(wanted, 1), count)
    return jax.random.randint(key, (), 0, count - number + 1), number


def _missing(x: Any) -> bool:
    return x is None
