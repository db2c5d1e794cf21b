"""What an algorithm says of its runs to those that know no algorithm by name: sweeps, summaries, tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fedjax_layers.clients import Trainer
from fedjax_layers.types import Array, Cohort, Key, Params

Decide = Callable[[Sequence[Any], Mapping[str, np.ndarray], int], np.ndarray]
"""``(values [M], what rounds recorded, [n, ...] each, number of the first of them) -> [M, n]``, or ``[M, n, ...]``."""


class Decision(NamedTuple):
    """An option whose only effect is a decision that can be made again from what a run records.

    Runs that differ in it alone are the same while it decides alike, so that a sweep computes them once.

    Attributes:
      option: its name.
      decide: what each of several values would have decided in each round.
    """

    option: str
    decide: Decide


class Controls(NamedTuple):
    """What an algorithm would have decided without learning anything, computed beside a run.

    Attributes:
      compute: ``(trainer, key, params, cohort, labels, options) -> {name: []}`` from the first round's key, start and
        cohort; ``labels [N]`` are the pool's, permuted within each client.
      options: names of the algorithm's options that it takes.
    """

    compute: Callable[[Trainer, Key, Params, Cohort, Array, Mapping[str, Any]], Mapping[str, Array]]
    options: frozenset[str]


@dataclasses.dataclass(frozen=True)
class Report:
    """What an algorithm tells of a run beside its scores.

    Attributes:
      summary: ``rounds ->`` entries of ``summary.json``, from what was recorded, ``[R, ...]`` each by name.
      lines: ``summary.json ->`` sentences that are shown at the end of a run.
      controls: what it would have decided without learning, put into ``summary.json`` as ``controls``.
    """

    summary: Callable[[Mapping[str, np.ndarray]], dict[str, Any]] = lambda rounds: {}
    lines: Callable[[Mapping[str, Any]], list[str]] = lambda summary: []
    controls: Controls | None = None
