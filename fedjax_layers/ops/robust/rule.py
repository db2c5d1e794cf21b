"""A robust rule by its name, with its settings, in the form in which a round uses it in place of the mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from fedjax_layers.ops.robust.centre import centred_clipping, geometric_median, norm_clipping
from fedjax_layers.ops.robust.krum import bulyan, krum, multi_krum
from fedjax_layers.ops.robust.order import coordinate_median, trimmed_mean
from fedjax_layers.types import Array, LayerMap, Params

Reduce = Callable[[Params, Array, Params], Params]


@dataclasses.dataclass(frozen=True)
class Rule:
    """A rule that makes one model of the clients' models.

    Attributes:
      reduce: ``(rows, weight, centre) -> model`` from leaves ``[K, ...]``, ``[K]`` (0 for absent slots, whose rows do
        not matter) and the model from which the clients began.
      models: number of models for each slot that are held while it is computed, the rows included.
    """

    reduce: Reduce
    models: float = 1.0


@dataclasses.dataclass(frozen=True)
class _Kind:
    """How a rule is made and what it takes; ``per_bad`` and ``beside`` say that it needs n >= per_bad * f + beside."""

    make: Callable[..., Reduce]
    takes: tuple[str, ...] = ()
    per_bad: int = 0
    beside: int = 0
    models: float = 1.25


RULES: dict[str, _Kind] = {
    "coordinate_median": _Kind(lambda: lambda x, w, c: coordinate_median(x, w), models=2.0),
    "trimmed_mean": _Kind(
        lambda bad: lambda x, w, c: trimmed_mean(x, w, bad), ("bad",), per_bad=2, beside=1, models=2.0
    ),
    "krum": _Kind(lambda bad, layers: lambda x, w, c: krum(x, w, bad, layers), ("bad", "layers"), per_bad=2, beside=3),
    "multi_krum": _Kind(
        lambda bad, keep, layers: lambda x, w, c: multi_krum(x, w, bad, keep, layers),
        ("bad", "keep", "layers"),
        per_bad=2,
        beside=3,
    ),
    "bulyan": _Kind(
        lambda bad, layers: lambda x, w, c: bulyan(x, w, bad, layers),
        ("bad", "layers"),
        per_bad=4,
        beside=3,
        models=3.0,
    ),
    "geometric_median": _Kind(
        lambda steps, smoothing, layers: (
            lambda x, w, c: geometric_median(x, w, steps=steps, smoothing=smoothing, layers=layers)
        ),
        ("steps", "smoothing", "layers"),
        models=2.25,
    ),
    "norm_clipping": _Kind(
        lambda bound, layers: lambda x, w, c: norm_clipping(x, w, c, bound, layers), ("bound", "layers"), models=2.25
    ),
    "centred_clipping": _Kind(
        lambda bound, steps, layers: lambda x, w, c: centred_clipping(x, w, c, bound, steps=steps, layers=layers),
        ("bound", "steps", "layers"),
        models=2.25,
    ),
}
"""The rules by name. A clipping rule's centre is the model from which the clients began."""


def make_rule(name: str, settings: dict[str, Any], layers: LayerMap | None = None) -> Rule:
    """Make a rule.

    Args:
      name: one of :data:`RULES`.
      settings: at least those that the rule takes: ``bad`` (the trimmed mean's ``trim``), ``keep``, ``bound``,
        ``steps``, ``smoothing``. Numbers may be traced.
      layers: the layers that are judged one by one; ``None`` for whole models.
    """
    kind = RULES[name]
    given = settings | {"layers": layers}
    return Rule(kind.make(**{taken: given[taken] for taken in kind.takes}), kind.models)


def most_bad(name: str, slots: int) -> int:
    """Return the largest number of bad clients among ``slots`` that a rule with the setting ``bad`` allows."""
    kind = RULES[name]
    return max((slots - kind.beside) // kind.per_bad, 0)
