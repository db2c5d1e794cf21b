"""What an algorithm declares about its runs for sweeps, summaries and tables, which know no algorithm by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fedjax_layers.clients import Trainer
from fedjax_layers.types import Array, Cohort, Key, Params

Decide = Callable[[Sequence[Any], Mapping[str, np.ndarray], int], np.ndarray]
"""``(values [M], records [n, ...] by name, number of the first recorded round) -> [M, n]``, or ``[M, n, ...]``."""


class Decision(NamedTuple):
    """An option whose only effect is a decision that can be recomputed from what a run records.

    Runs that differ in this option alone are equal as long as it decides the same, so a sweep computes them once.

    Attributes:
      option: the option's name.
      decide: function that gives the decision of each of several values in each round.
    """

    option: str
    decide: Decide


class Controls(NamedTuple):
    """Decisions that an algorithm would have made without learning, computed beside a run.

    Attributes:
      compute: ``(trainer, key, params, cohort, labels, options) -> {name: []}`` from the first round's key, start and
        cohort; ``labels [N]`` are the pool's, permuted within each client.
      options: names of the algorithm's options that ``compute`` takes.
    """

    compute: Callable[[Trainer, Key, Params, Cohort, Array, Mapping[str, Any]], Mapping[str, Array]]
    options: frozenset[str]


class LayerRecord(NamedTuple):
    """A record of each round that has a number for each layer, or for each block of layers.

    Attributes:
      name: the record's name, as in the history's ``rounds``; its values are ``[R, L]`` or ``[R, B]``.
      short: what the number is, in two or three words.
      title: the same in a sentence without its full stop.
    """

    name: str
    short: str
    title: str


@dataclasses.dataclass(frozen=True)
class Report:
    """What an algorithm reports of a run beside its scores.

    Attributes:
      summary: ``records of all rounds, [R, ...] by name -> entries`` for ``summary.json``.
      lines: ``content of summary.json -> sentences`` to print at the end of a run.
      controls: decisions without learning, written to ``summary.json`` as ``controls``; ``None`` for none.
      layers: records that have a number for each layer or block, which reports draw over the rounds.
    """

    summary: Callable[[Mapping[str, np.ndarray]], dict[str, Any]] = lambda rounds: {}
    lines: Callable[[Mapping[str, Any]], list[str]] = lambda summary: []
    controls: Controls | None = None
    layers: tuple[LayerRecord, ...] = ()
