"""FedAMP (Huang et al. 2021): each client is pulled to a mix in which models near its own weigh most."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt, Le
from flax import struct

from fedjax_layers.algorithms.factory import factory
from fedjax_layers.algorithms.novel import rows_or_mean, welcome_by_mean
from fedjax_layers.algorithms.sharing.round import round_info
from fedjax_layers.clients import LocalOptions, Trainer, train_cohort
from fedjax_layers.clients.running_statistics import weights_only
from fedjax_layers.clients.stacked import copies, where_rows
from fedjax_layers.clients.store import put_clients, take_clients, take_note
from fedjax_layers.ops import mix_layers, mix_pullback, regroup
from fedjax_layers.ops.prox import with_proximal_term
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm, Array, Cohort, Key, Params, RoundInfo, RoundMemory, per_client


@struct.dataclass
class FedAmpState:
    """State between rounds.

    Attributes:
      round: ``[]`` int32, the number of rounds with at least one client.
      clients: each client's latest trained model, leaves ``[C, ...]``.
      client_opt: clients' optimiser states ``[C, ...]``, or ``()``.
      seen: ``[C]`` bool, who has taken part.
    """

    round: Array
    clients: Params = per_client()
    client_opt: Any = per_client()
    seen: Array = per_client()


@factory(aggregates=False)
def fedamp(
    trainer: Trainer,
    *,
    attention: Literal["distance", "cosine"] = "distance",
    lam: Annotated[Traced[float], Ge(0)] = 1.0,
    mix_step: Annotated[Traced[float], Gt(0)] = 1.0,
    sigma: Annotated[Traced[float], Gt(0)] = 1.0,
    self_weight: Annotated[Traced[float], Ge(0), Le(1)] = 0.5,
) -> Algorithm:
    """Train each client's own model with a pull to its mix of the cohort's models, in which near ones weigh most.

    The mix of client i is ``u_i = sum_j xi_ij w_j``. With ``attention="distance"``, ``xi_ij = mix_step / sigma *
    exp(-||w_i - w_j||^2 / sigma)`` for the others and ``xi_ii = 1 - sum_{j != i} xi_ij``. A weight of a client's own
    below 0 is not admitted: where the others' weights add up to more than 1, they are divided by their sum. This cannot
    happen where ``mix_step * (K - 1) / sigma <= 1`` for cohorts of K clients. With ``"cosine"`` (HeurFedAMP)
    ``xi_ii = self_weight``, and the others share the rest by a softmax of ``sigma * cos(w_i, w_j)``.

    The client then starts from its own model, not from the mix, and minimises ``f_i(w) + lam / (2 mix_step) *
    ||w - u_i||^2``, with the squared distance. (In a widely used library the term is cut off from the gradient, so that
    its clients train alone.) Running statistics of batch norms are not mixed, and count in no distance.

    In the paper all clients take part in all rounds. Here an absent client neither hears nor is heard, and keeps its
    model; a client that comes for the first time is heard with the common start.

    Args:
      trainer: how each client trains.
      attention: what the weights follow from, the distance between two models or their cosine.
      lam: strength of the pull together with mix_step: its rate is lam / mix_step. A public library's default is 1, as
        of the next two. May be traced, like all numbers.
      mix_step: step of the mix, and the factor of the others' weights with ``"distance"``. A client's
        own weight is at least 0 without a division where mix_step * (K - 1) / sigma <= 1 for K clients.
      sigma: squared distance at which a weight falls to 1/e; with ``"cosine"`` the factor of the cosine.
      self_weight: a client's own weight with ``"cosine"``, without effect with ``"distance"``. This project's choice.

    Returns:
      The algorithm; it offers personal models only, which are the clients' latest trained models. Every round reports
      ``own_weight``, the mean of ``xi_ii`` over the present clients, and ``divided``, the share of them whose others'
      weights were divided by their sum.

    Raises:
      ValueError: an unknown ``attention``, or a number out of range.

    Source: Huang et al. 2021 (arXiv 2007.03797), the algorithms FedAMP and HeurFedAMP.
    """
    groups = regroup(trainer.task.layers, "model")
    pull = jnp.asarray(lam) / jnp.asarray(mix_step)
    trainer = dataclasses.replace(trainer, optimizer=with_proximal_term(trainer.optimizer, pull))
    everything = np.ones(trainer.task.layers.num_layers, bool)

    def init(key: Key, params: Params) -> FedAmpState:
        del key
        stacked, seen = copies(params, trainer.num_clients), jnp.zeros(trainer.num_clients, bool)
        return FedAmpState(jnp.int32(0), stacked, trainer.init_optimizer(params), seen)

    def attend(own: Params, present: Array) -> tuple[Params, Array, Array]:
        """Return the mixes ``[K, ...]``, each client's own weight ``[K]``, and whether its others' were divided."""
        # A model that nobody hears may hold NaN, and 0 * NaN is NaN.
        heard = where_rows(present, own, jax.tree.map(jnp.zeros_like, own))
        counted = weights_only(trainer.task, heard)
        if attention == "distance":  # near models keep the digits of their difference
            counted = jax.tree.map(lambda x: x - x[:1], counted)
        products = mix_pullback(counted, counted, groups, trainer.axis)[:, 0]
        if attention == "distance":
            weights, divided = distance_weights(products, present, mix_step, sigma)
        else:
            weights, divided = cosine_weights(products, present, self_weight, sigma)
        mixed = mix_layers(heard, weights[:, None], groups, trainer.axis)
        return mixed, jnp.diagonal(weights), divided

    def round_(key: Key, state: FedAmpState, cohort: Cohort) -> tuple[FedAmpState, RoundInfo]:
        own, opt_state = take_clients((state.clients, state.client_opt), cohort)
        mixed, own_weight, divided = attend(own, cohort.weight > 0)
        options = LocalOptions(scale=trainer.scale_of(state.round))
        result = train_cohort(trainer, key, cohort, own=own, opt_state=opt_state, anchor=mixed, options=options)
        cohort = trainer.heard(cohort, result.loss)
        present = cohort.weight > 0
        state = FedAmpState(
            state.round + present.any(),
            put_clients(state.clients, cohort, result.sent),
            put_clients(state.client_opt, cohort, result.opt_state),
            take_note(state.seen, cohort),
        )
        members = jnp.maximum(present.sum(), 1).astype(own_weight.dtype)
        mean = lambda x: jnp.where(present, x, 0).sum() / members  # noqa: E731
        extra = {"own_weight": mean(own_weight), "divided": mean(divided)}
        return state, round_info(trainer, result, cohort, everything, **extra)

    personal = lambda state: rows_or_mean(state.clients, state.seen)  # noqa: E731
    return Algorithm(init, round_, personal, welcome=welcome_by_mean, memory=RoundMemory(slot=4))


def distance_weights(
    products: Array, present: Array, mix_step: float | Array, sigma: float | Array
) -> tuple[Array, Array]:
    """Compute FedAMP's weights ``[K, K]``, and for which rows ``[K]`` the others' were divided by their sum.

    Args:
      products: ``[K, K]``, inner products of the models, or of their differences from any one of them.
      present: ``[K]`` bool; the others get weight 0.
      mix_step: factor of the others' weights.
      sigma: squared distance at which a weight falls to 1/e.
    """
    squares = jnp.diagonal(products)
    distance = jnp.maximum(squares[:, None] + squares[None] - 2 * products, 0)
    mix_step, sigma = (jnp.asarray(x, products.dtype) for x in (mix_step, sigma))
    weights = jnp.where(_others(present), mix_step / sigma * jnp.exp(-distance / sigma), 0)
    total = weights.sum(1)
    divided = total > 1
    weights = weights / jnp.where(divided, total, 1)[:, None]
    return _with_own(weights, jnp.where(divided, 0, 1 - total)), divided


def cosine_weights(
    products: Array, present: Array, self_weight: float | Array, sigma: float | Array
) -> tuple[Array, Array]:
    """Compute HeurFedAMP's weights ``[K, K]``, of which none is ever divided; a client alone hears itself.

    Args:
      products: ``[K, K]``, inner products of the models.
      present: ``[K]`` bool; the others get weight 0.
      self_weight: weight of a client's own model.
      sigma: factor of the cosine.
    """
    lengths = jnp.sqrt(jnp.diagonal(products))
    lengths = jnp.where(lengths > 0, lengths, 1)
    score = jnp.asarray(sigma, products.dtype) * products / (lengths[:, None] * lengths[None])
    others = _others(present)
    some = others.any(1)
    share = jax.nn.softmax(jnp.where(some[:, None], score, 0), where=others | ~some[:, None], axis=1)
    own = jnp.where(some, jnp.asarray(self_weight, products.dtype), 1)
    weights = jnp.where(others, (1 - own)[:, None] * share, 0)
    return _with_own(weights, own), jnp.zeros(len(own), bool)


def _others(present: Array) -> Array:
    """Mark ``[K, K]`` whom each slot hears beside itself."""
    return present[None] & ~jnp.eye(len(present), dtype=bool)


def _with_own(weights: Array, own: Array) -> Array:
    """Put ``own [K]`` onto the diagonal of weights ``[K, K]``."""
    return jnp.where(jnp.eye(len(own), dtype=bool), own[:, None], weights)
