"""HeurpFedLA (arXiv 2205.03993): pFedLA in which clients keep the layers with the largest weight of their own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import optax
from annotated_types import Ge

from fedjax_layers.algorithms.factory import factory
from fedjax_layers.algorithms.mixing.mix import Granularity, Retain, grouping
from fedjax_layers.algorithms.mixing.mix_report import MIX_REPORT
from fedjax_layers.algorithms.mixing.pfedla import hyper_rule
from fedjax_layers.algorithms.mixing.round import Mixing
from fedjax_layers.clients import Trainer
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm


@factory(report=MIX_REPORT, aggregates=False)
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
    """Run :func:`pfedla`, but let each client keep its own k layers of largest self weight, and download the others.

    These layers may change from round to round and from client to client. Kept layers give their hypernetwork no
    gradient in that round: their heads do not change, and trunk and vector follow the other layers. k = 0 is
    :func:`pfedla`, k of all layers is local training. The paper's k is not known.

    Args:
      trainer: how each client trains.
      retained: number of layers (or blocks), k, that each client keeps. May be traced.
      retain: which layers are kept: those of the ``"largest"`` weight of the own model, the ``"smallest"``, the
        ``"last"`` ones (as FedPer), or ``"random"`` ones by round and client.
      upload_retained: upload kept layers all the same, since others mix them in. Otherwise the server keeps the layers
        that it had, and ``bytes_up`` falls as ``bytes_down`` does. The paper's accounting is not known.
      hyper_learning_rate: learning rate of the hypernetworks. This and all that follow are as in :func:`pfedla`.
      hyper_optimizer: another optimiser of the hypernetworks.
      granularity: what has mixing weights of its own: each ``"layer"`` or ``"block"``, or the whole ``"model"``.
      hyper_embedding: length of a client's vector.
      hyper_hidden: widths of the hypernetworks' hidden layers.
      hyper_heads: how the hypernetworks' output layers start.
      normalise: how the hypernetworks' outputs become weights.
      self_bias: head start of the client's own model.
      fresh_rounds: mix only models that came in during the last so many rounds.
      published_sign: repeat the sign of public re-implementations, which climb on the clients' losses.
      record_weights: report the mixing weights ``alpha`` ``[C, G, C]`` in every round.

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
