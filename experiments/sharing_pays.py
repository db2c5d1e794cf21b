"""Does it pay to keep the last layers with the clients? One situation in which it should, one in which it should not.

    python -m experiments.sharing_pays --preset laptop

Digits, a small network, all clients in every round. In the situation ``two_meanings`` half of the clients call the
classes otherwise (each swaps its labels by a permutation of its own), and nobody has many examples: what a picture
looks like is common, what it is called is not. In ``three_classes`` each client has examples of three classes alone: a
task so easy that nobody needs the others. Stated in advance: it pays where the 95 % interval of the paired difference
of mean macro-F1 lies above the margin of 0.02, against FedAvg and against local training both. Every algorithm has the
step size, of the same four, that is best by its own validation score over all seeds; the test score is never looked at
for that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.harness import run_cells
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import prepare
from fedjax_layers.experiment.statistics import paired_difference

MARGIN = 0.02
ALGORITHMS = ("local", "fedavg", "fedper", "player_fl")
SITUATIONS: dict[str, dict[str, Any]] = {
    "two_meanings": {"partition": "iid", "clients": 30, "drift": ("class_swap@1:0.5",)},
    "three_classes": {"partition": "classes_per_client", "data_options": {"classes": 3}, "clients": 20},
}
PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": 1, "rates": (0.05,), "rounds": 2},
    "laptop": {"seeds": 10, "rates": (0.02, 0.05, 0.1, 0.2), "rounds": 60},
    "paper": {"seeds": 20, "rates": (0.02, 0.05, 0.1, 0.2), "rounds": 200},
}


def cells(preset: dict[str, Any]) -> Iterable[tuple[dict[str, Any], dict[str, Any]]]:
    """Every situation with every algorithm and step size."""
    for situation in SITUATIONS:
        for algorithm in ALGORITHMS:
            for rate in preset["rates"]:
                key = {"situation": situation, "algorithm": algorithm, "learning_rate": rate}
                yield key, dict(key)


def run(
    data_dir: str | None, *, situation: str, algorithm: str, learning_rate: float, rounds: int, seed: int
) -> Mapping[str, Any]:
    """One run's mean macro-F1 over clients, of validation and test, at each client's best round by validation loss."""
    config = RunConfig(
        algorithm,
        dataset="digits",
        model="mlp",
        model_options={"hidden": (64, 32)},
        learning_rate=learning_rate,
        rounds=rounds,
        eval_every=max(1, rounds // 6),
        seed=seed,
        client_width="all",
        **SITUATIONS[situation],
    )
    _, history = execute(prepare(config, data_dir))
    found = {}
    for split in ("val", "test"):
        scores = history.scores("trained", "best", split)
        assert scores is not None
        found[split] = float(np.nanmean(scores["macro_f1"]))
    return found


def tables(rows: Sequence[Mapping[str, Any]], preset: Mapping[str, Any]) -> str:
    """For each situation the scores at the best step sizes, and what is decided."""
    lines = []
    for situation in SITUATIONS:
        own = {a: _best([r for r in rows if (r["situation"], r["algorithm"]) == (situation, a)]) for a in ALGORITHMS}
        lines += [f"\n{situation}\n", "| algorithm | step size | macro-F1 | minus FedAvg | minus Local | it pays |"]
        lines.append("|---|---|---|---|---|---|")
        for algorithm, best in own.items():
            found = [r["test"] for r in best]
            gaps = [paired_difference(found, [r["test"] for r in own[other]]) for other in ("fedavg", "local")]
            told = [f"{g.mean:+.3f} [{g.low:+.3f}, {g.high:+.3f}]" for g in gaps]
            told.append(_verdict([(g.low, g.high) for g in gaps], len(found)))
            beside = ["–"] * 3 if algorithm in ("local", "fedavg") else told
            shown = [algorithm, f"{best[0]['learning_rate']:g}", f"{np.mean(found):.3f}", *beside]
            lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines)


def _best(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows of the step size with the best mean validation score, by seed."""
    rates = sorted({r["learning_rate"] for r in rows})
    best = max(rates, key=lambda rate: np.mean([r["val"] for r in rows if r["learning_rate"] == rate]))
    return sorted((r for r in rows if r["learning_rate"] == best), key=lambda r: r["seed"])


def _verdict(intervals: Sequence[tuple[float, float]], seeds: int) -> str:
    if seeds < 10:
        return "undecided: fewer than 10 seeds"
    if all(low > MARGIN for low, _ in intervals):
        return "yes"
    return "no" if any(high < MARGIN for _, high in intervals) else "undecided"


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    run_cells("sharing_pays", __doc__, argv, PRESETS, cells, run, tables)


if __name__ == "__main__":
    main(sys.argv[1:])
