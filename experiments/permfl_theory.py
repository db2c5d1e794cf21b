"""PerMFL's rate on quadratics: the contraction of one global round, measured and bounded.

Question: do rounds of the package contract as the theory says, what do few team rounds K and client steps L cost, and
where does the server really diverge? Losses are random quadratics with eigenvalues in [mu, L_f], clients and teams of
unequal size; one round is then an affine map, and d + 1 starts of the package's own round give all of it. Clients have
their own eigenvectors, or share them: then the bounds should be attained.

    python -m experiments.permfl_theory --preset laptop

Bounds and closed forms: ``tests/reference/quadratics.py``; they are theorems, and tested as such in
``tests/algorithms/test_permfl_theory.py``.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import matplotlib as mpl
import numpy as np

from experiments.harness import Rows, arguments
from tests.quadratics import permfl_round
from tests.reference.quadratics import Quadratics, Round, random_quadratics

GRID: dict[str, Any] = {
    "mu": 0.5,
    "smoothness": 4.0,
    "team_rounds": [1, 3, 10, 30],
    "steps": [1, 2, 5, 10, 20, 50],
    "lambdas": [0.5, 2.0, 8.0, 32.0],
    "gammas": [0.125, 0.5, 2.0, 8.0, 32.0],
    "products": np.linspace(0.25, 8.0, 32).tolist(),  # beta * gamma
}
SMOKE = {"team_rounds": [1, 3], "steps": [1, 20], "lambdas": [0.5, 8.0], "gammas": [0.5, 8.0], "products": [1.0, 3.0]}
PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": 1, "teams": [2, 1], "dim": 3, **GRID, **SMOKE},
    "laptop": {"seeds": 5, "teams": [2, 4, 1], "dim": 10, **GRID},
    "paper": {"seeds": 5, "teams": [10, 10, 10, 10], "dim": 100, **GRID},  # the paper's clients and teams
}
PULL, TETHER = 2.0, 2.0  # lambda and gamma where they are not what varies
LOOPS = (10, 20)  # K and L where they are not what varies; the paper's
LAMBDAS_OF_BETA = (0.5, 32.0)
# Coefficients of the paper's team-formation table, as its text has them and as its code runs them.
PUBLISHED = {"team_lambda": 0.5, "gamma": 1.5, "beta": 0.6, "eta": 0.03, "alpha": 0.01, "team_rounds": 10, "steps": 20}
SETTINGS: dict[str, dict[str, Any]] = {
    "published": {"client_lambda": 0.5, **PUBLISHED},
    "released code": {"client_lambda": 20.0, **PUBLISHED},
}


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows and the plot, print the tables."""
    options = arguments("permfl_theory", __doc__, argv)
    preset = PRESETS[options.preset]
    rows = Rows(options.out, verify=options.verify)
    problem = functools.partial(
        random_quadratics,
        team_sizes=preset["teams"],
        dim=preset["dim"],
        mu=preset["mu"],
        smoothness=preset["smoothness"],
    )
    for axes, seed in [("own", s) for s in range(preset["seeds"])] + [("shared", 0)]:
        losses = problem(seed, shared_axes=axes == "shared")
        for part, numbers in _cells(preset):
            key = {"part": part, "axes": axes, "seed": seed, **numbers}
            rows.get(key, functools.partial(_measure, losses, numbers))
    rows.finish(preset=preset)
    print(_table(rows.rows))
    _plot(rows.rows, options.out / "contraction.png")


def _cells(preset: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is measured: the part of the figure, or the setting of the table, and its coefficients."""
    safe = functools.partial(_safe, preset["smoothness"])
    for rounds, steps in itertools.product(preset["team_rounds"], preset["steps"]):
        yield "loops", safe(PULL, TETHER, rounds, steps)
    for pull, gamma in itertools.product(preset["lambdas"], preset["gammas"]):
        yield "pulls", safe(pull, gamma, *LOOPS)
    for pull, product in itertools.product(LAMBDAS_OF_BETA, preset["products"]):
        yield "beta", safe(pull, TETHER, *LOOPS) | {"beta": product / TETHER}
    yield from SETTINGS.items()
    yield "safe ends", safe(0.5, 1.5, *LOOPS)


def _safe(smoothness: float, pull: float, gamma: float, rounds: int, steps: int) -> dict[str, Any]:
    """Step sizes at the ends of their safe ranges."""
    return {
        "client_lambda": pull,
        "team_lambda": pull,
        "gamma": gamma,
        "beta": 1 / gamma,
        "eta": 1 / (pull + gamma),
        "alpha": 1 / (smoothness + pull),
        "team_rounds": rounds,
        "steps": steps,
    }


def _measure(losses: Quadratics, numbers: dict[str, Any]) -> dict[str, Any]:
    """One round of the package as an affine map, and what bounds it.

    ``contraction`` is the largest factor on the distance between two models; ``left`` the distance of the round's fixed
    point from the minimiser x*, in units of ``||x*||``.
    """
    one = Round(losses, **numbers)
    dim = losses.centres.shape[1]
    with jax.enable_x64(True):
        after = np.asarray(permfl_round(one, np.vstack([np.zeros(dim), np.eye(dim)])).server["x"])
    matrix = (after[1:] - after[0]).T
    fixed = np.linalg.solve(np.eye(dim) - matrix, after[0])
    best = one.exact.fixed_point
    low, high = one.curvature
    return {
        "contraction": np.linalg.norm(matrix, 2),
        "bound": max(abs(1 - one.beta * low), abs(1 - one.beta * high)),
        "exact_bound": max(abs(1 - one.beta * c) for c in one.exact.curvature),
        "left": np.linalg.norm(fixed - best) / np.linalg.norm(best),
        "left_bound": one.gamma * one.inner_error(best) / low / np.linalg.norm(best),
    }


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| setting | contraction per round | bound | same, exact solves | rounds to a tenth | left, % of ‖x*‖ |",
        "|---|---|---|---|---|---|",
    ]
    for part in (*SETTINGS, "safe ends"):
        own = [r for r in rows if r["part"] == part and r["axes"] == "own"]
        measured = _median(own, "contraction")
        lines.append(
            f"| {part} | {measured:.4f} | {own[0]['bound']:.4f} | {own[0]['exact_bound']:.4f} "
            f"| {np.log(0.1) / np.log(measured):.0f} | {100 * _median(own, 'left'):.2g} |"
        )
    lines += ["", "| varied | axes | measurements | contraction / bound | left / bound |", "|---|---|---|---|---|"]
    for part, axes in itertools.product(("loops", "pulls", "beta"), ("own", "shared")):
        own = [r for r in rows if r["part"] == part and r["axes"] == axes]
        ratios = [[r[f] / r[bound] for r in own] for f, bound in (("contraction", "bound"), ("left", "left_bound"))]
        spans = " | ".join(f"{min(x):.3g} to {max(x):.6g}" for x in ratios)
        lines.append(f"| {part} | {axes} | {len(own)} | {spans} |")
    return "\n".join(lines)


def _median(rows: list[dict[str, Any]], field: str) -> float:
    return float(np.median([r[field] for r in rows]))


def _plot(rows: list[dict[str, Any]], path: Any) -> None:
    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415  (after the backend is chosen)

    figure, ((loops, pulls), (left, beta)) = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    by_part = {p: [r for r in rows if r["part"] == p] for p in ("loops", "pulls", "beta")}
    _curves(loops, by_part["loops"], "steps", "team_rounds", ("contraction", "bound"), "K = {}")
    loops.axhline(by_part["loops"][0]["exact_bound"], color="k", ls=":", lw=1, label="bound, exact solves")
    loops.set(xlabel="client steps L", ylabel="contraction per global round", xscale="log", ylim=(None, 1))
    _curves(left, by_part["loops"], "steps", "team_rounds", ("left", "left_bound"), "K = {}")
    left.set(xlabel="client steps L", ylabel="‖fixed point − x*‖ / ‖x*‖", xscale="log", yscale="log")
    _curves(pulls, by_part["pulls"], "gamma", "team_lambda", ("contraction", "bound"), "λ = {:g}")
    pulls.set(xlabel="γ", ylabel="contraction per global round", xscale="log", ylim=(None, 1))
    sweep = [r | {"product": r["beta"] * r["gamma"]} for r in by_part["beta"]]
    _curves(beta, sweep, "product", "team_lambda", ("contraction", "bound"), "λ = {:g}")
    products = np.array(sorted({r["product"] for r in sweep}))
    beta.plot(products, abs(1 - products), "k--", lw=1, label="|1 − βγ|")
    beta.axhline(1, color="k", ls=":", lw=1)
    beta.set(xlabel="βγ", ylabel="factor per global round", ylim=(0, 2.5))
    titles = ("few inner steps: rate", "pulls: rate", "few inner steps: error left", "server step: divergence above 1")
    for axes, title in zip((loops, pulls, left, beta), titles, strict=True):
        axes.set_title(title)
        axes.legend(fontsize=8)
    figure.suptitle(
        "lines: bounds; measured: dots, one for each problem, and crosses where all clients share their axes"
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _curves(axes: Any, rows: list[dict[str, Any]], x: str, by: str, fields: tuple[str, str], label: str) -> None:
    """Marks of the measured field, a line of its bound (of several problems the largest), a colour for each ``by``."""
    measured, bound = fields
    for i, value in enumerate(dict.fromkeys(r[by] for r in rows)):
        own = [r for r in rows if r[by] == value]
        at = sorted({r[x] for r in own})
        style = "--" if i % 2 else "-"  # lines that coincide remain visible
        axes.plot(at, [max(r[bound] for r in own if r[x] == a) for a in at], f"C{i}{style}", label=label.format(value))
        for kind, mark in (("own", "."), ("shared", "x")):
            points = [(r[x], r[measured]) for r in own if r["axes"] == kind]
            axes.plot(*zip(*points, strict=True), f"C{i}{mark}", ms=4)


if __name__ == "__main__":
    main()
