"""Runs that differ in their seeds alone are one method; methods of the same clients are compared with each other."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fedjax_layers.algorithms import ALONE, COMMON
from fedjax_layers.engine.evaluation.score_names import headline
from fedjax_layers.experiment.comparison import differences_of, mean_over_seeds, statistics_of
from fedjax_layers.experiment.finished.measured import MeasuredRun
from fedjax_layers.experiment.finished.settings import flat_config, shown
from fedjax_layers.experiment.statistics import mean_interval


@dataclasses.dataclass(frozen=True)
class Method:
    """The runs of one algorithm with one setting, one for each seed.

    Attributes:
      label: the algorithm's name, with what tells it from others of the same name.
      runs: the runs, in the order of their seeds.
    """

    label: str
    runs: tuple[MeasuredRun, ...]

    @property
    def summaries(self) -> list[dict[str, Any]]:
        """The summaries of the runs that have ended, under the method's label."""
        return [{**run.summary, "algorithm": self.label} for run in self.runs if run.summary is not None]

    @property
    def mean(self) -> dict[str, Any]:
        """The mean of the summaries over seeds."""
        return dict(mean_over_seeds(self.summaries))


def methods_of(runs: Iterable[MeasuredRun]) -> list[Method]:
    """Put runs that differ in their seeds alone together, in the order of the first of each."""
    groups: dict[str, list[MeasuredRun]] = {}
    for run in runs:
        own = groups.setdefault(json.dumps(flat_config(run.config), sort_keys=True), [])
        if run.seed not in [other.seed for other in own]:
            own.append(run)
    sorted_runs = [tuple(sorted(own, key=lambda run: run.seed)) for own in groups.values()]
    labels = _labels([own[0] for own in sorted_runs])
    return [Method(label, own) for label, own in zip(labels, sorted_runs, strict=True)]


def _labels(firsts: Sequence[MeasuredRun]) -> list[str]:
    """Name each method: the algorithm, and behind it the fields in which methods of that algorithm differ."""
    labels = []
    for run in firsts:
        same = [other.config for other in firsts if other.algorithm == run.algorithm]
        flat = [flat_config(config) for config in same]
        own = flat_config(run.config)
        told = [f"{name} {shown(own.get(name))}" for name in own if len({repr(c.get(name)) for c in flat}) > 1]
        labels.append(f"{run.algorithm} ({', '.join(told)})" if told else run.algorithm)
    return labels


class Compared(NamedTuple):
    """The methods of one experiment side by side.

    Attributes:
      methods: all of them.
      metric: the score by which they are compared; ``None`` while no run has ended.
      seeds: seeds that all methods with results have in common, on the same clients; these are paired.
      tests: as of :func:`~fedjax_layers.experiment.comparison.statistics_of`, over these seeds.
      differences: as of :func:`~fedjax_layers.experiment.comparison.differences_of`; empty where nothing is paired.
    """

    methods: list[Method]
    metric: str | None
    seeds: list[int]
    tests: dict[str, Any]
    differences: dict[str, dict[str, Any]]

    @property
    def ended(self) -> list[Method]:
        """The methods with results."""
        return [method for method in self.methods if method.summaries]


def experiments_of(runs: Iterable[MeasuredRun]) -> list[Compared]:
    """Sort runs by experiment: data set, clients, and how they are scored; see :func:`side_by_side`."""
    groups: dict[str, list[MeasuredRun]] = {}
    for run in runs:
        config = run.config
        named = [config.get(name) for name in ("dataset", "scored_model", "scored_round")]
        data = config.get("data_options"), config.get("partition"), config.get("clients"), config.get("drift")
        groups.setdefault(json.dumps([named, data], sort_keys=True), []).append(run)
    return [side_by_side(methods_of(own)) for own in groups.values()]


def side_by_side(methods: Sequence[Method]) -> Compared:
    """Compare methods over the seeds in which all that have results had the same clients."""
    ended = [method for method in methods if method.summaries]
    if not ended:
        return Compared(list(methods), None, [], {}, {})
    metric = headline(ended[0].summaries[0]["personal"])
    by_seed = [{run.seed: run for run in method.runs if run.summary is not None} for method in ended]
    common = sorted(set.intersection(*(set(own) for own in by_seed)))
    seeds = [seed for seed in common if len({own[seed].partition_hash for own in by_seed}) == 1]
    paired = [s for method in ended for s in method.summaries if s["seed"] in seeds]
    alone = len(ended) < 2 or not seeds
    tests = {} if alone else statistics_of(paired, metric)
    return Compared(list(methods), metric, seeds, tests, {} if alone else differences_of(paired, metric))


class Interval(NamedTuple):
    """The mean over seeds with its 95 % interval by Student's t; NaN where there is none."""

    mean: float
    low: float
    high: float
    seeds: int


def score_interval(method: Method, metric: str) -> Interval:
    """Compute the mean over seeds of a score's mean over clients, with its interval."""
    values = [s["personal"][metric]["mean"] for s in method.summaries]
    return Interval(*mean_interval(np.array([np.nan if x is None else x for x in values], float)))


class Band(NamedTuple):
    """A curve: places ``[E]``, the mean over seeds, the lowest and the highest seed, and the number of seeds."""

    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: int


def curve_of(method: Method, name: str, over: str = "round") -> Band | None:
    """Compute a curve's mean over seeds, as far as all seeds have been evaluated.

    Args:
      method: the method.
      name: name of the curve, see :class:`~fedjax_layers.experiment.finished.measured.MeasuredRun`.
      over: the curve along which it goes, ``"round"`` or ``"bytes"``, of which the mean over seeds is taken, too.

    Returns:
      The band; ``None`` where no run has the curve.
    """
    curves = [run.curves for run in method.runs if name in run.curves and over in run.curves]
    if not curves:
        return None
    rounds = sorted(set.intersection(*(set(c["round"].tolist()) for c in curves)))
    rows = [np.isin(c["round"], rounds) for c in curves]
    along = np.mean([c[over][row] for c, row in zip(curves, rows, strict=True)], axis=0)
    values = np.stack([c[name][row] for c, row in zip(curves, rows, strict=True)])
    with np.errstate(invalid="ignore"):
        return Band(along, values.mean(0), values.min(0), values.max(0), len(curves))


def layer_band(method: Method, number: int) -> Band | None:
    """Compute the mean over seeds of the method's layer record of this number, as arrays ``[R, L]``."""
    values = [run.layers[number].values for run in method.runs if number < len(run.layers)]
    if not values:
        return None
    length = min(len(v) for v in values)
    stacked = np.stack([v[:length] for v in values])
    return Band(np.arange(1, length + 1), stacked.mean(0), stacked.min(0), stacked.max(0), len(values))


def baselines(compared: Compared) -> list[Method]:
    """List the methods with results that all share one model, or none: Local and FedAvg."""
    return [method for name in (ALONE, COMMON) for method in compared.ended if method.label == name]


class Traffic(NamedTuple):
    """What a method moved of each layer: names ``[L]``, bytes up and down ``[L]``, share of rounds with an upload."""

    layers: tuple[str, ...]
    bytes: np.ndarray
    shared: np.ndarray


def traffic_of(method: Method) -> Traffic | None:
    """Compute the mean over seeds of what all clients moved of each layer; ``None`` while no run has ended."""
    ended = [run for run in method.runs if run.summary is not None]
    if not ended:
        return None
    layers = tuple(map(str, method.summaries[0]["layers"]))
    moved = [np.add(s["layer_bytes_up"], s["layer_bytes_down"], dtype=float) for s in method.summaries]
    known = [run.shared for run in ended if run.shared.shape == (len(layers),)]
    shared = np.mean(known, axis=0) if known else np.full(len(layers), np.nan)
    return Traffic(layers, np.mean(moved, axis=0), shared)
