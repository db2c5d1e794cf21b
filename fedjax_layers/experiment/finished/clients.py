"""The distribution of scores over clients, and which clients gain over another method."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fedjax_layers.engine.evaluation.score_names import LOWER_IS_BETTER
from fedjax_layers.experiment.finished.methods import Method


class Sorted(NamedTuple):
    """Clients' values in ascending order ``[n]``, with whose they are: client and seed."""

    values: np.ndarray
    clients: np.ndarray
    seeds: np.ndarray


def sorted_scores(method: Method, metric: str, base: Method | None = None) -> Sorted:
    """Sort the scores of all clients of all seeds, or how much each client gains over another method.

    Args:
      method: the method.
      metric: the score.
      base: the other method; clients are paired by seed, where both had the same clients. A gain is positive where
        the method is better, also for scores of which lower is better.
    """
    others = {} if base is None else {run.seed: run for run in base.runs}
    sign = -1.0 if base is not None and metric in LOWER_IS_BETTER else 1.0
    values, names, seeds = [np.zeros(0)], [np.zeros(0, str)], [np.zeros(0, int)]
    for run in method.runs:
        other = others.get(run.seed)
        usable = base is None or (other is not None and other.partition_hash == run.partition_hash)
        if metric not in run.clients or not usable or (other is not None and metric not in other.clients):
            continue
        own = np.asarray(run.clients[metric], float)
        values.append(sign * (own if other is None else own - np.asarray(other.clients[metric], float)))
        names.append(run.clients["client_names"])
        seeds.append(np.full(len(own), run.seed))
    every, each = np.concatenate(values), np.concatenate(seeds)
    order = np.argsort(every, kind="stable")
    order = order[np.isfinite(every[order])]
    return Sorted(every[order], np.concatenate(names)[order], each[order])


def gained(found: Sorted) -> tuple[int, int, int]:
    """Count the clients that gain, those that lose, and those with no difference."""
    return int((found.values > 0).sum()), int((found.values < 0).sum()), int((found.values == 0).sum())


QUANTILES = (0, 10, 25, 50, 75, 90, 100)
"""The percentiles of :func:`quantiles`."""


def quantiles(found: Sorted) -> list[float]:
    """Compute the :data:`QUANTILES` of sorted values; NaN without any."""
    if not found.values.size:
        return [float("nan")] * len(QUANTILES)
    return [float(x) for x in np.percentile(found.values, QUANTILES)]


def thinned(found: Sorted, most: int) -> Sorted:
    """Take at most so many clients, evenly by rank, the first and the last among them."""
    number = len(found.values)
    if number <= most:
        return found
    kept = np.unique(np.linspace(0, number - 1, most).round().astype(int))
    return Sorted(found.values[kept], found.clients[kept], found.seeds[kept])
