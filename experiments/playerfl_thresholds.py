"""PLayer-FL's threshold on Fashion-MNIST: which cut each value gives, what it scores, and whether the cut stays.

Question: over which thresholds is the published cut (3 of 5 layers) found, what would other cuts score, and does an
estimate made again every few rounds come to the same cut? Published: a wide range of thresholds gives the same split.

    python -m experiments.playerfl_thresholds --preset laptop --data-dir DATA

Clients, images, network and optimiser as in ``playerfl_fmnist``, NEW protocol. Thresholds that give the same cut in
every round are computed as one run; each way of estimating is one program.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from experiments.harness import run_grid
from experiments.playerfl_protocols import PROTOCOLS
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.sweeps.configs import SweptRun
from fedjax_layers.sweeps.request import product, spaced

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": 1, "rounds": 2, "limit": 300, "width": 0.0625, "batch_size": 32, "settings": 8, "again": [1]},
    "laptop": {
        "seeds": 3,
        "rounds": 25,
        "limit": 10_000,
        "width": 0.125,
        "batch_size": 32,
        "settings": 256,
        "again": [0, 5],
    },
    "paper": {
        "seeds": 20,
        "rounds": 100,
        "limit": 10_000,
        "width": 1.0,
        "batch_size": 128,
        "settings": 256,
        "again": [0, 5, 20],
    },
}
SCORES = ("macro_f1", "accuracy", "loss")
COLUMNS = ("num_shared_layers", *(f"personal/test/{score}/weighted" for score in SCORES))


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows and the plot, print the tables."""
    run_grid("playerfl_thresholds", __doc__, argv, PRESETS, _runs, COLUMNS, _report)


def _runs(preset: dict[str, Any]) -> list[SweptRun]:
    runs: list[SweptRun] = []
    for again in preset["again"]:
        for seed in range(preset["seeds"]):
            for setting in product(threshold=spaced(0.05, 50, preset["settings"], log=True)):
                config = _config(preset, setting["threshold"], again, seed)
                runs.append(SweptRun(len(runs), setting | {"again": again}, seed, config))
    return runs


def _config(preset: dict[str, Any], threshold: float, again: int, seed: int) -> RunConfig:
    return RunConfig(
        algorithm="player_fl",
        algorithm_options={"threshold": threshold, "repeat_every": again},
        dataset="fashion_mnist",
        data_options={"limit": preset["limit"], "alpha": 0.5, "stratified": False},  # as the paper splits
        partition="dirichlet",
        clients=5,
        model_options={"width": preset["width"]},
        batch_size=preset["batch_size"],
        learning_rate=1e-3,
        rounds=preset["rounds"],
        seed=seed,
        client_width="1",
        evaluated_models="trained",
        **PROTOCOLS["new"],
    )


def _report(rows: list[dict[str, Any]], preset: dict[str, Any], folder: Path) -> str:
    _plot(rows, preset, folder / "thresholds.png")
    return "\n\n".join(_table(rows, preset, again) for again in preset["again"])


def _table(rows: list[dict[str, Any]], preset: dict[str, Any], again: int) -> str:
    """Per last cut: thresholds that gave it, and scores of its runs, as means over seeds of means over thresholds."""
    own = [r for r in rows if r["again"] == again]
    lines = [
        "estimated once\n" if not again else f"estimated every {again} rounds\n",
        "| last cut | thresholds, by seed | macro-F1 % | accuracy % | loss |",
        "|---|---|---|---|---|",
    ]
    for cut in sorted({r["num_shared_layers"] for r in own}):
        there = [r for r in own if r["num_shared_layers"] == cut]
        ranges = []
        for seed in range(preset["seeds"]):
            found = [r["threshold"] for r in there if r["seed"] == seed]
            ranges.append(f"{min(found):.2g} – {max(found):.2g}" if found else "–")
        by_seed = [
            [np.mean([r[column] for r in there if r["seed"] == seed]) for column in COLUMNS[1:]]
            for seed in sorted({r["seed"] for r in there})
        ]
        f1, accuracy, loss = np.mean(by_seed, axis=0)
        scores = f"{100 * f1:.1f} | {100 * accuracy:.1f} | {loss:.3f}"
        lines.append(f"| {cut} | {'; '.join(ranges)} | {scores} |")
    return "\n".join(lines)


def _plot(rows: list[dict[str, Any]], preset: dict[str, Any], path: Path) -> None:
    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415  (after the backend is chosen)

    figure, (top, bottom) = plt.subplots(2, 1, figsize=(6.5, 5), sharex=True, layout="constrained")
    for again, style in zip(preset["again"], ("-", "--", ":"), strict=False):
        for seed in range(preset["seeds"]):
            own = sorted(
                (r for r in rows if r["again"] == again and r["seed"] == seed), key=lambda row: row["threshold"]
            )
            x = [r["threshold"] for r in own]
            label = ("once" if not again else f"every {again} rounds") if seed == 0 else None
            top.plot(x, [r["num_shared_layers"] for r in own], style, color=f"C{seed}", label=label)
            bottom.plot(x, [100 * r[COLUMNS[1]] for r in own], style, color=f"C{seed}")
    top.axhline(3, color="k", lw=0.8, label="published cut")
    top.axvline(1.5, color="0.7", lw=0.8)
    bottom.axvline(1.5, color="0.7", lw=0.8)
    top.set(ylabel="last cut", xscale="log")
    bottom.set(xlabel="threshold (a colour per seed)", ylabel="macro-F1 %")
    top.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
