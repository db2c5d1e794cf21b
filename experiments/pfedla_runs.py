"""What pFedLA's experiments do: from a cell of a table to clients' mean accuracy before and after local training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.pfedla_methods import CLUSTERS, DATASETS, MODELS, OF_CIFAR100, SPLITS, WITHIN
from fedjax_layers.engine.history.history import History
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.summary import exchanged_bytes, scores_of
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import Experiment, prepare
from fedjax_layers.experiment.statistics import paired_difference

EVALUATIONS = 10  # per run
SIZES: dict[str, dict[str, Any]] = {  # what the presets of several experiments have in common
    "smoke": {"seeds": 1, "rounds": 2, "epochs": 1, "batch_size": 16, "learning_rate": 0.05, "client_size": 60},
    "laptop": {"seeds": 3, "rounds": 30, "epochs": 1, "batch_size": 16, "learning_rate": 0.05, "client_size": 400},
    "paper": {"seeds": 5, "rounds": 100, "epochs": 10, "batch_size": 32, "learning_rate": 0.01, "client_size": None},
}
EVALUATED_MODELS = ("served", "trained")


def run(data_dir: str | None, **how: Any) -> dict[str, Any]:
    """Train and score.

    Args:
      data_dir: folder of the data files.
      **how: as :func:`config_of`.

    Returns:
      ``accuracy`` (scored_model -> scored_round -> mean over clients), ``validation`` (scored_model -> the last
      round's mean), ``curve`` (scored_model -> one number per evaluation), ``steps``, ``bytes`` (up, down),
      ``seconds``, ``examples`` (training, of all clients), and of methods that mix ``self_weight`` and
      ``from_uniform`` (the first and the last round's, by group of layers).
    """
    experiment, history, seconds = train(data_dir, **how)
    return {**_scores(experiment, history), "seconds": seconds}


def train(data_dir: str | None, **how: Any) -> tuple[Experiment, History, float]:
    """Train; returns the run, its history and its seconds.

    Args:
      data_dir: folder of the data files.
      **how: as :func:`config_of`.
    """
    experiment = prepare(config_of(**how), data_dir)
    summary, history = execute(experiment)
    return experiment, history, summary["wall_seconds"]


def config_of(
    *,
    data: str,
    split: str,
    clients: int,
    seed: int,
    algorithm: str,
    options: Mapping[str, Any],
    model: str,
    client_size: int | None,
    rounds: int,
    **changes: Any,
) -> RunConfig:
    """A run of pFedLA's experiments: plain SGD, one common start.

    Args:
      data: a key of ``DATASETS``.
      split: a key of ``SPLITS``.
      clients: C.
      seed: of start, partition, split and batches.
      algorithm: registry name.
      options: its options.
      model: a key of ``MODELS``.
      client_size: examples per client; ``None``: as many as there are.
      rounds: T.
      **changes: other fields of the config: ``learning_rate``, ``batch_size``, ``epochs``, ``cohort``.
    """
    partition, dealt = SPLITS[split]
    dealt = OF_CIFAR100[split] if data == "cifar100" else dealt
    if client_size is not None:
        dealt = dealt | ({"limit": clients * client_size} if split == CLUSTERS else {"client_size": client_size})
    fields = {
        **DATASETS[data],
        **MODELS[model],
        "momentum": 0.0,
        "eval_every": max(1, rounds // EVALUATIONS),
        "client_width": "1",
        **changes,
    }
    return RunConfig(
        algorithm=algorithm,
        algorithm_options=options,
        partition=partition,
        clients=clients,
        data_options={**dealt, **WITHIN, "split_seed": seed},
        rounds=rounds,
        seed=seed,
        **fields,
    )


def _scores(experiment: Experiment, history: History) -> dict[str, Any]:
    ones = np.ones(experiment.data.num_clients)
    accuracy = {m: {s: _mean(scores_of(history, m, s, ones)) for s in ("last", "best")} for m in EVALUATED_MODELS}
    scored = {
        split: {m: np.nanmean(history.evaluations[f"{m}/{split}/accuracy"], axis=1).tolist() for m in EVALUATED_MODELS}
        for split in ("val", "test")
    }
    weights = {k: history.rounds[k].tolist() for k in ("self_weight", "from_uniform") if k in history.rounds}
    return {
        "accuracy": accuracy,
        "validation": {m: curve[-1] for m, curve in scored["val"].items()},
        "curve": scored["test"],
        "steps": int(history.rounds["steps"].sum(dtype=np.int64)),
        "bytes": exchanged_bytes(history, experiment.plan.task.layers),
        "examples": int(experiment.data.sizes["train"].sum()),
        **{k: [v[0], v[-1]] for k, v in weights.items()},
    }


def _mean(scores: Mapping[str, Any] | None) -> float | None:
    return None if scores is None else scores["accuracy"]["mean"]


def points_against(rows: Sequence[Mapping[str, Any]], ours: str, other: str, scored_model: str) -> str:
    """Paired difference in accuracy points over the seeds that both methods have, with its 95 % interval."""

    def of(method: str) -> dict[int, float]:
        return {r["seed"]: r["accuracy"][scored_model]["last"] for r in rows if r["method"] == method}

    a, b = of(ours), of(other)
    seeds = sorted(a.keys() & b.keys())
    if not seeds:
        return "–"
    d = paired_difference(np.array([a[s] for s in seeds]), np.array([b[s] for s in seeds]))
    if len(seeds) == 1:
        return f"{100 * d.mean:+.1f}"
    return f"{100 * d.mean:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}]"
