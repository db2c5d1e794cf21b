"""How many layers HeurpFedLA's clients keep: k from none (pFedLA) to all (local training).

Question: does keeping the layers that a client hears itself most in pay, and how many? Published: HeurpFedLA is ahead
of pFedLA in some columns and sends less; k was not found.

    python -m experiments.pfedla_retained --preset laptop --data-dir DATA

Fashion-MNIST, both splits, 10 clients, LeNet-5 (five layers), the fast rate of ``pfedla_ablation``. k is traced: all of
them are one program. Accuracy is the mean over clients after local training in the last round.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from experiments.harness import run_grid, spread
from experiments.pfedla_methods import BOTH, FAST
from experiments.pfedla_runs import SIZES, config_of
from fedjax_layers.experiment.statistics import paired_difference
from fedjax_layers.sweeps.configs import SweptRun

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {**SIZES["smoke"], "clients": 4, "splits": ["non-IID_1"], "ks": [0, 1], "model": "two layers"},
    "laptop": {**SIZES["laptop"], "clients": 10, "splits": list(BOTH), "ks": [0, 1, 2, 3, 4, 5]},
    "paper": {**SIZES["paper"], "clients": 10, "splits": list(BOTH), "ks": [0, 1, 2, 3, 4, 5]},
}
COLUMNS = ("personal/test/accuracy", "personal/val/accuracy", "bytes_down")
SIZE = ("epochs", "batch_size", "learning_rate", "client_size", "rounds", "clients")


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows, print the table."""
    run_grid("pfedla_retained", __doc__, argv, PRESETS, _runs, COLUMNS, _report)


def _runs(preset: dict[str, Any]) -> list[SweptRun]:
    runs: list[SweptRun] = []
    for split in preset["splits"]:
        for seed in range(preset["seeds"]):
            for k in preset["ks"]:
                config = config_of(
                    data="fashion_mnist",
                    split=split,
                    seed=seed,
                    algorithm="heurpfedla",
                    options=FAST | {"retained": k},
                    model=preset.get("model", "lenet5"),
                    evaluated_models="trained",
                    scored_round="last",
                    **{name: preset[name] for name in SIZE},
                )
                runs.append(SweptRun(len(runs), {"split": split, "k": k}, seed, config, frozenset({"retained"})))
    return runs


def _report(rows: list[dict[str, Any]], preset: dict[str, Any], folder: Path) -> str:
    del folder
    lines = [
        "| split | k | accuracy % | minus k = 0, points | downloaded, of k = 0 |",
        "|---|---|---|---|---|",
    ]
    for split in preset["splits"]:
        by_k = {k: [r for r in rows if (r["split"], r["k"]) == (split, k)] for k in preset["ks"]}
        bar = {r["seed"]: r for r in by_k[0]}
        for k, own in by_k.items():
            scores = np.array([r[COLUMNS[0]] for r in own])
            d = paired_difference(scores, np.array([bar[r["seed"]][COLUMNS[0]] for r in own]))
            interval = "" if len(own) == 1 else f" [{100 * d.low:+.1f}, {100 * d.high:+.1f}]"
            than = "" if k == 0 else f"{100 * d.mean:+.1f}{interval}"
            down = np.mean([r["bytes_down"] / bar[r["seed"]]["bytes_down"] for r in own])
            lines.append(f"| {split} | {k} | {spread(scores.tolist())} | {than} | {down:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
