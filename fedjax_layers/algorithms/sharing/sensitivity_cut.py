"""PLayer-FL's estimate of the cut: score every client's layers, and agree on one number of layers to share."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp

from fedjax_layers.clients import Client, ClientVisit, LocalOptions, LocalResult, Trainer, keys, one_pass, train
from fedjax_layers.clients.batches import take_batch
from fedjax_layers.ops import federation_sensitivity, prefix_mask, transition_point
from fedjax_layers.types import Array, Cohort, Key, Params, Pool


@dataclasses.dataclass(frozen=True)
class CutRule:
    """The settings by which layers are scored and the scores turned into a cut.

    Attributes:
      threshold: the ratio of adjacent scores that counts as a jump; may be traced. The paper's own number was not
        found; any number in (1.2, 2.0), such as 1.5, gives all seven published cuts.
      gradient: ``"batch"``, one fresh mini-batch at the trained weights, as the published code; ``"epoch"``, the
        mean of the local phase's own step gradients, which needs no further pass, as the paper may be read.
      cumulative: whether cumulative scores are compared (see :func:`fedjax_layers.ops.transition_point`).
      agreement: the server's rule, which the paper leaves open: ``"normalised"``, the unweighted mean over clients
        of ``s_k / s_1``; ``"mean"``, of ``s_k``; ``"majority"``, the commonest of the clients' own cuts (the
        smallest of several). Two more are for many clients with few examples, where the paper stops: ``"pooled"``, the
        mean of ``s_k`` by the numbers of examples; and ``"majority"`` with ``shrinkage``.
      shrinkage: number of examples, beside a client's own, with which the mean over the clients counts in its scores
        before it votes; may be traced. 0 leaves clients their own scores. Only with ``"majority"``.
      shared_layers: which layers are shared: the ``"prefix"`` before the jump, as in the paper, or all layers
        ``"below"`` the threshold, wherever they are: those with ``s_k <= threshold * s_1``.
      local_on_first_jump: whether no layer is shared if the jump comes right after layer 1.
      combine: how a layer of several matrices is scored.
      dropout: whether scores are taken with dropout on, as in one version of the published analysis; only with
        ``gradient="batch"``, since the steps' own gradients always have it.
      embeddings: paths of embedding tables that the inputs index, of which only the rows of the scored batch count (see
        :func:`fedjax_layers.ops.federation_sensitivity`); only with ``gradient="batch"``.
      vectors: whether biases and norm parameters count in a layer's score, which the paper leaves out.

    Raises:
      ValueError: ``embeddings`` are given with another gradient, ``shrinkage`` without votes, or ``"below"`` beside a
        setting that concerns jumps.
    """

    threshold: float | Array = 1.5
    gradient: Literal["batch", "epoch"] = "batch"
    cumulative: bool = False
    agreement: Literal["normalised", "mean", "majority", "pooled"] = "normalised"
    local_on_first_jump: bool = False
    combine: Literal["elements", "matrices"] = "elements"
    dropout: bool = False
    embeddings: tuple[str, ...] = ()
    vectors: bool = False
    shrinkage: float | Array = 0.0
    shared_layers: Literal["prefix", "below"] = "prefix"

    def __post_init__(self) -> None:
        if self.agreement != "majority" and isinstance(self.shrinkage, int | float) and self.shrinkage != 0:
            raise ValueError(f"shrinkage: expected 0 beside agreement {self.agreement!r}, got {self.shrinkage}")
        if self.shared_layers == "below" and (
            self.cumulative or self.local_on_first_jump or self.agreement == "majority"
        ):
            raise ValueError("shared_layers: expected 'prefix' beside cumulative, local_on_first_jump or majority")
        if self.embeddings and self.gradient != "batch":
            raise ValueError(f"embeddings: expected gradient 'batch' beside them, got {self.gradient!r}")


def score_client(trainer: Trainer, key: Key, client: Client, result: LocalResult, rule: CutRule) -> Array:
    """Compute layer scores ``[L]`` of one client's trained model; without examples they are 0.

    Args:
      trainer: the trainer with task and batch size.
      key: the round's key; used only to draw a fresh batch.
      client: the client.
      result: the result of its local training, with the mean gradient where the rule is ``"epoch"``.
      rule: how to score.
    """
    gradient, ids = result.gradient, {}
    if rule.gradient == "batch":
        batch_key = jax.random.fold_in(jax.random.fold_in(key, keys.SCORE_BATCH), client.ident)
        data = (client.start, client.count, client.pool)
        gradient, tokens = _fresh_gradient(trainer, batch_key, result.params, data, rule)
        ids = dict.fromkeys(rule.embeddings, tokens)
    how: dict[str, Any] = {"rows": ids, "combine": rule.combine, "vectors": rule.vectors}
    scores = federation_sensitivity(result.params, gradient, trainer.task.layers, **how)
    return jnp.where(client.count > 0, scores, 0)


def agree_on_cut(
    scores: Array, weight: Array, rule: CutRule, counts: Array | None = None
) -> tuple[Array, Array, Array]:
    """Compute the server's cut from the clients' scores.

    Args:
      scores: ``[K, L]``, the scores of the slots.
      weight: ``[K]``; slots of weight 0 do not count, nor do slots whose first score is not positive and finite.
      rule: threshold and aggregation.
      counts: ``[K]``, the slots' numbers of training examples, for pooled scores and shrinkage; ``None`` is one each.

    Returns:
      The cut, ``[]`` int32, which is the number of shared layers; the aggregated scores ``[L]``; and whether any slot
      counted, ``[]`` bool (if not, the cut is L).
    """
    usable = (weight > 0) & jnp.isfinite(scores).all(-1) & (scores[:, 0] > 0)
    counts = jnp.ones(len(scores), scores.dtype) if counts is None else counts.astype(scores.dtype)
    part = jnp.where(usable, counts if rule.agreement == "pooled" else 1, 0).astype(scores.dtype)
    base = scores[:, :1] if rule.agreement in ("normalised", "majority") else jnp.ones_like(scores[:, :1])
    safe = jnp.where(usable[:, None], scores, 1) / jnp.where(usable[:, None], base, 1)
    mean = (part[:, None] * safe).sum(0) / jnp.where(usable.any(), part.sum(), 1)

    def cut_of(s: Array) -> Array:
        return transition_point(
            s, rule.threshold, cumulative=rule.cumulative, local_on_first_jump=rule.local_on_first_jump
        )

    if rule.agreement == "majority":
        own = jnp.where(usable, counts, 1)
        trusted = (own / (own + rule.shrinkage))[:, None].astype(scores.dtype)
        votes = jax.nn.one_hot(jax.vmap(cut_of)(trusted * safe + (1 - trusted) * mean), scores.shape[1] + 1)
        cut = jnp.argmax(jnp.where(usable[:, None], votes, 0).sum(0))
    elif rule.shared_layers == "below":
        cut = layers_shared(mean, jnp.int32(0), rule).sum()
    else:
        cut = cut_of(mean)
    return jnp.where(usable.any(), cut, scores.shape[1]).astype(jnp.int32), mean, usable.any()


def layers_shared(scores: Array, cut: Array, rule: CutRule) -> Array:
    """Mark the layers that are shared, bool ``[L]``: the first ``cut``, or those whose score is below the threshold."""
    if rule.shared_layers == "below":
        return scores <= rule.threshold * scores[0]
    return prefix_mask(cut, len(scores))


def cut_controls(
    trainer: Trainer, key: Key, params: Params, cohort: Cohort, permuted_labels: Array, rule: CutRule
) -> dict[str, Array]:
    """Compute the control cuts, which involve no learning, to be reported beside PLayer-FL's cut.

    In a ReLU network with zero biases the sum of weight × gradient is the same in every layer, so the score mostly
    follows the number of weights: a cut that agrees with these three says nothing about the data.

    Args:
      trainer: the run's trainer.
      key: a round's key.
      params: the common start.
      cohort: the clients that would be scored.
      permuted_labels: ``[N, ...]`` the pool's labels, permuted within each client.
      rule: the run's rule.

    Returns:
      ``initialisation`` (scores of the untrained model), ``permuted_labels`` (an epoch on them), and
      ``weight_count`` (first layer with more than ``threshold`` times fewer weights than the one before), each [].
    """
    with_gradient = rule.gradient == "epoch"

    def cut(cohort: Cohort, scale: Array | None) -> Array:
        options = LocalOptions(scale=scale, with_gradient=with_gradient)

        def visit(client: Client, _: Any) -> ClientVisit:
            result = train(trainer, key, client, client.shared, options=options)
            return ClientVisit(result.params, result.loss, out=score_client(trainer, key, client, result, rule))

        passed = one_pass(trainer, cohort, visit, shared=params)
        return agree_on_cut(passed.out, trainer.heard(cohort, passed.loss).weight, rule)[0]

    trainer = dataclasses.replace(trainer, keep_optimizer=False)
    permuted = dataclasses.replace(cohort, pool=cohort.pool._replace(labels=permuted_labels))
    sizes = jnp.asarray(trainer.task.layers.scored_sizes, jnp.float32)
    return {
        "initialisation": cut(cohort, jnp.float32(0)),  # steps of size 0: the epoch's batches at the initial weights
        "permuted_labels": cut(permuted, None),
        "weight_count": transition_point(1 / sizes, rule.threshold),
    }


def _fresh_gradient(
    trainer: Trainer, key: Key, params: Params, data: tuple[Array, Array, Pool], rule: CutRule
) -> tuple[Params, Array]:
    """Compute the gradient on one batch drawn with replacement, as in the published analysis; return its inputs too."""
    start, count, pool = data
    draw_key, dropout_key = jax.random.split(key)
    rows = jax.random.randint(draw_key, (trainer.batch_size,), 0, jnp.maximum(count, 1))
    batch = take_batch(pool, start, rows, jnp.ones(trainer.batch_size, bool))
    return jax.grad(trainer.task.loss)(params, batch, dropout_key if rule.dropout else None), batch.inputs
