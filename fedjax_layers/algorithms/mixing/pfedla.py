"""pFedLA (arXiv 2205.03993): a hypernetwork per client gives the weights with which all clients' layers are mixed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from annotated_types import Ge

from fedjax_layers.algorithms.factory import factory
from fedjax_layers.algorithms.mixing.mix import Granularity, Rule, grouping
from fedjax_layers.algorithms.mixing.mix_report import MIX_REPORT
from fedjax_layers.algorithms.mixing.round import Mixing
from fedjax_layers.clients import Trainer
from fedjax_layers.ops import hypernetwork
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm


@factory(report=MIX_REPORT, aggregates=False)
def pfedla(
    trainer: Trainer,
    *,
    hyper_learning_rate: Annotated[Traced[float], Ge(0)] = 0.005,
    hyper_optimizer: optax.GradientTransformation | None = None,
    granularity: Granularity = "layer",
    hyper_embedding: Annotated[int, Ge(1)] = 100,
    hyper_hidden: Annotated[tuple[int, ...], Ge(1)] = (100, 100, 100),
    hyper_heads: Literal["zeros", "uniform", "normal"] = "zeros",
    normalise: Literal["softmax", "relu"] = "softmax",
    self_bias: Traced[float] = 0.0,
    shared_hypernetwork: bool = False,
    normalise_update: bool = False,
    order: Literal["together", "sequential"] = "together",
    server_keeps: Literal["trained", "added"] = "trained",
    same_start: bool = True,
    fresh_rounds: Annotated[Traced[int] | None, Ge(0)] = None,
    published_sign: bool = False,
    published_detached: bool = False,
    record_weights: bool = False,
) -> Algorithm:
    """Mix all clients' models into each start, train, and learn the mixing weights from the update.

    The server holds every client's latest model and a hypernetwork for each. A client of the cohort starts
    from ``start_i^l = sum_j alpha_i[l, j] * theta_j^l``, trains, and its model is stored. The hypernetwork takes
    a step along ``J^T (start_i - trained_i)``, where J is the derivative of the start by its parameters: weight moves
    to clients whose layer lies where training went. All clients start from the models before the round.

    The personal model is the mix of the models stored now; ``trained`` scores are of the model trained from it. A
    client that never took part gets the mean of the models of those who have. Sizes and initial weights of the
    hypernetwork are those of re-implementations, since the paper gives none: zero heads under softmax, so that the
    first round is plain averaging. Running statistics of batch norms are never mixed, as in
    re-implementations; scales and offsets are.

    Args:
      trainer: how each client trains.
      hyper_learning_rate: learning rate of the hypernetworks, by plain SGD; re-implementations have 0.005.
      hyper_optimizer: another optimiser of the hypernetworks.
      granularity: what has mixing weights of its own: each ``"tensor"``, ``"layer"`` or ``"block"``, or the whole
        ``"model"``.
      hyper_embedding: length of a client's vector. Re-implementations have 100.
      hyper_hidden: widths of the hypernetworks' hidden layers. Re-implementations have three of 100.
      hyper_heads: how the hypernetworks' output layers start; see :func:`~fedjax_layers.ops.hyper.hypernetwork`.
      normalise: how the hypernetworks' outputs become weights.
      self_bias: head start of a client's own model, added to its logit. May be traced.
      shared_hypernetwork: one hypernetwork for all clients, with a vector for each (not the paper's).
      normalise_update: divide each group's update by its norm, so that large layers do not dominate.
      order: whether all clients of a round start from the models as the round found them (``"together"``), or in a
        ``"sequential"`` order, each from the models that the client before left.
      server_keeps: what the server keeps of a client: its ``"trained"`` model, or with ``"added"`` the model it had
        plus the update, as one re-implementation does.
      same_start: let all models begin equal; otherwise each has its own start, as in one re-implementation.
      fresh_rounds: mix only models that came in during the last so many rounds, beside the client's own; without it
        all. With few clients per round most of the stored models are old, and hold back all clients that mix them in.
      published_sign: repeat the sign of public re-implementations, which climb on the clients' losses where the paper
        descends.
      published_detached: repeat PLayer-FL's code, in which no gradient reaches the hypernetwork, so that the mixing
        weights stay as they started. With ``hyper_heads="normal"`` they are random for the whole run.
      record_weights: report the mixing weights ``alpha`` ``[C, G, C]`` of all clients in every round, for few clients.

    Returns:
      The algorithm; it offers personal models only. Every round reports ``self_weight`` and ``from_uniform`` ``[G]``,
      the client's own share and the total variation from uniform weights, means over the cohort.

    Raises:
      ValueError: an unknown choice, a size below 1, or ``fresh_rounds`` below 0.
    """
    groups = grouping(trainer, granularity)
    net = {"embedding": hyper_embedding, "hidden": hyper_hidden, "heads": hyper_heads, "normalise": normalise}
    rule = hyper_rule(trainer, groups.num_layers, self_bias=self_bias, shared=shared_hypernetwork, **net)
    return Mixing(
        trainer,
        rule,
        optax.set_to_zero() if published_detached else hyper_optimizer or optax.sgd(hyper_learning_rate),
        groups,
        sign=-1.0 if published_sign else 1.0,
        normalise_update=normalise_update,
        order=order,
        server_keeps=server_keeps,
        same_start=same_start,
        fresh_rounds=fresh_rounds,
        record_weights=record_weights,
    ).algorithm()


def hyper_rule(trainer: Trainer, num_groups: int, **options: Any) -> Rule:
    """Make the rule of a hypernetwork with these options, in the precision of the model."""
    shapes = jax.eval_shape(trainer.task.init, jax.random.key(0))
    dtype = jnp.result_type(*jax.tree.leaves(shapes))
    net = hypernetwork(trainer.num_clients, num_groups, dtype=dtype, **options)
    return Rule(net.init, lambda params, client, _: net.apply(params, client), shared=options.get("shared", False))
