"""Threshold ablation on Fed-Heart-Disease: cut and macro-F1 against the threshold.

Question: how sensitive are cut and score to the threshold t? Published: cut after FC2 (2 of 4 layers), and the claim
that a wide range of t gives the same split; macro-F1 by threshold was not found. Accuracy in the paper's table:
PLayer-FL 55.4, FedAvg 54.1, Local 53.7.

    python -m experiments.playerfl_heart --preset laptop

Only L + 1 cuts exist, so each seed runs every fixed cut once, and the scores of the first round say which cut each
threshold gives.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np

from experiments.harness import Rows, arguments
from experiments.playerfl_protocols import PROTOCOLS
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import prepare
from fedjax_layers.experiment.statistics import median_interval, paired_difference
from fedjax_layers.ops import transition_point

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"seeds": 2, "partition_seed": 0, "rounds": {"new": 3}},
    "laptop": {"seeds": 25, "rounds": {"old": 50, "new": 20}},
    "paper": {"seeds": 50, "rounds": {"old": 50, "new": 20}},
}
LAYERS = 4
THRESHOLDS = np.linspace(1.0, 5.0, 81)
# Per protocol: batch size of the official code, and the learning rate chosen there for PLayer-FL (0.01, OLD) and the
# smallest of the NEW grid, which is the same number.
SETTINGS = {"old": {"batch_size": 128, "learning_rate": 0.01}, "new": {"batch_size": 32, "learning_rate": 0.01}}
FOCAL = {"loss": "focal", "focal_gamma": 3.0, "focal_alpha": (0.1294, 0.1811, 0.2233, 0.2236, 0.2426)}


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows and the plot, print the tables."""
    options = arguments("playerfl_heart", __doc__, argv)
    preset = PRESETS[options.preset]
    rows = Rows(options.out, verify=options.verify)
    for protocol in preset["rounds"]:
        for seed in range(preset["seeds"]):
            for cut in range(LAYERS + 1):
                key: dict[str, Any] = {"protocol": protocol, "seed": seed, "cut": cut}
                rows.get(key, functools.partial(_run, preset, **key))
    rows.finish(preset=preset)
    for protocol in preset["rounds"]:
        print(f"\n{protocol} protocol\n{_table([r for r in rows.rows if r['protocol'] == protocol])}")
    _plot(rows.rows, options.out / "threshold.png")


def _run(preset: dict[str, Any], protocol: str, seed: int, cut: int) -> dict[str, Any]:
    """One run with a fixed cut; its first round's scores are those of any PLayer-FL run with this seed."""
    config = RunConfig(
        algorithm="player_fl",
        algorithm_options={"fixed_cut": cut, "gradient": "epoch"},
        dataset="heart",
        data_options={"stratified": False},  # as the paper splits
        rounds=preset["rounds"][protocol],
        seed=seed,
        partition_seed=preset.get("partition_seed"),
        client_width="all",
        **(PROTOCOLS[protocol] | SETTINGS[protocol] | FOCAL),
    )
    summary, _ = execute(prepare(config))
    personal = summary["personal"]
    return {
        "macro_f1": personal["macro_f1"]["weighted"],
        "accuracy": personal["accuracy"]["weighted"],
        "loss": personal["loss"]["weighted"],
        "scores": summary["layer_scores"],
        "control_cuts": summary["controls"],
        "rounds": summary["rounds"],
    }


def _cuts(row: dict[str, Any]) -> np.ndarray:
    """The cut at every threshold, in one vectorised call."""
    scores = jnp.asarray(row["scores"])
    return np.asarray(jax.vmap(lambda t: transition_point(scores, t))(jnp.asarray(THRESHOLDS)))


def _by_threshold(rows: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Cuts ``[S, t]`` and macro-F1 ``[S, t]`` by seed."""
    seeds = sorted({r["seed"] for r in rows})
    f1 = {(r["seed"], r["cut"]): r["macro_f1"] for r in rows}
    cuts = np.array([_cuts(next(r for r in rows if r["seed"] == s)) for s in seeds])
    return cuts, np.array([[f1[s, c] for c in own] for s, own in zip(seeds, cuts, strict=True)])


def _table(rows: list[dict[str, Any]]) -> str:
    cuts, f1 = _by_threshold(rows)
    fedavg = np.array([r["macro_f1"] for r in sorted(rows, key=lambda r: r["seed"]) if r["cut"] == LAYERS])
    lines = ["| t | seeds with cut 0 / 1 / 2 / 3 / 4 | macro-F1 % | minus FedAvg, points |", "|---|---|---|---|"]
    for t in (1.0, 1.1, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0):
        i = int(np.abs(THRESHOLDS - t).argmin())
        counts = " / ".join(str(int((cuts[:, i] == c).sum())) for c in range(LAYERS + 1))
        lines.append(f"| {t} | {counts} | {_median(f1[:, i])} | {_difference(f1[:, i], fedavg)} |")
    lines += ["", "| fixed cut | macro-F1 % | accuracy % | minus FedAvg, points |", "|---|---|---|---|"]
    for cut in range(LAYERS + 1):
        own = sorted((r for r in rows if r["cut"] == cut), key=lambda r: r["seed"])
        scores = np.array([r["macro_f1"] for r in own])
        accuracy = np.array([r["accuracy"] for r in own])
        lines.append(f"| {cut} | {_median(scores)} | {_median(accuracy)} | {_difference(scores, fedavg)} |")
    first = [r for r in rows if r["cut"] == 0]
    for name in ("initialisation", "permuted_labels", "weight_count"):
        found = [r["control_cuts"][name] for r in first]
        lines.append(f"\nControl cut, {name}: {', '.join(f'{found.count(c)} × {c}' for c in sorted(set(found)))}.")
    return "\n".join(lines)


def _median(values: np.ndarray) -> str:
    median, half = median_interval(values)
    return f"{100 * median:.1f} ± {100 * half:.1f}"


def _difference(values: np.ndarray, bar: np.ndarray) -> str:
    if len(values) < 2 or np.array_equal(values, bar):
        return "0"
    d = paired_difference(values, bar)
    return f"{100 * d.mean:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}]"


def _plot(rows: list[dict[str, Any]], path: Any) -> None:
    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415  (after the backend is chosen)

    figure, (top, bottom) = plt.subplots(2, 1, figsize=(6.5, 5), sharex=True, layout="constrained")
    for protocol in dict.fromkeys(r["protocol"] for r in rows):
        cuts, f1 = _by_threshold([r for r in rows if r["protocol"] == protocol])
        top.plot(THRESHOLDS, cuts.mean(0), label=f"{protocol} protocol")
        bottom.plot(THRESHOLDS, 100 * np.median(f1, 0))
    top.axhline(2, color="k", ls="--", lw=1, label="published cut")
    top.set(ylabel="cut, mean over seeds", ylim=(0, LAYERS + 0.2))
    bottom.set(xlabel="threshold t", ylabel="macro-F1 %, median over seeds")
    top.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
