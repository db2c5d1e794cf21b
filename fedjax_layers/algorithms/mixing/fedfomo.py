"""FedFomo (Zhang et al. 2021): each client moves towards other clients' models that do better on its own examples."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from annotated_types import Ge, Le, Lt
from flax import struct

from fedjax_layers.algorithms.factory import factory
from fedjax_layers.algorithms.novel import rows_or_mean, welcome_by_mean
from fedjax_layers.algorithms.sharing.round import round_info
from fedjax_layers.clients import LocalOptions, Trainer, keys, train_cohort
from fedjax_layers.clients.batches import take_batch
from fedjax_layers.clients.running_statistics import weights_only, with_statistics
from fedjax_layers.clients.stacked import copies, where_rows
from fedjax_layers.clients.store import put_clients, take_clients, take_note
from fedjax_layers.ops import layer_sums, map_clients
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm, Array, Cohort, Key, Params, Pool, Ranges, RoundInfo, RoundMemory, per_client

_SMALL = 1e-9


@struct.dataclass
class FedFomoState:
    """State between rounds.

    Attributes:
      round: ``[]`` int32, the number of rounds with at least one client.
      clients: each client's latest trained model, leaves ``[C, ...]``; others are sent models from here.
      affinity: P, ``[C, C]``; row i is positive for models that helped client i, and negative for models that did
        worse.
      client_opt: clients' optimiser states ``[C, ...]``, or ``()``.
      seen: ``[C]`` bool, who has taken part.
    """

    round: Array
    clients: Params = per_client()
    affinity: Array = per_client()
    client_opt: Any = per_client()
    seen: Array = per_client()


@factory(aggregates=False)
def fedfomo(
    trainer: Trainer,
    *,
    num_models: Annotated[int, Ge(1)] = 5,
    validation_share: Annotated[Traced[float], Ge(0), Lt(1)] = 0.2,
    exploration: Annotated[Traced[float], Ge(0), Le(1)] = 0.3,
    exploration_decay: Annotated[Traced[float], Ge(0), Le(1)] = 0.95,
    published_distance: bool = False,
    published_affinity: bool = False,
) -> Algorithm:
    """Send clients some models of others; each weighs them by its held-back examples, moves towards them, and trains.

    With ``L_i`` the mean loss on client i's held-back examples, ``w_n = (L_i(theta_i) - L_i(theta_n)) /
    ||theta_n - theta_i||``, negative for a model that does worse. The models that do better are mixed in:
    ``theta_i <- theta_i + sum_n max(w_n, 0) (theta_n - theta_i) / sum_n max(w_n, 0)``. The affinity gains the weights
    with their signs, ``P_{i,n} += w_n``, so that a model that does worse is chosen less often. Local training follows.
    All models are those from the start of the round. Where none is better, nothing is mixed.

    A client holds back the last ``round(validation_share * n)`` of its n training examples, as they lie in the pool: at
    least one, never all. It never trains on these. A client with a single example trains on it and mixes nothing.

    A client receives the models of the largest ``P_{i,n}`` except its own, with ties in random order: P begins at zero,
    and ties by number would send the first clients' models to all. With probability ``exploration * exploration_decay
    ** t`` in the t-th round, drawn once for each client, all its models are drawn at random instead. (The released code
    subtracts 0.05 per epoch from 0.3 and tosses a coin for each model.)

    The personal model is the client's latest trained model and not the next round's mix, since that mix depends on
    random draws and on held-back losses of that round. A client that never took part gets the mean of the others'
    models.

    Args:
      trainer: how each client trains.
      num_models: number of other clients' models that a client receives, M; at most C - 1. The released code has 5.
      validation_share: share of a client's training examples that it holds back to compare models on. The released
        code has 0.2. May be traced, like the next two. 0 holds back nothing, which is local training.
      exploration: probability of choosing models at random in the first round. The released code has 0.3.
      exploration_decay: factor on that probability from round to round. The released code subtracts 0.05 instead.
      published_distance: divide by the sum of absolute differences, the released code's default, instead of the
        Euclidean distance.
      published_affinity: P adds up ``w_n / |sum_n w_n|``, as in the released code, instead of ``w_n``: rounds of small
        losses count like the others, and a sum near zero counts most. (Where it is below 1e-9, 1e-9 is added to it.)

    Returns:
      The algorithm; it offers personal models only. Every round reports ``mixed_others``, the share of present clients
      that mixed anything, and ``models_mixed``, the mean number of models with a positive weight. Each present client
      receives M models and sends its own and M weights.

    Raises:
      ValueError: ``num_models`` below 1, or a number out of range.

    Source: Zhang et al. 2021 (arXiv 2012.08565), sections 3.2 and 3.3; the released code for the two switches and the
      numbers.
    """
    numbers = {"exploration": exploration, "exploration_decay": exploration_decay}
    # Clients of equal size hold back an equal share, but the number that remains may be traced and so is no constant.
    trainer = dataclasses.replace(trainer, uniform=False)
    num = min(num_models, trainer.num_clients - 1)
    everything = jnp.ones(trainer.task.layers.num_layers, bool)

    def init(key: Key, params: Params) -> FedFomoState:
        del key
        dtype = jnp.promote_types(jnp.result_type(*jax.tree.leaves(params)), jnp.float32)
        zeros = jnp.zeros((trainer.num_clients, trainer.num_clients), dtype)
        stacked, seen = copies(params, trainer.num_clients), jnp.zeros(trainer.num_clients, bool)
        return FedFomoState(jnp.int32(0), stacked, zeros, trainer.init_optimizer(params), seen)

    def round_(key: Key, state: FedFomoState, cohort: Cohort) -> tuple[FedFomoState, RoundInfo]:
        train, held = hold_back(cohort.train, validation_share)
        own, opt_state, rows = take_clients((state.clients, state.client_opt, state.affinity), cohort)
        chance, factor = (jnp.asarray(x, jnp.float32) for x in numbers.values())
        chance = chance * factor ** state.round.astype(jnp.float32)
        chosen = choose_models(jax.random.fold_in(key, keys.NEIGHBOURS), cohort.ids, rows, num, chance)
        start, gains = move_towards(trainer, cohort.pool, held, own, state.clients, chosen, published_distance)
        added = _over_their_sum(gains) if published_affinity else gains
        rows = jax.vmap(lambda row, where, x: row.at[where].add(x.astype(row.dtype)))(rows, chosen, added)
        options = LocalOptions(scale=trainer.scale_of(state.round))
        cohort = dataclasses.replace(cohort, train=train)
        result = train_cohort(trainer, key, cohort, own=start, opt_state=opt_state, options=options)
        cohort = trainer.heard(cohort, result.loss)
        present = cohort.weight > 0
        state = FedFomoState(
            state.round + present.any(),
            put_clients(state.clients, cohort, result.sent),
            put_clients(state.affinity, cohort, rows),
            put_clients(state.client_opt, cohort, result.opt_state),
            take_note(state.seen, cohort),
        )
        positive = jnp.where(present, (gains > 0).sum(1), 0)
        members = jnp.maximum(present.sum(), 1).astype(gains.dtype)
        extra = {"mixed_others": (positive > 0).sum() / members, "models_mixed": positive.sum() / members}
        scalars = num * present.sum(dtype=jnp.int32)
        info = round_info(trainer, result, cohort, everything, sent_scalars=scalars, **extra)
        return state, dataclasses.replace(info, received=num * info.received)

    personal = lambda state: rows_or_mean(state.clients, state.seen)  # noqa: E731
    # Each slot has its model, a received one, their difference, the sum of differences, and the trained model.
    memory, beyond = RoundMemory(slot=5), "a client is sent models of any others"
    return Algorithm(init, round_, personal, welcome=welcome_by_mean, memory=memory, beyond_cohort=beyond)


def hold_back(train: Ranges, share: float | Array) -> tuple[Ranges, Ranges]:
    """Split ranges ``[K]`` into those to train on and those held back, which follow them in the pool.

    Args:
      train: the training examples.
      share: share of each range to hold back, rounded half up; if positive, at least one example, but never the last
        one.
    """
    given = jnp.asarray(share, jnp.float32)
    wanted = jnp.floor(given * train.count.astype(jnp.float32) + 0.5).astype(jnp.int32)
    wanted = jnp.where(given > 0, jnp.maximum(wanted, 1), 0)
    held = jnp.clip(wanted, 0, jnp.maximum(train.count - 1, 0))
    return Ranges(train.start, train.count - held), Ranges(train.start + train.count - held, held)


def choose_models(key: Key, ids: Array, affinity: Array, num: int, chance: Array) -> Array:
    """Choose the clients whose models each client receives, ``[K, M]`` ids other than its own.

    Args:
      key: the key of this random stream; each client's id is folded into it.
      ids: ``[K]``, the receiving clients.
      affinity: their rows of the affinity, ``[K, C]``.
      num: M, the number of models per client.
      chance: probability ``[]`` of a random choice.
    """

    def one(ident: Array, row: Array) -> Array:
        coin_key, order_key = jax.random.split(jax.random.fold_in(key, ident))
        explore = jax.random.uniform(coin_key, (), jnp.float32) < chance
        score = jnp.where(explore, jnp.zeros_like(row), row)
        score = jnp.where(jnp.arange(len(row)) == ident, -jnp.inf, score)
        ties = jax.random.bits(order_key, row.shape, jnp.uint32)
        return jnp.lexsort((ties, -score))[:num]

    return jax.vmap(one)(ids, affinity)


def move_towards(
    trainer: Trainer,
    pool: Pool,
    held: Ranges,
    own: Params,
    everybody: Params,
    chosen: Array,
    published_distance: bool = False,
) -> tuple[Params, Array]:
    """Return the mixed models ``[K, ...]``, and the weights ``[K, M]`` with their signs, not divided by any sum.

    Received models are handled one at a time, so that K models are held and not K times M. Sums are divided at the end.
    Running statistics of batch norms stay the client's own.
    """
    task = trainer.task
    own_loss = held_losses(trainer, pool, held, own)
    each = jnp.abs if published_distance else jnp.square

    def hear(carry: tuple[Params, Array], which: Array) -> tuple[tuple[Params, Array], Array]:
        towards, total = carry
        other = jax.tree.map(lambda x: x[which], everybody)
        gain = own_loss - held_losses(trainer, pool, held, other)
        gap = weights_only(task, jax.tree.map(jnp.subtract, other, own))
        length = jax.vmap(lambda x: layer_sums(jax.tree.map(each, x), task.layers).sum())(gap)
        known = jnp.isfinite(gain) & (length > 0)  # leaves out a NaN loss, and a model equal to the client's own
        length = jnp.where(known, length, jnp.ones_like(length))
        length = length if published_distance else jnp.sqrt(length)
        weight = jnp.where(known, gain / length.astype(gain.dtype), jnp.zeros_like(gain))
        mixed = jnp.maximum(weight, 0)
        gap = where_rows(weight > 0, gap, jax.tree.map(jnp.zeros_like, gap))
        return (jax.vmap(_plus)(towards, mixed, gap), total + mixed), weight

    nothing = (jax.tree.map(jnp.zeros_like, own), jnp.zeros_like(own_loss))
    (towards, total), weights = jax.lax.scan(hear, nothing, chosen.T)
    share = 1 / jnp.where(total > 0, total, jnp.ones_like(total))
    return with_statistics(task, jax.vmap(_plus)(own, share, towards), own), weights.T


def _over_their_sum(weights: Array) -> Array:
    """Divide ``[K, M]`` by each row's absolute sum, to which the released code's small number is added near zero."""
    total = jnp.abs(weights.sum(1, keepdims=True))
    return weights / (total + jnp.where(total < _SMALL, _SMALL, 0.0).astype(total.dtype))


def _plus(tree: Params, factor: Array, other: Params) -> Params:
    """Compute ``tree + factor * other``."""
    return jax.tree.map(lambda a, b: a + factor.astype(a.dtype) * b, tree, other)


def held_losses(trainer: Trainer, pool: Pool, held: Ranges, models: Params) -> Array:
    """Compute mean losses ``[K]`` of models ``[K, ...]``, each on its range, without dropout; 0 where it is empty.

    The mean is over predictions, which in a sequence are its tokens.
    """
    task, size = trainer.task, trainer.batch_size

    def one(params: Params, start: Array, count: Array, pool: Pool) -> Array:
        def add(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            total, seen = carry
            rows = i * size + jnp.arange(size, dtype=jnp.int32)
            batch = take_batch(pool, start, rows, rows < count)
            each = batch.mask if task.predictions is None else jnp.where(batch.mask, task.predictions(batch.labels), 0)
            number = each.sum(dtype=jnp.int32)
            loss = task.loss(params, batch, None).astype(total.dtype)  # for survival, the batch is the set at risk
            return total + loss * number.astype(total.dtype), seen + number

        dtype = jnp.promote_types(jnp.result_type(*jax.tree.leaves(params)), jnp.float32)
        total, seen = jax.lax.fori_loop(0, -(-count // size), add, (jnp.zeros((), dtype), jnp.int32(0)))
        return total / jnp.maximum(seen, 1).astype(dtype)

    return map_clients(one, models, held.start, held.count, shared=(pool,), axis=trainer.axis)
