"""Every method on four real data sets, each with the same small tuning budget on validation data.

    python -m experiments.competitors --preset laptop --data-dir DATA

Question: with equal tuning, which methods are better for the mean client than local training and FedAvg? Each method
has its own options at their defaults and the step size, of the same three, with the best mean validation macro-F1 over
the seeds; the test score is never looked at for that. Stated in advance: better means that the 95 % interval of the
paired difference of mean test macro-F1 lies above 0.01; with five seeds, fewer than the ten of a claim, the verdict is
"undecided" whatever the interval is. Scores are of the models after local training, of each client's best round by
validation loss.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.harness import run_grid
from fedjax_layers.algorithms import registry
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.statistics import paired_difference, ranks
from fedjax_layers.sweeps.configs import SweptRun

LEFT_OUT = ("fedbn", "fixed_sharing")  # FedAvg in a network without batch normalisation; needs names of layers
TEAMS = ("permfl", "hsgd", "al2gd")
COMBINED = ("player_fl+fedprox", "player_fl+ditto", "player_fl+scaffold", "fedtlu+ditto")
METHODS = (*(name for name in registry if name not in LEFT_OUT), *COMBINED)
DATA: dict[str, dict[str, Any]] = {
    "heart": {"dataset": "heart", "batch_size": 32},
    "digits": {
        "dataset": "digits",
        "partition": "dirichlet",
        "data_options": {"alpha": 0.3},
        "clients": 10,
        "model": "mlp",
        "model_options": {"hidden": (64, 32)},
        "batch_size": 32,
    },
    "uci_har": {"dataset": "uci_har", "model": "mlp", "model_options": {"hidden": (64, 32)}, "batch_size": 64},
    "fashion_mnist": {
        "dataset": "fashion_mnist",
        "partition": "dirichlet",
        "data_options": {"limit": 2000, "alpha": 0.5},
        "clients": 5,
        "model_options": {"width": 0.125},
        "batch_size": 64,
    },
}
SCORES = ("personal/val/macro_f1", "personal/test/macro_f1", "bytes_up")
PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1,
        "rounds": {"heart": 2},
        "rates": (0.1,),
        "methods": ("local", "fedavg", "scaffold", "player_fl+ditto", "fedsa_lora"),
    },
    "laptop": {
        "seeds": 5,
        "rounds": {"heart": 20, "digits": 30, "uci_har": 15, "fashion_mnist": 15},
        "rates": (0.02, 0.1, 0.5),
        "methods": METHODS,
    },
    "paper": {
        "seeds": 20,
        "rounds": {"heart": 50, "digits": 100, "uci_har": 50, "fashion_mnist": 50},
        "rates": (0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
        "methods": METHODS,
    },
}
MARGIN, CLAIM = 0.01, 10


def main(argv: Sequence[str] | None = None) -> None:
    """Run the preset, write rows, print the tables."""
    run_grid("competitors", __doc__, argv, PRESETS, _runs, SCORES, tables)


def _runs(preset: dict[str, Any]) -> list[SweptRun]:
    runs: list[SweptRun] = []
    for data, rounds in preset["rounds"].items():
        for method in preset["methods"]:
            for seed in range(preset["seeds"]):
                for rate in preset["rates"]:
                    setting = {"data": data, "method": method, "learning_rate": rate}
                    runs.append(SweptRun(len(runs), setting, seed, _config(data, method, rate, rounds, seed)))
    return runs


def _config(data: str, method: str, rate: float, rounds: int, seed: int) -> RunConfig:
    more: dict[str, Any] = {}
    if method in TEAMS:
        more["algorithm_options"] = {"num_teams": 2}
    if method in ("fedit", "ffa_lora", "fedsa_lora"):
        more["low_rank"] = 4
    return RunConfig(
        algorithm=method,
        learning_rate=rate,
        rounds=rounds,
        eval_every=max(1, rounds // 5),
        seed=seed,
        client_width="all",
        scored_model="trained",
        evaluated_models="trained",
        **DATA[data],
        **more,
    )


def tables(rows: Sequence[Mapping[str, Any]], preset: Mapping[str, Any], folder: Path) -> str:
    """For each data set with all rows the tuned scores and paired differences, and the mean ranks over all of them."""
    del folder
    there = [data for data in preset["rounds"] if _complete(rows, data, preset)]
    tuned = {data: {m: _tuned(rows, data, m) for m in preset["methods"]} for data in there}
    parts = [f"{data}\n\n{_table(own)}" for data, own in tuned.items()]
    blocks = [[own[m][1][seed] for m in preset["methods"]] for own in tuned.values() for seed in range(preset["seeds"])]
    mean_ranks = dict(zip(preset["methods"], ranks(np.array(blocks)), strict=True))
    lines = ["| method | mean rank |", "|---|---|"]
    lines += [f"| {m} | {rank:.1f} |" for m, rank in sorted(mean_ranks.items(), key=lambda item: item[1])]
    return "\n\n".join([*parts, f"all, {len(blocks)} blocks\n\n" + "\n".join(lines)])


def _complete(rows: Sequence[Mapping[str, Any]], data: str, preset: Mapping[str, Any]) -> bool:
    wanted = len(preset["methods"]) * len(preset["rates"]) * preset["seeds"]
    return sum(r["data"] == data and r["method"] in preset["methods"] for r in rows) >= wanted


def _tuned(rows: Sequence[Mapping[str, Any]], data: str, method: str) -> tuple[float, list[float], float]:
    """The step size with the best mean validation score, its test scores by seed, and the mean of the bytes sent up."""
    own = [r for r in rows if (r["data"], r["method"]) == (data, method)]
    val, test, up = SCORES

    def merit(rate: float) -> float:
        found = [r[val] for r in own if r["learning_rate"] == rate]
        return float(np.mean([-np.inf if x is None or not np.isfinite(x) else x for x in found]))

    best = max(sorted({r["learning_rate"] for r in own}), key=merit)
    chosen = sorted((r for r in own if r["learning_rate"] == best), key=lambda r: r["seed"])
    return best, [r[test] for r in chosen], float(np.mean([r[up] for r in chosen]))


def _table(own: Mapping[str, tuple[float, list[float], float]]) -> str:
    lines = [
        "| method | step size | macro-F1 | minus local | minus FedAvg | MB up | better than both |",
        "|---" * 7 + "|",
    ]
    for method, (rate, test, up) in sorted(own.items(), key=lambda item: -np.mean(item[1][1])):
        gaps = [paired_difference(test, own[other][1]) for other in ("local", "fedavg")]
        told = ["–" if method == o else _interval(g) for o, g in zip(("local", "fedavg"), gaps, strict=True)]
        verdict = "–" if method in ("local", "fedavg") else _verdict([g.low for g in gaps], len(test))
        lines.append(f"| {method} | {rate:g} | {np.mean(test):.3f} | {' | '.join(told)} | {up / 1e6:.2f} | {verdict} |")
    return "\n".join(lines)


def _interval(gap: Any) -> str:
    return f"{gap.mean:+.3f}" + (f" [{gap.low:+.3f}, {gap.high:+.3f}]" if gap.pairs > 1 else "")


def _verdict(lows: Sequence[float], seeds: int) -> str:
    if seeds < CLAIM:
        return "undecided"
    return "yes" if all(low > MARGIN for low in lows) else "no"


if __name__ == "__main__":
    main(sys.argv[1:])
