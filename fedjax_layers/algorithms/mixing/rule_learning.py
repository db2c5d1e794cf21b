"""The learning step of a mixing rule, from the change that local training made to the mix."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fedjax_layers.algorithms.mixing.mix import Mix, MixingState
from fedjax_layers.algorithms.sharing.round import server_key
from fedjax_layers.clients import LocalResult, keys
from fedjax_layers.clients.running_statistics import weights_only
from fedjax_layers.clients.stacked import where_rows
from fedjax_layers.clients.store import renew_clients
from fedjax_layers.ops import layer_sums, mix_pullback
from fedjax_layers.ops.optimizer_update import reseed
from fedjax_layers.types import Array, Cohort, Key, Params


def pulled_back_update(
    mixing: Mix, state: MixingState, cohort: Cohort, start: Params, result: LocalResult, retained: Array
) -> Array:
    """Estimate the derivative of each client's loss by its mixing weights, ``[K, G, C]``; 0 for padding.

    Training moves against the gradient, so that ``start - trained`` stands for the gradient. Groups that a client
    retained were not mixed, and give 0.
    """
    update = jax.tree.map(lambda s, t: s - t, start, result.sent)
    update = weights_only(mixing.trainer.task, update)
    update = where_rows(cohort.weight > 0, update, jax.tree.map(jnp.zeros_like, update))
    products = mix_pullback(state.models, update, mixing.groups, mixing.trainer.axis, relative=True)
    if mixing.normalise_update:
        squares = jax.vmap(lambda u: layer_sums(jax.tree.map(jnp.square, u), mixing.groups))(update)
        norm = jnp.sqrt(squares)[..., None]
        products = products / jnp.where(norm > 0, norm, jnp.ones_like(norm))
    return jnp.where(retained[..., None], jnp.zeros_like(products), mixing.sign * products)


def learn(mixing: Mix, key: Key, state: MixingState, cohort: Cohort, products: Array) -> MixingState:
    """Take one optimiser step of every present client's own rule."""
    features, stream = mixing.features(state), jax.random.fold_in(key, keys.SERVER_OPTIMIZER)

    def step(own: Any, client: Array, products: Array, features: Any, key: Key) -> tuple[Any, Any]:
        row, opt_row = own
        opt_row = reseed(opt_row, jax.random.fold_in(key, client))
        _, back = jax.vjp(lambda p: mixing.row(p, client, features), row)
        updates, opt_row = mixing.optimizer.update(back(products)[0], opt_row, row)
        return optax.apply_updates(row, updates), opt_row

    own = (state.rules, state.rules_opt)
    rules, rules_opt = renew_clients(
        step, own, cohort, cohort.ids, products, shared=(features, stream), axis=mixing.trainer.axis
    )
    return dataclasses.replace(state, rules=rules, rules_opt=rules_opt)


def learn_common(mixing: Mix, key: Key, state: MixingState, cohort: Cohort, products: Array) -> MixingState:
    """Take one optimiser step of the shared rule on the mean over present clients; none if no client is present."""
    params, opt_state = state.common
    features, present = mixing.features(state), cohort.weight > 0
    _, back = jax.vjp(lambda p: jax.vmap(lambda c: mixing.row(p, c, features))(cohort.ids), params)
    (grads,) = back(products / jnp.maximum(present.sum(), 1).astype(products.dtype))
    drawn = reseed(opt_state, server_key(key, cohort))
    updates, new_opt = mixing.optimizer.update(grads, drawn, params)
    new, old = (optax.apply_updates(params, updates), new_opt), (params, opt_state)
    common = jax.tree.map(lambda a, b: jnp.where(present.any(), a, b), new, old)
    return dataclasses.replace(state, common=common)
