"""What PerMFL's experiments do: from a cell of a table to pooled accuracies of personal, team and global models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.permfl_methods import DATASETS, HIDDEN, MODELS, SPLIT
from fedjax_layers.data.team_formation import label_counts
from fedjax_layers.engine.history.history import History
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.summary import scores_of
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import load_clients, prepare

EVALUATIONS = 15  # per run
SIZES: dict[str, dict[str, int]] = {  # what the presets of several experiments have in common
    "smoke": {"seeds": 1, "rounds": 2, "steps": 2, "batch_size": 20, "team_rounds": 2},
    "laptop": {"seeds": 3, "rounds": 60, "steps": 20, "batch_size": 20, "team_rounds": 10},
    "paper": {"seeds": 10, "rounds": 400, "steps": 20, "batch_size": 124, "team_rounds": 10},
}


def run(data_dir: str | None, *, kinds: Sequence[str], **how: Any) -> dict[str, Any]:
    """Train as PerMFL's experiments do, and score.

    Args:
      data_dir: folder of the data files.
      kinds: which models are scored: ``"personal"`` (the client's last, PM), ``"team"``, ``"global"`` (GM).
      **how: as :func:`configure`.

    Returns:
      ``accuracy`` (kind -> scored_round -> pooled over clients), ``validation`` (kind -> the last round's), ``curve``
      (kind -> one number per evaluation), ``client_steps``, ``team_sent`` (team-to-server messages, 0 without teams),
      ``seconds``, ``clients``, ``teams`` (their sizes).
    """
    experiment = prepare(configure(**how), data_dir)
    summary, history = execute(experiment)
    sizes = experiment.data.sizes["test"]  # PM and GM pool the test examples of all clients
    return {
        "accuracy": {kind: accuracies(history, kind, sizes) for kind in kinds},
        "validation": {kind: curve(history, kind, experiment.data.sizes["val"], "val")[-1] for kind in kinds},
        "curve": {kind: curve(history, kind, sizes) for kind in kinds},
        "client_steps": int(history.rounds["steps"].sum(dtype=np.int64)),
        "team_sent": int(history.rounds.get("team_sent", np.zeros(1, int)).sum(dtype=np.int64)),
        "seconds": summary["wall_seconds"],
        "clients": int(experiment.data.num_clients),
        "teams": [] if experiment.team_of is None else np.bincount(experiment.team_of).tolist(),
    }


def majority(data_dir: str | None, *, kinds: Sequence[str], **how: Any) -> dict[str, Any]:
    """As :func:`run`, of the rule that says each client's most frequent training label, whatever the input."""
    data = load_clients(configure(**how), data_dir)
    usual = label_counts(data).argmax(1)
    share = {}
    for split in ("val", "test"):
        hits = [(data.labels[data.rows(c, split)] == label).sum() for c, label in enumerate(usual)]
        share[split] = float(sum(hits) / data.sizes[split].sum())
    return {
        "accuracy": {kind: {"last": share["test"]} for kind in kinds},
        "validation": dict.fromkeys(kinds, share["val"]),
        "client_steps": 0,
    }


def configure(
    *,
    data: str,
    model: str,
    seed: int,
    algorithm: str,
    options: dict[str, Any],
    rounds: int,
    steps: int,
    batch_size: int,
    **changes: Any,
) -> RunConfig:
    """A run of PerMFL's experiments: plain SGD at 0.01, all clients, uniform means.

    Args:
      data: a key of ``DATASETS``.
      model: a key of ``MODELS``.
      seed: of start, partition, split and batches.
      algorithm: registry name.
      options: its options.
      rounds: T.
      steps: L.
      batch_size: examples per step.
      **changes: other fields of the config; ``data_options`` are added to those of the data set.
    """
    where = DATASETS[data]
    network = MODELS[model]
    if model == "dnn" and data in HIDDEN:
        network = network | {"model_options": {"hidden": HIDDEN[data]}}
    data_options = where["data_options"] | SPLIT | {"split_seed": seed} | changes.pop("data_options", {})
    fields = {
        **where,
        **network,
        "clients": 40,
        "learning_rate": 0.01,
        "momentum": 0.0,
        "weighting": "uniform",
        "client_width": "10",
        "eval_every": max(1, rounds // EVALUATIONS),
        **changes,
    }
    return RunConfig(
        algorithm=algorithm,
        algorithm_options=options,
        rounds=rounds,
        steps=steps,
        batch_size=batch_size,
        seed=seed,
        **fields | {"data_options": data_options},
    )


def curve(history: History, kind: str, sizes: np.ndarray, split: str = "test") -> list[float]:
    """Accuracy pooled over clients ``[C]`` with so many examples of the split, at each evaluation."""
    per_device = history.evaluations[f"{_moment(kind)}/{split}/accuracy"]
    scored = np.isfinite(per_device)
    weights = np.where(scored, sizes, 0)
    return ((np.where(scored, per_device, 0) * weights).sum(1) / np.maximum(weights.sum(1), 1)).tolist()


def accuracies(history: History, kind: str, sizes: np.ndarray) -> dict[str, float | None]:
    """Pooled test accuracy after the last round, at each client's best round by validation loss, and at its highest.

    The last is what the released code reports: the round is picked by the score itself, on the test examples.
    """
    found: dict[str, float | None] = {}
    for scored_round in ("last", "best"):
        scores = scores_of(history, _moment(kind), scored_round, sizes)
        found[scored_round] = None if scores is None else scores["accuracy"]["weighted"]
    found["highest"] = max(curve(history, kind, sizes))
    return found


def _moment(kind: str) -> str:
    return "served" if kind == "personal" else kind
