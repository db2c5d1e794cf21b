"""Layer-wise mixing by fixed rules or by a free matrix of weights, as a baseline for hypernetworks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from annotated_types import Ge, Gt, Le

from fedjax_layers.algorithms.factory import factory
from fedjax_layers.algorithms.mixing.mix import Granularity, Rule, grouping
from fedjax_layers.algorithms.mixing.mix_report import MIX_REPORT
from fedjax_layers.algorithms.mixing.round import Mixing
from fedjax_layers.clients import Trainer
from fedjax_layers.ops import mix_pullback
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm, Array, LayerMap, Params


@factory(report=MIX_REPORT, aggregates=False)
def layer_mix(
    trainer: Trainer,
    *,
    rule: Literal["uniform", "self", "cosine", "distance", "logits"] = "self",
    self_weight: Annotated[Traced[float], Ge(0), Le(1)] = 0.5,
    temperature: Annotated[Traced[float], Gt(0)] = 0.5,
    logits_learning_rate: Annotated[Traced[float], Ge(0)] = 1.0,
    granularity: Granularity = "layer",
    same_start: bool = True,
    fresh_rounds: Annotated[Traced[int] | None, Ge(0)] = None,
    record_weights: bool = False,
) -> Algorithm:
    """Run the rounds of :func:`pfedla` with mixing weights that come from a rule and not from a hypernetwork.

    ``"uniform"`` is the mean of the stored models; ``"self"`` gives the client's own model ``self_weight`` and shares
    the rest evenly. ``"cosine"`` and ``"distance"`` weigh models by their likeness, group by group:
    ``softmax(cos / temperature)`` of their differences from the stored models' mean, and
    ``softmax(-d^2 / (temperature * mean d^2))`` of squared distances. ``"logits"`` learns a free number for each group
    and model, which starts at zero, from the pulled-back update as in :func:`pfedla`.

    Args:
      trainer: how each client trains.
      rule: where the mixing weights come from.
      self_weight: weight of the client's own model under the rule ``"self"``.
      temperature: temperature of the rules ``"cosine"`` and ``"distance"``.
      logits_learning_rate: learning rate of the rule ``"logits"``, by plain SGD.
      granularity: what has mixing weights of its own: each ``"tensor"``, ``"layer"`` or ``"block"``, or the whole
        ``"model"``.
      same_start: let all models begin equal; otherwise each has its own start.
      fresh_rounds: mix only models that came in during the last so many rounds, as in :func:`pfedla`.
      record_weights: report the mixing weights ``alpha`` ``[C, G, C]`` in every round.

    Returns:
      The algorithm; it offers personal models only, and reports what :func:`pfedla` does.

    Raises:
      ValueError: an unknown choice, or a number out of range.
    """
    groups = grouping(trainer, granularity)
    made = _rule(rule, trainer.num_clients, groups, self_weight, temperature)
    optimizer = optax.sgd(logits_learning_rate)
    options: dict[str, Any] = {"same_start": same_start, "fresh_rounds": fresh_rounds, "record_weights": record_weights}
    return Mixing(trainer, made, optimizer, groups, **options).algorithm()


def _rule(name: str, num: int, groups: LayerMap, self_weight: float | Array, temperature: float | Array) -> Rule:
    size = (groups.num_layers, num)

    def fixed(_: Any, client: Array, features: Any) -> Array:
        del features
        own = jnp.arange(num) == client
        rest = (1 - jnp.asarray(self_weight)) / max(num - 1, 1)
        row = jnp.where(own, self_weight if num > 1 else 1.0, rest) if name == "self" else jnp.full(num, 1 / num)
        return jnp.broadcast_to(row, size)

    if name in ("uniform", "self"):
        return Rule(lambda _: (), fixed)
    if name == "logits":
        return Rule(lambda _: jnp.zeros(size), lambda row, client, features: jax.nn.softmax(row, axis=-1))
    return Rule(
        lambda _: (),
        lambda _, client, likeness: likeness[client],
        lambda models: _likeness(models, groups, name, temperature),
    )


def _likeness(models: Params, groups: LayerMap, name: str, temperature: float | Array) -> Array:
    """Compute ``alpha [C, G, C]`` from the likeness of the stored models."""
    centred = jax.tree.map(lambda x: x - x.mean(0, keepdims=True), models)
    products = jnp.swapaxes(mix_pullback(centred, centred, groups), 0, 1)  # [G, C, C]
    squares = jnp.diagonal(products, axis1=1, axis2=2)  # [G, C]
    if name == "cosine":
        lengths = jnp.sqrt(squares[:, :, None] * squares[:, None, :])
        scores = products / jnp.where(lengths > 0, lengths, jnp.ones_like(lengths)) / temperature
    else:
        distances = jnp.maximum(squares[:, :, None] + squares[:, None, :] - 2 * products, 0)
        mean = distances.mean((1, 2), keepdims=True)
        scores = -distances / jnp.where(mean > 0, mean, jnp.ones_like(mean)) / temperature
    return jnp.swapaxes(jax.nn.softmax(scores, axis=-1), 0, 1)
