"""What FedTLU's experiments do: from a cell of a table to perplexities, and to the blocks that were updated."""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_layers.engine.evaluation.evaluate import evaluate
from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.intervals import common_start
from fedjax_layers.engine.sampling import uniform
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.experiment.records.saved_models import MODEL_FILE
from fedjax_layers.experiment.records.summary import exchanged_bytes, pooled_scores
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import Experiment, prepare
from fedjax_layers.experiment.statistics import paired_difference

RESERVE = 0.3  # of the documents, for the start; the same in runs from scratch, lest they have more data
DATASETS: dict[str, dict[str, Any]] = {
    # Words of five genres; the official test part is the global test set.
    "UD English": {
        "dataset": "ud_english_ewt",
        "data_options": {"target": "tokens", "split": "all", "global_test": "official", "length": 32},
    },
    # Characters; speeches in ten clusters of words, since they have no genre.
    "Shakespeare": {
        "dataset": "tiny_shakespeare",
        "data_options": {"tokens": "char", "topics": 10, "global_test": 0.1, "length": 64},
    },
}
VOCABULARY = {"UD English": 2_000}
RATES = {"pretrained": 1e-3, "scratch": 3e-3}  # the full update's best on validation, see fedtlu_lm, part "tuning"
MODEL = {"layers": 6, "width": 32, "heads": 4}
SIZES: dict[str, dict[str, Any]] = {  # what the presets of several experiments have in common
    "smoke": {
        "seeds": 1,
        "rounds": 2,
        "batch_size": 16,
        "clients": 6,
        "cohort": 3,
        "pretraining": 1,
        "small": True,
        "model_options": {"layers": 2, "width": 16, "heads": 2},
    },
    "laptop": {"seeds": 3, "rounds": 40, "batch_size": 16, "clients": 100, "cohort": 10, "pretraining": 8},
    "paper": {
        "seeds": 5,
        "rounds": 150,
        "batch_size": 32,
        "clients": 100,
        "cohort": 10,
        "pretraining": 30,
        "model_options": {"layers": 6, "width": 512, "heads": 8},
    },
}
SHARED = ("clients", "cohort", "pretraining", "small", "model_options")
MEASURES = ("global", "local")
EVALUATIONS = 5  # per run


def common(preset: Mapping[str, Any]) -> dict[str, Any]:
    """Of a preset, what every run of it gets beside the harness's own fields."""
    return {name: preset[name] for name in SHARED if name in preset}


def run(data_dir: str | None, *, quality: bool = False, **how: Any) -> dict[str, Any]:
    """Train and score.

    Args:
      data_dir: folder of the data files.
      quality: cohorts come from the half of the clients on whose examples the start has the lower loss.
      **how: as :func:`config_of`.

    Returns:
      ``global`` and ``local`` perplexity of the last round's global model (the set of no client; all clients' own
      test examples together), ``curve`` of both, ``validation`` perplexity, ``frequency`` of each block's updates,
      ``overlap`` and ``rank_correlation`` of neighbouring rounds, ``scores`` (mean over rounds, by block), ``blocks``,
      ``bytes`` (up, down), ``steps`` and ``seconds``.
    """
    experiment = prepare(config_of(data_dir, **how), data_dir)
    if quality:
        half = uniform(experiment.config.cohort or 1, experiment.data.num_clients, better_half(experiment))
        experiment = experiment._replace(inputs=experiment.inputs._replace(sampling=half))
    summary, history = execute(experiment)
    chosen = _selection(experiment, summary, history)
    return {**_scores(experiment, history), **chosen, "seconds": summary["wall_seconds"]}


def config_of(
    data_dir: str | None,
    *,
    data: str,
    start: str,
    seed: int,
    algorithm: str,
    options: Mapping[str, Any],
    rounds: int,
    clients: int,
    pretraining: int,
    alpha: float = 0.1,
    partition: str = "dirichlet_balanced",
    small: bool = False,
    model_options: Mapping[str, Any] = MODEL,
    **changes: Any,
) -> RunConfig:
    """A run of FedTLU's experiments: Adam on a transformer, each client with its own mix of genres or topics.

    Args:
      data_dir: folder of the data files.
      data: a key of ``DATASETS``.
      start: ``"pretrained"`` or ``"scratch"``.
      seed: of partition, split, cohorts and batches, and of a start from scratch; the pre-trained one is the same.
      algorithm: registry name.
      options: its options.
      rounds: T.
      clients: C.
      pretraining: epochs of the pre-trained start.
      alpha: of the mixes.
      partition: who owns what; by default clients of one size, so that seeds share their compiled programs.
      small: a part of the examples, for the smoke preset.
      model_options: of the transformer.
      **changes: other fields of the config.
    """
    chosen = _data_of(data, small)
    fields = {
        "dataset": chosen["dataset"],
        "optimizer": "adam",
        "learning_rate": RATES[start],
        "eval_every": max(1, rounds // EVALUATIONS),
        "scored_model": "served",
        "evaluated_models": "served",
        "scored_round": "last",
        "client_width": "1",
        **changes,
    }
    if start == "pretrained":
        fields["init_from"] = _pretrained(data_dir, data, small, tuple(sorted(model_options.items())), pretraining)
    return RunConfig(
        algorithm=algorithm,
        algorithm_options=options,
        partition=partition,
        clients=clients,
        data_options={**chosen["data_options"], "reserve": RESERVE, "alpha": alpha},
        model="transformer",
        model_options=model_options,
        rounds=rounds,
        seed=seed,
        **fields,
    )


def better_half(experiment: Experiment) -> np.ndarray:
    """Ids of the clients on whose training examples the start has the lower loss: an estimate of their quality."""
    task, source = experiment.plan.task, experiment.inputs.device_data.at(0)
    train, largest = source.split("train")
    start = common_start(task, experiment.inputs)
    scores, _ = evaluate(task, start, source.pool, train, stacked=False, largest=largest, axis=experiment.axis.axis)
    order = np.argsort(np.asarray(scores["loss"]), kind="stable")
    return np.sort(order[: math.ceil(len(order) / 2)])


def _data_of(data: str, small: bool) -> dict[str, Any]:
    chosen = DATASETS[data]
    more: dict[str, Any] = {"vocabulary": VOCABULARY[data]} if data in VOCABULARY else {}
    if small:
        part = {"limit": 600, "length": 16, "split": "train", "global_test": 0.1}
        more |= part if data == "UD English" else {"limit": 300}
    return {**chosen, "data_options": {**chosen["data_options"], **more}}


@functools.cache
def _pretrained(data_dir: str | None, data: str, small: bool, model_options: Any, epochs: int) -> str:
    """The file of a model that was trained centrally on the reserve; made once per process."""
    chosen = _data_of(data, small)
    config = RunConfig(
        algorithm="fedavg",
        dataset=chosen["dataset"],
        data_options={k: v for k, v in chosen["data_options"].items() if k != "global_test"}
        | {"reserve": RESERVE, "reserved": True},
        partition="iid",
        clients=1,
        model="transformer",
        model_options=dict(model_options),
        optimizer="adam",
        learning_rate=3e-3,
        keep_optimizer=True,
        batch_size=16,
        rounds=epochs,
        patience=2,
        seed=0,
        save_model=True,
        client_width="1",
        scored_model="served",
        evaluated_models="served",
    )
    folder = Path(tempfile.mkdtemp(prefix="fedtlu-")) / "start"
    execute(prepare(config, data_dir), RunDirectory.create(folder, config))
    return str(folder / MODEL_FILE)


def _scores(experiment: Experiment, history: History) -> dict[str, Any]:
    evaluations = history.evaluations
    validation = evaluations["served/val/loss"][-1]
    weight = np.where(np.isnan(validation), 0, experiment.data.sizes["val"])
    sets = {"global": "global_test", "local": "test"}
    found = {measure: pooled_scores(history, examples) for measure, examples in sets.items()}
    return {
        **{measure: None if scores is None else scores["perplexity"] for measure, scores in found.items()},
        "curve": {m: evaluations[f"pooled/{examples}/perplexity"].tolist() for m, examples in sets.items()},
        "validation": float(np.exp(np.average(np.nan_to_num(validation), weights=weight))),
        "steps": int(history.rounds["steps"].sum(dtype=np.int64)),
        "bytes": exchanged_bytes(history, experiment.plan.task.layers),
    }


def _selection(experiment: Experiment, summary: Mapping[str, Any], history: History) -> dict[str, Any]:
    if summary.get("updated_blocks") is None:
        return {}
    scores = history.rounds["block_scores"]
    scored = scores[np.isfinite(scores).all(1)]
    return {
        **summary["updated_blocks"],
        "blocks": experiment.plan.task.layers.block_names,
        "scores": scored.mean(0).tolist() if len(scored) else None,
    }


def of(rows: Sequence[Mapping[str, Any]], measure: str, **key: Any) -> dict[int, float]:
    """Seed to number, of the rows with these keys."""
    return {r["seed"]: r[measure] for r in rows if all(r.get(k) == v for k, v in key.items())}


def plain(values: Mapping[int, float]) -> str:
    """Mean and standard deviation over seeds."""
    there = [v for v in values.values() if v is not None]
    if not there:
        return "–"
    return f"{np.mean(there):.2f} ± {np.std(there, ddof=1):.2f}" if len(there) > 1 else f"{there[0]:.2f}"


def gain(ours: Mapping[int, float], other: Mapping[int, float]) -> str:
    """How much lower our perplexity is, per cent of the other's, over the seeds of both, with its 95 % interval."""
    seeds = sorted(ours.keys() & other.keys())
    if not seeds:
        return "–"
    relative = np.array([100 * (other[s] - ours[s]) / other[s] for s in seeds])
    d = paired_difference(relative, np.zeros(len(seeds)))
    return f"{d.mean:+.2f} %" if len(seeds) == 1 else f"{d.mean:+.2f} % [{d.low:+.2f}, {d.high:+.2f}]"
