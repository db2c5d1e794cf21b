"""A round in which every client starts from its own layer-wise mix of all clients' models.

All algorithms that weigh clients against each other layer by layer share it.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fedjax_layers.algorithms.mixing.memory import mixing_memory
from fedjax_layers.algorithms.mixing.mix import Mix, MixingState
from fedjax_layers.algorithms.mixing.rule_learning import learn, learn_common, pulled_back_update
from fedjax_layers.clients import LocalOptions, LocalResult, train_cohort
from fedjax_layers.clients.store import put_clients, sequential, take_clients, take_note
from fedjax_layers.ops import select
from fedjax_layers.types import Algorithm, Array, Cohort, Key, Personal, RoundInfo


class Visit(NamedTuple):
    """A round's results by slot ``[K, ...]``, for its report: local training, retained groups, mixing weights."""

    result: LocalResult
    retained: Array
    alpha: Array


@dataclasses.dataclass(frozen=True)
class Mixing(Mix):
    """A mix, together with its rounds."""

    def algorithm(self) -> Algorithm:
        """Make the algorithm's pure functions."""
        personal = lambda state: Personal(self.served(state), (), lambda row, *_: row)  # noqa: E731
        memory, beyond = mixing_memory(self), "every start mixes all clients' models"
        return Algorithm(self.init, self.round, personal, welcome=self.welcome, memory=memory, beyond_cohort=beyond)

    def round(self, key: Key, state: MixingState, cohort: Cohort) -> tuple[MixingState, RoundInfo]:
        """Run a round: clients start from the same stored models, or each from those that the one before it left."""
        if self.order == "together":
            state, visit = self.visit(key, state, cohort)
        else:
            state, visit = sequential(self.visit, key, state, cohort)
        cohort = self.trainer.heard(cohort, visit.result.loss)
        state = dataclasses.replace(state, round=state.round + (cohort.weight > 0).any())
        return state, self.report(state, cohort, visit)

    def visit(self, key: Key, state: MixingState, cohort: Cohort) -> tuple[MixingState, Visit]:
        """Mix models, train them, learn the weights, and store the trained models."""
        rules, own, opt_state = take_clients((state.rules, self.latest(state), state.client_opt), cohort)
        start, alpha, retained = self.start(state, cohort.ids, rules, own)
        scale = self.trainer.scale_of(state.round)
        options = LocalOptions(scale=scale)
        result = train_cohort(self.trainer, key, cohort, own=start, opt_state=opt_state, options=options)
        cohort = self.trainer.heard(cohort, result.loss)
        learnt = state
        if jax.tree.leaves((state.rules, state.common)):
            update = pulled_back_update(self, state, cohort, start, result, retained)
            learnt = (learn_common if self.rule.shared else learn)(self, key, state, cohort, update)
        models, old = result.sent, take_clients(state.models, cohort)
        if self.server_keeps == "added":
            models = jax.tree.map(lambda o, t, s: o + (t - s), old, result.sent, start)
        if self.retains and not self.upload_retained:
            models = select(retained, self.groups, old, models)
        state = dataclasses.replace(
            learnt,
            models=put_clients(state.models, cohort, models),
            own=put_clients(state.own, cohort, result.params),
            client_opt=put_clients(state.client_opt, cohort, result.opt_state),
            seen=take_note(state.seen, cohort),
            renewed=put_clients(state.renewed, cohort, jnp.full_like(cohort.ids, state.round)),
        )
        return state, Visit(result, retained, alpha)

    def report(self, state: MixingState, cohort: Cohort, visit: Visit) -> RoundInfo:
        """Report transfers by layer, and statistics of the weights by group, averaged over the present clients."""
        present, layers = cohort.weight > 0, self.trainer.task.layers
        group_of = dict(zip(layers.leaf_layers, self.groups.leaf_layers, strict=True))  # no group ends within a layer
        retained = visit.retained[:, jnp.asarray([group_of[i] for i in range(layers.num_layers)])]
        all_of = jnp.full(layers.num_layers, present.sum(dtype=jnp.int32))
        moved = (present[:, None] & ~retained).sum(0, dtype=jnp.int32)
        count = jnp.maximum(present.sum(), 1).astype(visit.alpha.dtype)
        num = visit.alpha.shape[2]

        def mean(values: Array) -> Array:
            return jnp.where(present[:, None], values, 0).sum(0) / count

        own = jnp.take_along_axis(visit.alpha, cohort.ids[:, None, None], axis=2)[..., 0]
        extra = {
            "self_weight": mean(own),
            "from_uniform": mean(jnp.abs(visit.alpha - 1 / num).sum(-1) / 2),  # total variation
        }
        if self.record_weights:
            everybody = jnp.arange(self.trainer.num_clients, dtype=jnp.int32)
            extra["alpha"] = self.start(state, everybody, state.rules, self.latest(state))[1]
        return RoundInfo(
            observed=visit.result.observed,
            loss=visit.result.loss,
            steps=self.trainer.steps_of_slots(cohort).sum(dtype=jnp.int32),
            sent=all_of if self.upload_retained else moved,
            received=moved,
            sent_scalars=jnp.int32(0),
            extra=extra,
        )
