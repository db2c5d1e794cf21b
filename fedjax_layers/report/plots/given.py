"""What a plot is given, results in memory and folders alike, as methods with a run for each seed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_layers.engine.evaluation.score_names import SCORED, headline, scores_under
from fedjax_layers.engine.history.display import usual_model
from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.simulate import Result
from fedjax_layers.experiment.finished.measured import MeasuredRun, mean_over_clients
from fedjax_layers.experiment.finished.methods import Method, methods_of
from fedjax_layers.experiment.records.summary import layer_bytes, round_bytes
from fedjax_layers.report.page.found import find
from fedjax_layers.sweeps.display import plain
from fedjax_layers.sweeps.sweep import SweepResult
from fedjax_layers.types import LayerMap


def methods_given(results: Any) -> list[Method]:
    """Read what a plot is given.

    Args:
      results: a :class:`Result`, whose run has no name; a :class:`SweepResult`, each of whose settings is a method; the
        folder of a run or of a comparison; a list of results, which are the seeds of one method, or of folders; or a
        mapping of labels to any of these.

    Raises:
      TypeError: ``results`` is something else.
      ValueError: there is nothing in it, a folder holds no run, or that of a sweep, whose runs have no curves.
      StorageError: no folder can be read.
    """
    if isinstance(results, Mapping):
        found = [_relabelled(str(label), method) for label, x in results.items() for method in methods_given(x)]
    elif isinstance(results, Result):
        found = [Method("", (_measured(results.history, results.seed, results.setting.task.layers),))]
    elif isinstance(results, SweepResult):
        found = _settings(results)
    elif _are_folders(results):
        folders = [results] if isinstance(results, str | os.PathLike) else list(results)
        found = methods_of(find(folders).runs)
        if not found:
            raise ValueError(f"results: expected runs, found the sweep {folders[0]}, which plot_sweep draws")
    elif isinstance(results, Sequence) and all(isinstance(x, Result) for x in results):
        found = [Method("", tuple(run for x in results for run in methods_given(x)[0].runs))]
    else:
        raise TypeError(
            "results: expected a Result, a SweepResult, folders of runs, or a mapping of labels to these, "
            f"got {type(results).__name__}"
        )
    if not any(method.runs for method in found):
        raise ValueError("results: expected at least one run, got none")
    return found


def _are_folders(results: Any) -> bool:
    if isinstance(results, str | os.PathLike):
        return True
    return isinstance(results, Sequence) and bool(results) and all(isinstance(x, str | os.PathLike) for x in results)


def usual_metric(methods: Sequence[Method]) -> str:
    """Return the score by which the methods are compared."""
    return headline({name for method in methods for run in method.runs for name in run.clients})


def scored_model(methods: Sequence[Method]) -> str:
    """Return the model that the runs score, which is that of the first."""
    return str(next(run for method in methods for run in method.runs).config["scored_model"])


def _relabelled(label: str, method: Method) -> Method:
    return Method(f"{label}, {method.label}" if method.label else label, method.runs)


def _settings(results: SweepResult) -> list[Method]:
    """Make a method of each setting, with its seeds as runs."""
    groups: dict[str, list[MeasuredRun]] = {}
    for setting, seed, history in zip(results.settings, results.seeds, results.histories, strict=True):
        label = ", ".join(f"{name} {_short(plain(value))}" for name, value in setting.items())
        groups.setdefault(label, []).append(_measured(history, seed, results.layers, results.scored_model))
    return [Method(label, tuple(runs)) for label, runs in groups.items()]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _measured(history: History, seed: int, layers: LayerMap, model: str | None = None) -> MeasuredRun:
    """Describe a run in memory as one that was read from its folder; clients that never take part do not count."""
    evaluations, rounds = history.evaluations, history.rounds
    model = model or usual_model(history)
    if model is None:
        raise ValueError("results: expected runs that were evaluated, got one that was not")
    going = ~evaluations["finished"]
    done, counted = evaluations["round"][going], evaluations["examples"][going] > 0
    moved = {f"layer_bytes_{way}": layer_bytes(history, layers, what) for way, what in _WAYS.items()}
    curves = {"round": done, "train_loss": np.asarray(rounds["loss"], float)[done - 1]}
    curves["bytes"] = np.cumsum(round_bytes(rounds, moved))[done - 1]
    for one in SCORED:
        for name in scores_under(f"{one}/test", evaluations).values():
            curves[name] = mean_over_clients(np.where(counted, evaluations[name][going], np.nan))
    takes_part = history.latest["examples"] > 0
    scores = history.scores(model, "best") or {}
    return MeasuredRun(
        path=Path(),
        config={"algorithm": "", "seed": seed, "scored_model": model},
        summary=None,
        manifest={},
        curves=curves,
        layers=(),
        shared=(rounds["sent"] > 0).mean(0),
        clients={"client_names": np.arange(len(takes_part)).astype(str)}
        | {metric: np.where(takes_part, x, np.nan) for metric, x in scores.items()},
    )


_WAYS = {"up": "sent", "down": "received"}
