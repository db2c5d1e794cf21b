"""The contents of ``summary.json``, ``clients.npz`` and ``rounds.jsonl``, made from a history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fedjax_layers.data import ClientData
from fedjax_layers.engine.evaluation.score_names import (
    ATTACK_SUCCESS,
    EVALUATED_MODELS,
    HEADLINES,
    SCORED_ROUNDS,
    headline,
    scores_under,
)
from fedjax_layers.engine.history.client_statistics import fairness_variance, summarise
from fedjax_layers.engine.history.files import HistoryFiles
from fedjax_layers.engine.history.history import History
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.storage import reading
from fedjax_layers.types import LayerMap

_SCALAR_BYTES = 4  # layer scores are sent as float32


def scores_of(
    history: History,
    scored_model: str,
    scored_round: str,
    sizes: np.ndarray,
    unseen: np.ndarray | None = None,
    split: str = "test",
    attackers: np.ndarray | None = None,
) -> dict[str, Any] | None:
    """Summarise each score over clients: mean, example-weighted mean, std, min, 10th percentile, number of clients.

    Args:
      history: the run's history.
      scored_model: ``served``, ``trained``, ``team`` or ``global``.
      scored_round: ``last`` or ``best``.
      sizes: ``[C]`` weights of the weighted mean, the clients' numbers of training examples.
      unseen: ``[C]`` bool, clients that are left out; ``None`` leaves out none.
      split: ``test`` or ``val``.
      attackers: ``[C]`` bool, clients that attack, which are left out of the success of their own attack.

    Returns:
      Summaries by metric; ``None`` where the run has no such model.
    """
    per_client = history.scores(scored_model, scored_round, split)
    if per_client is None:
        return None
    counted = {metric: _counted(metric, values, unseen, attackers) for metric, values in per_client.items()}
    return {metric: summarise(values, sizes) for metric, values in counted.items()}


def _counted(metric: str, values: np.ndarray, unseen: np.ndarray | None, attackers: np.ndarray | None) -> np.ndarray:
    """Put NaN in place of the values ``[C]`` of clients that do not count."""
    left_out = np.zeros(len(values), bool) if unseen is None else unseen
    if metric == ATTACK_SUCCESS and attackers is not None:
        left_out = left_out | attackers
    return np.where(left_out, np.nan, values)


def exchanged_bytes(history: History, layers: LayerMap) -> tuple[int, int]:
    """Count the bytes uploaded and downloaded by all clients in all rounds, exactly: transfers of layers times bytes.

    The first download of the common start is not counted, since it is the same for every algorithm.
    """
    up, down = (sum(layer_bytes(history, layers, name)) for name in ("sent", "received"))
    return up + _SCALAR_BYTES * int(history.rounds["sent_scalars"].sum(dtype=np.int64)), down


def layer_bytes(history: History, layers: LayerMap, name: str) -> list[int]:
    """Count the bytes of each layer ``[L]`` that all clients together have ``sent`` or ``received`` in all rounds."""
    moved = history.rounds[name].sum(0, dtype=np.int64)
    return [int(n) * int(b) for n, b in zip(moved, layers.bytes, strict=True)]


def round_bytes(rounds: Mapping[str, np.ndarray], summary: Mapping[str, Any]) -> np.ndarray:
    """Count the bytes ``[R]`` that all clients together sent and received in each round.

    Args:
      rounds: the records of the history's rounds, ``[R, ...]``.
      summary: the summary of the same run, which has the bytes of all rounds by layer.
    """
    total = np.zeros(len(rounds["sent"]), np.int64)
    for name, by_layer in (("sent", "layer_bytes_up"), ("received", "layer_bytes_down")):
        moved = rounds[name].astype(np.int64)
        size = np.asarray(summary[by_layer], np.int64) // np.maximum(moved.sum(0), 1)
        total += moved @ size
    return np.asarray(total + _SCALAR_BYTES * rounds["sent_scalars"].astype(np.int64))


def summarise_run(
    history: History,
    *,
    algorithm: str,
    dataset: str,
    seed: int,
    layers: LayerMap,
    sizes: np.ndarray,
    scored_model: str,
    scored_round: str,
    timing: dict[str, float | int],
    unseen: np.ndarray | None = None,
    team_of: np.ndarray | None = None,
    attackers: np.ndarray | None = None,
) -> dict[str, Any]:
    """Make the content of ``summary.json``, in which clients that never took part (``unseen [C]``) do not count.

    ``team_of [C]`` is each client's team, for an algorithm with teams; ``attackers [C]`` as in :func:`scores_of`.

    ``personal`` is scored at ``scored_model`` and ``scored_round``, named beside it; ``by_model_and_round`` holds the
    means of all four combinations, each with its number of clients ``n``. The global model's scores are all of one
    round, ``global_round``, and the teams' of ``team_round``. ``fairness_variance`` is the population variance over
    clients of the score that :func:`fedjax_layers.engine.evaluation.score_names.headline` names.
    """
    personal = history.scores(scored_model, scored_round)
    if personal is not None and unseen is not None:
        personal = {metric: np.where(unseen, np.nan, values) for metric, values in personal.items()}
    up, down = exchanged_bytes(history, layers)
    rounds = history.rounds
    last_shared = [name for name, n in zip(layers.names, rounds["sent"][-1], strict=True) if n > 0]
    return {
        "algorithm": algorithm,
        "dataset": dataset,
        "seed": seed,
        "clients": len(sizes),
        "rounds": history.rounds_done,
        "layers": list(layers.names),
        "shared_layers": last_shared,
        "num_shared_layers": len(last_shared),
        "scored_model": scored_model,
        "scored_round": scored_round,
        "personal": scores_of(history, scored_model, scored_round, sizes, unseen, attackers=attackers),
        "global": scores_of(history, "global", scored_round, sizes, unseen, attackers=attackers),
        "pooled": pooled_scores(history, "test", scored_round),
        "global_test": pooled_scores(history, "global_test", scored_round),
        "global_round": history.round_of("global", scored_round),
        "team": scores_of(history, "team", scored_round, sizes, unseen, attackers=attackers),
        "team_round": history.round_of("team", scored_round),
        "teams": None if team_of is None else int(team_of.max()) + 1,
        "team_sizes": None if team_of is None else np.bincount(team_of).tolist(),
        "by_model_and_round": {
            f"{m}/{s}": {k: v["mean"] for k, v in scores.items()} | {"n": scores["loss"]["n"]}
            for m in EVALUATED_MODELS
            for s in SCORED_ROUNDS
            if (scores := scores_of(history, m, s, sizes, unseen, attackers=attackers)) is not None
        },
        "fairness_variance": None if personal is None else fairness_variance(personal[headline(personal)]),
        "incentive": None,
        "bytes_up": up,
        "bytes_down": down,
        "layer_bytes_up": layer_bytes(history, layers, "sent"),
        "layer_bytes_down": layer_bytes(history, layers, "received"),
        **timing,
    }


def pooled_scores(history: History, examples: str, scored_round: str = "last") -> dict[str, float] | None:
    """Return the global model's scores of one round on one set of examples.

    Args:
      history: the run's history.
      examples: ``test``, the test examples of all clients that took part together, or ``global_test``, examples that
        belong to no client.
      scored_round: the round: ``last``, or ``best`` by validation loss over all clients.
    """
    evaluations = history.evaluations
    names = scores_under(f"pooled/{examples}", evaluations)
    if not names:
        return None
    row = history.row_of("global", scored_round)
    return {metric: float(evaluations[name][row]) for metric, name in names.items()}


def client_arrays(history: History) -> dict[str, np.ndarray]:
    """Make the content of ``clients.npz``: each score of every model, round and split, ``[C]``; by class ``[C, S]``."""
    arrays: dict[str, np.ndarray] = {}
    for scored_model in (*EVALUATED_MODELS, "team", "global"):
        for scored_round in SCORED_ROUNDS:
            for split in ("val", "test"):
                scores = history.scores(scored_model, scored_round, split)
                if scores is not None:
                    arrays |= {f"{scored_model}/{scored_round}/{split}/{m}": values for m, values in scores.items()}
            by_class = history.class_scores(scored_model, scored_round)
            arrays |= {f"{scored_model}/{scored_round}/test/{m}": values for m, values in by_class.items()}
    return arrays


def client_facts(
    clients: ClientData, team_of: np.ndarray | None = None, attackers: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Describe the rows of ``clients.npz``, ``[C]`` each.

    They are ``client_names``, ``{split}_examples``, and where there are any ``team_of`` and ``attacks``. A client
    without a name has its number as text.
    """
    names = clients.client_names or tuple(str(c) for c in range(clients.num_clients))
    sizes = {f"{split}_examples": np.asarray(count, np.int64) for split, count in clients.sizes.items()}
    facts = {"client_names": np.array(names, np.str_)} | sizes
    known = {"team_of": team_of, "attacks": attackers}
    return facts | {name: x for name, x in known.items() if x is not None}


def round_record(
    history: History, unseen: np.ndarray | None = None, attackers: np.ndarray | None = None
) -> dict[str, Any]:
    """Make a line of ``rounds.jsonl``: the last evaluation, means over ``{scored_model}/n`` clients, and training loss.

    Clients that never took part (``unseen [C]``) are left out, and ``attackers [C]`` as in :func:`scores_of`.
    """
    return _record(history.latest, history.rounds, unseen, attackers)


def round_records(
    files: HistoryFiles, unseen: np.ndarray | None = None, attackers: np.ndarray | None = None
) -> Iterator[dict[str, Any]]:
    """Make all lines of ``rounds.jsonl`` from the stored history, see :func:`round_record`."""
    rounds, facts, number = files.rounds(), files.evaluations(), 0
    for block in files.clients():
        for i in range(len(next(iter(block.values())))):
            row = {name: x[number] for name, x in facts.items()} | {name: x[i] for name, x in block.items()}
            number += 1
            if not row["finished"]:
                yield _record(row, rounds, unseen, attackers)
    if number < len(facts.get("round", ())):
        raise ValueError(f"clients' scores of {number} evaluations, fewer than the evaluations")


def rebuild_rounds(
    directory: RunDirectory, rounds: int, unseen: np.ndarray | None, attackers: np.ndarray | None
) -> None:
    """Write the lines of ``rounds.jsonl`` of a run that has ended anew, where they are not those of its history.

    Args:
      directory: of the run.
      rounds: number of rounds of the run, the last of which was evaluated.
      unseen: ``[C]`` as for :func:`round_record`.
      attackers: ``[C]`` likewise.

    Raises:
      StorageError: the history is damaged, or the file cannot be written.
    """
    with reading(directory.history):
        records = list(round_records(HistoryFiles(directory.history), unseen, attackers))
        if not records or records[-1]["round"] != rounds:
            raise ValueError(f"records of fewer than the {rounds} rounds")
    directory.restore_rounds(records)


def _record(
    evaluation: Mapping[str, np.ndarray],
    rounds: Mapping[str, np.ndarray],
    unseen: np.ndarray | None,
    attackers: np.ndarray | None,
) -> dict[str, Any]:
    done = int(evaluation["round"])
    record: dict[str, Any] = {"round": done, "train_loss": float(rounds["loss"][done - 1])}
    record["participants"] = int(rounds["participants"][done - 1])
    record["nonfinite"] = int(rounds["nonfinite"][done - 1])
    if "dropped" in rounds:
        record["dropped"] = int(rounds["dropped"][done - 1])
    for scored_model in EVALUATED_MODELS:
        for name in ("val/loss", *(f"test/{metric}" for metric in ("loss", "accuracy", *HEADLINES, ATTACK_SUCCESS))):
            if (found := evaluation.get(f"{scored_model}/{name}")) is None:
                continue
            values = _counted(name.removeprefix("test/"), found, unseen, attackers)
            if np.isfinite(values).any():
                record[f"{scored_model}/{name}"] = float(np.nanmean(values))
                if name == "test/loss":
                    record[f"{scored_model}/n"] = int((~np.isnan(values)).sum())
    record["num_shared_layers"] = int((rounds["sent"][done - 1] > 0).sum())
    return record
