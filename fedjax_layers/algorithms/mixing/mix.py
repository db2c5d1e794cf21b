"""The layer-wise mix of all clients' models that each client starts from, and the state of such algorithms.

A :class:`Rule` gives the weights, and says whether they are learnt.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from fedjax_layers.algorithms.novel import with_mean
from fedjax_layers.clients import Trainer, keys
from fedjax_layers.clients.running_statistics import with_statistics
from fedjax_layers.clients.stacked import copies, where_rows
from fedjax_layers.ops import map_clients, mix_layers, regroup, select
from fedjax_layers.ops.optimizer_update import refuse_objective
from fedjax_layers.types import Array, Key, LayerMap, Params, per_client

NEVER = -(2**30)  # a round number long before the first round
Granularity = Literal["tensor", "layer", "block", "model"]
Retain = Literal["largest", "smallest", "last", "random"]


class Rule(NamedTuple):
    """A rule that gives mixing weights.

    Attributes:
      init: ``key -> params`` of one client's rule, or of the one for all if ``shared``; ``()`` where nothing is learnt.
      weights: ``(params, client [], features) -> alpha [G, C]`` of that client, for G groups of layers; sums over C are
        1.
      features: ``models -> features``, computed once per round from the models for ``weights``.
      shared: whether there is one set of params for all clients and not one for each.
    """

    init: Callable[[Key], Any]
    weights: Callable[[Any, Array, Any], Array]
    features: Callable[[Params], Any] = lambda _: ()
    shared: bool = False


@struct.dataclass
class MixingState:
    """State between rounds.

    Attributes:
      round: ``[]`` int32, the number of rounds with at least one client.
      common: params of a shared rule and its optimiser's state, or ``()``.
      chance: ``[]`` uint32, the seed of randomly retained layers, or ``()``.
      models: the stored models, which are mixed, leaves ``[C, ...]``.
      own: each client's latest model ``[C, ...]`` where the stored one may be older, else ``()``.
      rules: params of the clients' rules, leaves ``[C, ...]``, or ``()``.
      rules_opt: states of their optimisers ``[C, ...]``, or ``()``.
      client_opt: clients' optimiser states ``[C, ...]``, or ``()``.
      seen: ``[C]`` bool, who has taken part.
      renewed: ``[C]`` int32, the round in which each client's entry was last replaced; ``()`` where it is not needed.
    """

    round: Array
    common: Any
    chance: Any
    models: Params = per_client()
    own: Any = per_client()
    rules: Any = per_client()
    rules_opt: Any = per_client()
    client_opt: Any = per_client()
    seen: Array = per_client()
    renewed: Any = per_client()


@dataclasses.dataclass(frozen=True)
class Mix:
    """The settings of a mix; see :func:`fedjax_layers.algorithms.mixing.pfedla.pfedla` for the fields' meaning."""

    trainer: Trainer
    rule: Rule
    optimizer: optax.GradientTransformation
    groups: LayerMap
    sign: float = 1.0  # -1 climbs the clients' losses
    normalise_update: bool = False
    order: Literal["together", "sequential"] = "together"
    server_keeps: Literal["trained", "added"] = "trained"
    same_start: bool = True
    retained: int | Array = 0
    retain: Retain = "largest"
    upload_retained: bool = True
    fresh_rounds: int | Array | None = None
    record_weights: bool = False

    @property
    def retains(self) -> bool:
        """Whether layers may stay with their client; static."""
        return not (isinstance(self.retained, int) and self.retained == 0)

    def init(self, key: Key, params: Params) -> MixingState:
        """Make the state before the first round: all clients' models and rules."""
        num = self.trainer.num_clients
        model_key, rule_key = jax.random.split(key)
        models = copies(params, num)
        if not self.same_start:
            models = jax.vmap(lambda c: self.trainer.task.init(jax.random.fold_in(model_key, c)))(jnp.arange(num))
        chance = jax.random.bits(jax.random.fold_in(key, keys.RETAINED), dtype=jnp.uint32)
        common: Any = ()
        rules: Any = ()
        rules_opt: Any = ()
        learnt = jax.eval_shape(self.rule.init, rule_key)
        if jax.tree.leaves(learnt):
            refuse_objective("hyper_optimizer", "mixing weights", self.optimizer, learnt)
        if self.rule.shared:
            learnt = self.rule.init(rule_key)
            common = (learnt, self.optimizer.init(learnt))
        else:
            rules = jax.vmap(lambda c: self.rule.init(jax.random.fold_in(rule_key, c)))(jnp.arange(num))
            rules_opt = jax.vmap(self.optimizer.init)(rules) if jax.tree.leaves(rules) else ()
        return MixingState(
            round=jnp.int32(0),
            common=common,
            chance=chance if self.retain == "random" else (),
            models=models,
            own=models if self.retains and not self.upload_retained else (),
            rules=rules,
            rules_opt=rules_opt,
            client_opt=self.trainer.init_optimizer(params),
            seen=jnp.zeros(num, bool),
            renewed=() if self.fresh_rounds is None else jnp.full(num, NEVER, jnp.int32),
        )

    def features(self, state: MixingState) -> tuple[Any, Array | None]:
        """Compute the rule's features, and which clients' entries are fresh ``[C]`` (``None`` if all are)."""
        fresh = None if self.fresh_rounds is None else state.round - state.renewed <= self.fresh_rounds
        return self.rule.features(state.models), fresh

    def row(self, params: Any, client: Array, features: tuple[Any, Array | None]) -> Array:
        """Compute the rule's ``alpha [G, C]`` of one client, with weight 0 for stale entries."""
        found, fresh = features
        alpha = self.rule.weights(params, client, found)
        if fresh is None:
            return alpha
        own = jnp.arange(alpha.shape[1]) == client
        known = jnp.where(fresh | own, alpha, 0)
        total = known.sum(1, keepdims=True)
        return jnp.where(total > 0, known / jnp.where(total > 0, total, 1), own.astype(alpha.dtype))

    def weights(self, state: MixingState, ids: Array, rules: Any) -> Array:
        """Compute ``alpha [K, G, C]`` of the clients ``ids [K]``, whose rules have params ``rules``."""
        features, axis = self.features(state), self.trainer.axis
        if self.rule.shared:
            shared = (state.common[0], features)
            return map_clients(lambda c, common, f: self.row(common, c, f), ids, shared=shared, axis=axis)
        return map_clients(lambda c, own, f: self.row(own, c, f), ids, rules, shared=(features,), axis=axis)

    def retained_groups(self, state: MixingState, ids: Array, alpha: Array) -> Array:
        """Mark the groups of layers that stay with their client in this round, bool ``[K, G]``."""
        num = alpha.shape[1]
        place = jnp.arange(num, dtype=alpha.dtype)
        if self.retain == "last":
            scores = jnp.broadcast_to(place[None], alpha.shape[:2])
        elif self.retain == "random":  # from the state alone, so that the personal model is the next round's start
            key = jax.random.fold_in(jax.random.key(state.chance), state.round)
            scores = jax.vmap(lambda c: jax.random.uniform(jax.random.fold_in(key, c), (num,), alpha.dtype))(ids)
        else:
            own = jnp.take_along_axis(alpha, ids[:, None, None], axis=2)[..., 0]
            scores = own if self.retain == "largest" else -own
        rank = jnp.argsort(jnp.argsort(-scores, axis=1), axis=1)
        return rank < self.retained

    def start(self, state: MixingState, ids: Array, rules: Any, own: Params) -> tuple[Params, Array, Array]:
        """Return the mixed models ``[K, ...]``, their weights ``[K, G, C]``, and the retained groups ``[K, G]``."""
        alpha = self.weights(state, ids, rules)
        retained = jnp.zeros(alpha.shape[:2], bool)
        if self.retains:
            retained = self.retained_groups(state, ids, alpha)
            alone = (jnp.arange(alpha.shape[2]) == ids[:, None]).astype(alpha.dtype)
            alpha = jnp.where(retained[..., None], alone[:, None], alpha)
        mixed = mix_layers(state.models, alpha, self.groups, self.trainer.axis)
        mixed = with_statistics(self.trainer.task, mixed, own)  # running statistics stay the client's own
        return (select(retained, self.groups, own, mixed) if self.retains else mixed), alpha, retained

    def served(self, state: MixingState) -> Params:
        """Build each client's mix ``[C, ...]`` from the models stored now, from which it would start the next round.

        A client that never took part has untrained weights, and gets the mean of the others' models.
        """
        everybody = jnp.arange(self.trainer.num_clients, dtype=jnp.int32)
        mixed = self.start(state, everybody, state.rules, self.latest(state))[0]
        seen = state.seen | ~state.seen.any()
        return where_rows(seen, mixed, with_mean(state.models, state.seen))

    def welcome(self, state: MixingState, shared: Any, ids: Array) -> MixingState:
        """Give clients that never took part the mean of the others' models."""
        del shared, ids
        own = with_mean(state.own, state.seen) if jax.tree.leaves(state.own) else state.own
        return dataclasses.replace(state, models=with_mean(state.models, state.seen), own=own)

    def latest(self, state: MixingState) -> Params:
        """Return each client's own latest model ``[C, ...]``."""
        return state.own if jax.tree.leaves(state.own) else state.models


def grouping(trainer: Trainer, granularity: Granularity) -> LayerMap:
    """Make the layer map whose groups have mixing weights of their own."""
    try:
        return regroup(trainer.task.layers, granularity)
    except ValueError as error:
        raise ValueError(f"granularity{str(error).removeprefix('by')}") from None
