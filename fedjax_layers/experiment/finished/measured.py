"""One run as its folder holds it: config, summary, curves over rounds, records by layer, and the clients' scores."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_layers.algorithms import registry
from fedjax_layers.engine.evaluation.score_names import EVALUATED_MODELS, HEADLINES, SHARED
from fedjax_layers.engine.history.files import HistoryFiles
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.experiment.records.summary import round_bytes
from fedjax_layers.storage import StorageError, reading

_NEEDED = (
    *("algorithm", "dataset", "seed", "clients", "rounds", "layers", "num_shared_layers", "personal", "team"),
    *("scored_model", "scored_round", "incentive", "bytes_up", "bytes_down", "layer_bytes_up", "layer_bytes_down"),
    *("nonfinite", "dropped", "unheard_rounds", "diverged", "privacy"),
)
_CURVES = ("loss", "accuracy", *HEADLINES)


@dataclasses.dataclass(frozen=True)
class LayerValues:
    """One record of a run's rounds with a number for each layer or block.

    Attributes:
      short: what the number is, in two or three words.
      title: the same in a sentence without its full stop.
      names: names of the layers, or numbers of the blocks.
      values: ``[R, L]`` or ``[R, B]``, NaN where there is none.
    """

    short: str
    title: str
    names: tuple[str, ...]
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class MeasuredRun:
    """A run, finished or not.

    Attributes:
      path: its folder.
      config: the content of ``config.json``.
      summary: the content of ``summary.json``; ``None`` while the run has not ended.
      manifest: the content of ``manifest.json``; empty without one.
      curves: ``[E]`` by name, one number for each evaluation: ``round``; ``train_loss``;
        ``{scored_model}/test/{metric}``, means over clients; and ``bytes`` moved so far, of a run that has ended.
      layers: what the algorithm declares of each layer or block.
      shared: ``[L]``, the share of rounds in which any client sent the layer; empty where it is not known.
      clients: ``[C]`` by name: ``client_names`` and the clients' scores ``{metric}`` by which the run is summarised.
    """

    path: Path
    config: Mapping[str, Any]
    summary: Mapping[str, Any] | None
    manifest: Mapping[str, Any]
    curves: Mapping[str, np.ndarray]
    layers: tuple[LayerValues, ...]
    shared: np.ndarray
    clients: Mapping[str, np.ndarray]

    @property
    def algorithm(self) -> str:
        """The algorithm's name."""
        return str(self.config["algorithm"])

    @property
    def partition_hash(self) -> str | None:
        """Which client owns which examples, as a hash; ``None`` where it is not known."""
        return self.manifest.get("partition_hash")

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.config["seed"])


def measured_run(path: str | os.PathLike[str]) -> MeasuredRun:
    """Read a run's folder.

    Raises:
      ValueError: the folder holds no run.
      StorageError: a file is damaged, or was written by a version with other records.
    """
    run = RunDirectory(path)
    with reading(run.path):
        config = run.read("config")
        if not all(isinstance(config.get(name), kind) for name, kind in (("algorithm", str), ("seed", int))):
            raise StorageError(f"{run.path / 'config.json'}: expected the config of a run, found another")
        summary = _summary(run)
        manifest = run.read("manifest") if (run.path / "manifest.json").exists() else {}
        files = HistoryFiles(run.history)
        rounds = files.rounds() if run.history.exists() else {}
        curves = _means(run)
        done = curves.get("round", np.zeros(0, int))
        shared_models = _shared_models(files, run.history.exists(), summary)
        curves |= {name: x for name, x in shared_models.items() if len(x) == len(done)}
        if summary is not None and rounds and len(done):
            curves["bytes"] = np.cumsum(round_bytes(rounds, summary))[done - 1]
        return MeasuredRun(
            path=run.path,
            config=config,
            summary=summary,
            manifest=manifest,
            curves=curves,
            layers=_layers(config["algorithm"], rounds, [] if summary is None else summary["layers"]),
            shared=(rounds["sent"] > 0).mean(0) if rounds else np.zeros(0),
            clients={} if summary is None else _clients(run, summary),
        )


def _summary(run: RunDirectory) -> dict[str, Any] | None:
    if not (run.path / "summary.json").exists():
        return None
    summary = run.read("summary")
    missing = [name for name in _NEEDED if name not in summary]
    if missing:
        raise StorageError(
            f"{run.path / 'summary.json'}: expected a summary of this version, found none of {missing[0]}"
        )
    return summary if summary["personal"] is not None else None


def _means(run: RunDirectory) -> dict[str, np.ndarray]:
    """Read the means over clients of ``rounds.jsonl``."""
    lines = run.read_rounds()
    if not lines:
        return {}
    names = [f"{model}/test/{metric}" for model in EVALUATED_MODELS for metric in _CURVES]
    found = {"round": np.array([line["round"] for line in lines])}
    for name in ("train_loss", *names):
        if any(name in line for line in lines):
            numbers = [line.get(name) for line in lines]
            found[name] = np.array([np.nan if x is None else x for x in numbers], float)
    return found


def _shared_models(files: HistoryFiles, there: bool, summary: Mapping[str, Any] | None) -> dict[str, np.ndarray]:
    """Compute the means over clients of the global and the teams' models in each evaluation.

    Clients that never take part, whose number of examples is 0, are left out as in the other means. An evaluation that
    is not yet in the files has none.
    """
    if not there or summary is None:
        return {}
    models = [model for model in SHARED if summary[model if model == "team" else "global"] is not None]
    names = [f"{model}/test/{metric}" for model in models for metric in _CURVES]
    going = ~files.evaluations().get("finished", np.zeros(0, bool))
    if not names or not going.any():
        return {}
    columns: dict[str, list[np.ndarray]] = {}
    for block in files.clients([*names, "examples"]):
        counted = block["examples"] > 0 if summary.get("unseen") is not None else np.True_
        for name in block.keys() - {"examples"}:
            columns.setdefault(name, []).append(mean_over_clients(np.where(counted, block[name], np.nan)))
    return {name: np.concatenate(columns[name])[going] for name in names if name in columns}


def mean_over_clients(values: np.ndarray) -> np.ndarray:
    """Compute the means ``[n]`` of ``[n, C]`` over the clients that have a score; NaN where none has."""
    there = ~np.isnan(values)
    total = np.where(there, values, 0).sum(1, dtype=np.float64)
    count = there.sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _layers(algorithm: str, rounds: Mapping[str, np.ndarray], layers: list[str]) -> tuple[LayerValues, ...]:
    factory = registry.get(algorithm)
    declared = () if factory is None or factory.report is None else factory.report.layers
    found = []
    for record in declared:
        values = np.asarray(rounds.get(record.name, np.zeros((0, 0))), float)
        if values.ndim == 2 and np.isfinite(values).any():
            width, word = values.shape[1], "block" if layers else "no."  # without a summary, layers have no names
            numbered = tuple(f"{word} {i + 1}" for i in range(width))
            names = tuple(layers) if width == len(layers) else numbered
            found.append(LayerValues(record.short, record.title, names, values))
    return tuple(found)


def _clients(run: RunDirectory, summary: Mapping[str, Any]) -> dict[str, np.ndarray]:
    prefix = f"{summary['scored_model']}/{summary['scored_round']}/test/"
    arrays = run.read_clients(lambda name: name == "client_names" or name.startswith(prefix))
    found = {name.removeprefix(prefix): x for name, x in arrays.items() if x.ndim == 1}
    number = len(found["loss"])
    return {"client_names": np.array([str(c) for c in range(number)])} | found
