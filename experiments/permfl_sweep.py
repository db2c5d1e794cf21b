"""PerMFL's sensitivity to its pulls and the server's step: a grid of lambda, gamma and beta as one program.

Question: which coefficients help whom? Published: lambda, gamma and beta are inter-dependent; grids unknown.

    python -m experiments.permfl_sweep --preset laptop --data-dir DATA

MNIST in the paper's split, 4 consecutive teams of 10 clients, logistic regression; client and team pull are one lambda.
Scores are the last round's, on test examples, weighted by the clients' training examples; ``beta gamma > 2``
overshoots (docs/algorithms/permfl.md) and is kept to show it.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from experiments.harness import run_grid
from experiments.permfl_methods import DATASETS, MODELS, PAPER, SPLIT
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.sweeps.configs import SweptRun
from fedjax_layers.sweeps.request import product

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1,
        "rounds": 2,
        "steps": 2,
        "team_rounds": 2,
        "lambda": [0.5],
        "gamma": [1.5, 5.0],
        "beta": [0.2],
    },
    "laptop": {
        "seeds": 2,
        "rounds": 40,
        "steps": 20,
        "team_rounds": 10,
        "lambda": [0.1, 0.5, 2.0, 8.0],
        "gamma": [0.5, 1.5, 5.0, 15.0],
        "beta": [0.05, 0.2, 0.6],
    },
    "paper": {
        "seeds": 5,
        "rounds": 400,
        "steps": 20,
        "team_rounds": 10,
        "lambda": np.geomspace(0.05, 20, 8).tolist(),
        "gamma": np.geomspace(0.1, 25, 8).tolist(),
        "beta": np.geomspace(0.02, 1.6, 8).tolist(),
    },
}
NAMES = ("lambda", "gamma", "beta")
KINDS = {kind: f"{kind}/test/accuracy/weighted" for kind in ("personal", "team", "global")}  # -> column


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows and the heat map, print the best settings."""
    run_grid("permfl_sweep", __doc__, argv, PRESETS, _runs, list(KINDS.values()), _report)


def _runs(preset: dict[str, Any]) -> list[SweptRun]:
    settings = [(s, seed) for seed in range(preset["seeds"]) for s in product(**{n: preset[n] for n in NAMES})]
    return [SweptRun(i, s, seed, _config(preset, s, seed)) for i, (s, seed) in enumerate(settings)]


def _config(preset: dict[str, Any], setting: dict[str, float], seed: int) -> RunConfig:
    where = DATASETS["mnist"]
    pulls = {"client_lambda": setting["lambda"], "team_lambda": setting["lambda"]}
    steps = {"gamma": setting["gamma"], "beta": setting["beta"], "team_rounds": preset["team_rounds"]}
    return RunConfig(
        algorithm="permfl",
        algorithm_options=PAPER | pulls | steps,
        **where | {"data_options": where["data_options"] | SPLIT | {"split_seed": seed}},
        **MODELS["mclr"],
        clients=40,
        rounds=preset["rounds"],
        eval_every=preset["rounds"],
        learning_rate=0.01,
        momentum=0.0,
        batch_size=20,
        steps=preset["steps"],
        weighting="uniform",
        evaluated_models="served",
        scored_model="served",
        scored_round="last",
        seed=seed,
    )


def _report(rows: list[dict[str, Any]], preset: dict[str, Any], folder: Path) -> str:
    _plot(rows, preset, folder / "grid.png")
    return _table(rows, preset)


def _mean(rows: list[dict[str, Any]], kind: str, setting: tuple[float, ...]) -> float:
    own = [r[KINDS[kind]] for r in rows if tuple(r[name] for name in NAMES) == setting]
    return 100 * float(np.mean(own))


def _table(rows: list[dict[str, Any]], preset: dict[str, Any]) -> str:
    """The best and the worst settings for each kind of model, and the paper's."""
    grid = list(itertools.product(*(preset[name] for name in NAMES)))
    lines = ["| best for | λ | γ | β | βγ | personal % | team % | global % |", "|---|---|---|---|---|---|---|---|"]

    def line(what: str, setting: tuple[float, ...]) -> str:
        numbers = [f"{x:g}" for x in (*setting, setting[1] * setting[2])]
        return f"| {' | '.join([what, *numbers, *(f'{_mean(rows, kind, setting):.1f}' for kind in KINDS)])} |"

    for kind in KINDS:
        ordered = sorted(grid, key=lambda setting: _mean(rows, kind, setting))
        lines += [line(kind, ordered[-1]), line(f"(worst) {kind}", ordered[0])]
    paper = (PAPER["team_lambda"], PAPER["gamma"], PAPER["beta"])
    return "\n".join([*lines, line("the paper's", paper)] if paper in grid else lines)


def _plot(rows: list[dict[str, Any]], preset: dict[str, Any], path: Path) -> None:
    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415  (after the backend is chosen)

    lambdas, gammas, betas = (preset[name] for name in NAMES)
    size = (1 + 2.4 * len(betas), 7.5)
    figure, axes = plt.subplots(len(KINDS), len(betas), figsize=size, layout="constrained", squeeze=False)
    for (row, kind), (column, beta) in itertools.product(enumerate(KINDS), enumerate(betas)):
        image = [[_mean(rows, kind, (lam, gamma, beta)) for gamma in gammas] for lam in lambdas]
        low = min(_mean(rows, kind, s) for s in itertools.product(lambdas, gammas, betas))
        high = max(_mean(rows, kind, s) for s in itertools.product(lambdas, gammas, betas))
        digits = 1 if high - low < 10 else 0
        ax = axes[row, column]
        ax.imshow(image, vmin=low, vmax=high, cmap="viridis", origin="lower", aspect="auto")
        for i, j in itertools.product(range(len(lambdas)), range(len(gammas))):
            colour = "w" if image[i][j] < (low + high) / 2 else "k"
            ax.text(j, i, f"{image[i][j]:.{digits}f}", ha="center", va="center", color=colour)
        ax.set_xticks(range(len(gammas)), [f"{g:g}" for g in gammas])
        ax.set_yticks(range(len(lambdas)), [f"{x:g}" for x in lambdas])
        ax.set(title=f"{kind}, β = {beta:g}", xlabel="γ", ylabel="λ")
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
