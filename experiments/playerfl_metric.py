"""Federation sensitivity against layer index, per client: a CNN under label skew.

Question: does the score of PLayer-FL spike at the layer where the paper cuts, and does it say anything about the data?
Published: FashionMNIST, five clients, cut after Conv3, ``F_l / F_1 = 1, 1.01, 1.01, 1.24, 7.3`` after one epoch.

    python -m experiments.playerfl_metric --preset laptop --data-dir DATA

For every seed: one local epoch, then every client's scores by both gradient rules; the same at initialisation and with
labels permuted within clients; and the cut that the numbers of weights alone give.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np

from experiments.harness import Rows, arguments
from experiments.playerfl_protocols import PROTOCOLS
from fedjax_layers.algorithms import CutRule
from fedjax_layers.algorithms.sharing.sensitivity_cut import agree_on_cut, score_client
from fedjax_layers.clients import ClientVisit, LocalOptions, one_pass, train
from fedjax_layers.engine.intervals import cohort_of, round_keys, setting_of, start_params
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.controls import permuted_labels
from fedjax_layers.experiment.setup.prepare import Experiment, prepare
from fedjax_layers.ops import transition_point

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": 1, "limit": 400, "width": 0.0625},
    "laptop": {"seeds": 5, "limit": 10_000, "width": 1.0},
    "paper": {"seeds": 20, "limit": 10_000, "width": 1.0},
}
PUBLISHED = (1, 1.01, 1.01, 1.24, 7.3)
THRESHOLD = 1.5
KINDS = ("one epoch", "initialisation", "permuted labels")


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows and the plot, print the table."""
    options = arguments("playerfl_metric", __doc__, argv)
    preset = PRESETS[options.preset]
    rows = Rows(options.out, verify=options.verify)
    for seed in range(preset["seeds"]):
        if all(any(r["seed"] == seed and r["kind"] == k for r in rows.rows) for k in KINDS):
            continue
        experiment = prepare(_config(preset, seed), options.data_dir)
        for kind in KINDS:
            rows.get({"seed": seed, "kind": kind}, functools.partial(_measure, experiment, kind))
    rows.finish(preset=preset)
    print(_table(rows.rows))
    _plot(rows, options.out / "sensitivity.png")


def _config(preset: dict[str, Any], seed: int) -> RunConfig:
    return RunConfig(
        algorithm="player_fl",
        dataset="fashion_mnist",
        data_options={"limit": preset["limit"], "alpha": 0.5, "stratified": False},  # as the paper splits
        partition="dirichlet",
        clients=5,
        model_options={"width": preset["width"]},
        batch_size=128,
        learning_rate=1e-3,
        rounds=1,
        seed=seed,
        client_width="1",
        **PROTOCOLS["new"],
    )


def _measure(experiment: Experiment, kind: str) -> dict[str, Any]:
    """Scores of every client by both gradient rules, and the cuts they give."""
    inputs = experiment.inputs
    trainer = experiment.builder.make_trainer(inputs.hyper, setting_of(experiment.plan, inputs.device_data))
    trainer = dataclasses.replace(trainer, keep_optimizer=False, learning_rate_factor=None)
    draw_key, key = round_keys(inputs.key, jnp.int32(0))
    cohort = cohort_of(inputs, draw_key, jnp.int32(0))
    if kind == "permuted labels":
        labels = jnp.asarray(permuted_labels(experiment.data, experiment.config.seed))
        cohort = dataclasses.replace(cohort, pool=cohort.pool._replace(labels=labels))
    scale = jnp.float32(kind != "initialisation")

    @jax.jit
    def scores(key: jax.Array, params: Any, cohort: Any, scale: jax.Array) -> dict[str, Any]:
        def visit(client: Any, _: Any) -> ClientVisit:
            options = LocalOptions(scale=scale, with_gradient=True)
            result = train(trainer, key, client, client.shared, options=options)
            scores = {g: score_client(trainer, key, client, result, CutRule(gradient=g)) for g in ("batch", "epoch")}
            return ClientVisit(result.params, result.loss, out=scores)

        return one_pass(trainer, cohort, visit, shared=params).out

    found = scores(key, start_params(trainer.task, inputs.key), cohort, scale)
    layers = trainer.task.layers
    sizes = jnp.asarray(layers.scored_sizes, jnp.float32)
    return {
        "layers": layers.names,
        "cut_by_weight_count": int(transition_point(1 / sizes, THRESHOLD)),
        **{f"scores_{g}": np.asarray(s) for g, s in found.items()},
        **{f"cut_{g}": _cut(s, cohort.weight, g) for g, s in found.items()},
    }


def _cut(scores: jax.Array, weight: jax.Array, gradient: Any) -> int:
    return int(agree_on_cut(scores, weight, CutRule(threshold=THRESHOLD, gradient=gradient))[0])


def _cumulative(row: dict[str, Any], gradient: str) -> np.ndarray:
    """``F_l / F_1`` of each client, ``[K, L]``."""
    scores = np.asarray(row[f"scores_{gradient}"])
    return scores.cumsum(1) / scores[:, :1]


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| scored | gradient | cuts by seed | F_l / F_1, mean over clients and seeds |", "|---|---|---|---|"]
    for kind in KINDS:
        own = [r for r in rows if r["kind"] == kind]
        for gradient in ("batch", "epoch"):
            curve = np.mean([_cumulative(r, gradient).mean(0) for r in own], axis=0)
            cuts = ", ".join(str(r[f"cut_{gradient}"]) for r in own)
            lines.append(f"| {kind} | {gradient} | {cuts} | {', '.join(f'{x:.3g}' for x in curve)} |")
    lines.append(f"| weight count | – | {rows[0]['cut_by_weight_count']} | – |")
    lines.append(f"| published | – | 3 | {', '.join(map(str, PUBLISHED))} |")
    return "\n".join(lines)


def _plot(rows: Rows, path: Any) -> None:
    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415  (after the backend is chosen)

    figure, axes = plt.subplots(1, len(KINDS), figsize=(11, 3.4), sharey=True, layout="constrained")
    for axis, kind in zip(axes, KINDS, strict=True):
        own = next(r for r in rows.rows if r["kind"] == kind)
        position = np.arange(1, len(own["layers"]) + 1)
        for client, curve in enumerate(_cumulative(own, "batch")):
            axis.plot(position, curve, marker="o", ms=3, lw=1, label=f"client {client}")
        if kind == KINDS[0]:
            axis.plot(position, PUBLISHED, "k--", lw=1, label="published mean")
            axis.set_ylabel("cumulative sensitivity $F_l / F_1$")
        axis.axvline(own["cut_batch"] + 0.5, color="0.6", lw=1, ls=":")
        axis.set(yscale="log", title=kind, xticks=position)
        axis.set_xticklabels(own["layers"], rotation=30)
    axes[0].legend(fontsize=7)
    figure.suptitle("FashionMNIST, 5 clients, Dirichlet(0.5), seed 0; dotted: cut at threshold 1.5", fontsize=10)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
