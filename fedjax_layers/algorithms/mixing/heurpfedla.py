"""HeurpFedLA (arXiv 2205.03993): pFedLA whose clients keep the layers that they hear themselves in most."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import optax
from annotated_types import Ge

from fedjax_layers.algorithms.factory import factory
from fedjax_layers.algorithms.mixing.mix import Granularity, Retain, grouping
from fedjax_layers.algorithms.mixing.pfedla import hyper_rule
from fedjax_layers.algorithms.mixing.round import Mixing
from fedjax_layers.clients import Trainer
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm


@factory()
def heurpfedla(
    trainer: Trainer,
    *,
    retained: Annotated[Traced[int], Ge(0)] = 1,
    retain: Retain = "largest",
    upload_retained: bool = True,
    hyper_learning_rate: Annotated[Traced[float], Ge(0)] = 0.005,
    hyper_optimizer: optax.GradientTransformation | None = None,
    granularity: Granularity = "layer",
    hyper_embedding: Annotated[int, Ge(1)] = 100,
    hyper_hidden: Annotated[tuple[int, ...], Ge(1)] = (100, 100, 100),
    hyper_heads: Literal["zeros", "uniform", "normal"] = "zeros",
    normalise: Literal["softmax", "relu"] = "softmax",
    self_bias: Traced[float] = 0.0,
    fresh_rounds: Annotated[Traced[int] | None, Ge(0)] = None,
    published_sign: bool = False,
    record_weights: bool = False,
) -> Algorithm:
    """PFedLA in which a client keeps its own k layers of the largest self weight, and downloads only the others.

    Which layers those are may change from round to round and client to client. Kept layers teach the hypernetwork
    nothing in that round: their heads stand still, trunk and vector follow the others. k = 0 is :func:`pfedla`, k of
    all layers local training. The paper's k is not known (note section 4).

    Args:
      trainer: how each client trains.
      retained: k, layers (or blocks) that stay; may be traced.
      retain: which: those of the ``"largest"`` self weight, the ``"smallest"``, the ``"last"`` ones (as FedPer), or
        ``"random"`` ones by round and client.
      upload_retained: kept layers are uploaded all the same, since others mix them in; without, the pool holds what it
        had, and ``bytes_up`` falls as ``bytes_down`` does. The paper's accounting is not known.
      hyper_learning_rate: as in :func:`pfedla`, like all that follow.
      hyper_optimizer: any other optimiser of the hypernetworks.
      granularity: ``"layer"``, ``"block"`` or ``"model"``.
      hyper_embedding: length of the client's vector.
      hyper_hidden: widths of the trunk.
      hyper_heads: start of the heads.
      normalise: how outputs become weights.
      self_bias: head start of the client's own model.
      fresh_rounds: how old a mixed entry may be.
      published_sign: ascent, as public re-implementations do.
      record_weights: every round reports ``alpha`` ``[C, G, C]``.

    Returns:
      The algorithm; it offers personal models only, and reports what :func:`pfedla` does.

    Raises:
      ValueError: k below 0 or above the number of layers, ``granularity`` of tensors, ``fresh_rounds`` below 0,
        or an unknown choice.
    """
    if granularity == "tensor":
        raise ValueError("granularity: expected layer, block or model, whose transfers are counted, got 'tensor'")
    groups = grouping(trainer, granularity)
    if isinstance(retained, int) and not 0 <= retained <= groups.num_layers:
        raise ValueError(f"retained: expected 0 to {groups.num_layers}, the model's {granularity}s, got {retained}")
    net: dict[str, Any] = {"embedding": hyper_embedding, "hidden": hyper_hidden, "heads": hyper_heads}
    return Mixing(
        trainer,
        hyper_rule(trainer, groups.num_layers, normalise=normalise, self_bias=self_bias, **net),
        hyper_optimizer or optax.sgd(hyper_learning_rate),
        groups,
        sign=-1.0 if published_sign else 1.0,
        retained=retained,
        retain=retain,
        upload_retained=upload_retained,
        fresh_rounds=fresh_rounds,
        record_weights=record_weights,
    ).algorithm()
