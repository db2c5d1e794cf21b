"""pFedLA's weights on real data: who listens to whom, layer by layer, and whether known clusters are found.

Questions: with two clusters of clients (labels 0 to 4, labels 5 to 9), does the weight given to one's own cluster rise,
and fall with the ascent of public re-implementations? In which layers? With the paper's split, do clients listen to
those whose labels they share?

    python -m experiments.pfedla_weights --preset laptop --data-dir DATA

10 clients, LeNet-5, all take part. Plots: ``clusters.png``, the share of what goes to others that goes to one's own
cluster, by layer over rounds; ``weights.png``, heat maps of alpha in the last round, first and last layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np

from experiments.harness import USUAL, Rows, arguments
from experiments.pfedla_methods import FAST
from experiments.pfedla_runs import SIZES, train
from fedjax_layers.data.team_formation import label_counts

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **SIZES["smoke"],
        "clients": 4,
        "model": "two layers",
        "data": ["mnist"],
        "variants": ["descent"],
    },
    "laptop": {
        **SIZES["laptop"],
        "clients": 10,
        "data": ["mnist", "fashion_mnist"],
    },
    "paper": {
        **SIZES["paper"],
        "clients": 20,
        "data": ["mnist", "fashion_mnist", "cifar10"],
    },
}
SPLITS = ("two clusters", "non-IID_1")
VARIANTS: dict[str, dict[str, Any]] = {
    "descent": FAST,
    "ascent": FAST | {"published_sign": True},
    "descent, rate 0.005": {"hyper_learning_rate": 0.005},
}


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows and plots, print a table."""
    options = arguments("pfedla_weights", __doc__, argv)
    preset = PRESETS[options.preset]
    rows = Rows(options.out, verify=options.verify)
    for data in preset["data"]:
        for split in SPLITS:
            for variant in preset.get("variants", VARIANTS):
                for seed in range(preset["seeds"]):
                    key = {"data": data, "split": split, "variant": variant, "seed": seed}
                    rows.get(key, lambda key=key: _row(preset, options.data_dir, **key))  # type: ignore[misc]
    rows.finish(preset=preset)
    print(_table(rows.rows))
    _plot_clusters(rows.rows, options.out / "clusters.png")
    _plot_weights(rows.rows, options.out / "weights.png")


def _row(preset: Mapping[str, Any], data_dir: str | None, *, variant: str, **where: Any) -> dict[str, Any]:
    same = {"model": "lenet5"} | {field: preset[field] for field in (*USUAL, "clients") if field in preset}
    options = VARIANTS[variant] | {"record_weights": True}
    experiment, history, _ = train(data_dir, algorithm="pfedla", options=options, **same, **where)
    alpha = history.rounds["alpha"]  # [R, C, L, C]
    near = _likeness(label_counts(experiment.data)) if where["split"] != "two clusters" else _halves(alpha.shape[1])
    return {
        "layers": list(experiment.plan.task.layers.names),
        "near": near.round(4).tolist(),
        "within": np.stack([_within(a, near) for a in alpha]).round(4).tolist(),
        "chance": _within(np.ones_like(alpha[0]), near)[0],
        "self_weight": history.rounds["self_weight"].round(4).tolist(),
        "alpha": alpha[-1].round(4).tolist(),
    }


def _halves(clients: int) -> np.ndarray:
    """``[C, C]``: 1 where two clients are of one cluster."""
    team = np.arange(clients) * 2 // clients
    return (team[:, None] == team).astype(float)


def _likeness(counts: np.ndarray) -> np.ndarray:
    """``[C, C]``: the share of labels ``[C, K]`` that two clients have in common."""
    share = counts / counts.sum(1, keepdims=True)
    return np.minimum(share[:, None], share[None]).sum(-1)


def _within(alpha: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Of what ``alpha [C, L, C]`` gives to others, the mean nearness of whom it is given to, ``[L]``."""
    others = alpha * (1 - np.eye(len(alpha)))[:, None]
    total = others.sum((0, 2))
    return (others * near[:, None]).sum((0, 2)) / np.where(total > 0, total, 1)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "| data | split | variant | to one's like, first round | last round, by layer | self weight, by layer |",
        "|---|---|---|---|---|---|",
    ]
    for where in dict.fromkeys((r["data"], r["split"], r["variant"]) for r in rows):
        some = [r for r in rows if (r["data"], r["split"], r["variant"]) == where]
        last, own = (np.mean([r[k][-1] for r in some], axis=0) for k in ("within", "self_weight"))
        numbers = (" ".join(f"{v:.2f}" for v in values) for values in (last, own))
        lines.append(f"| {' | '.join(where)} | {np.mean([r['chance'] for r in some]):.2f} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def _plot_clusters(rows: Sequence[Mapping[str, Any]], path: Any) -> None:
    """Mean over seeds by layer; a panel for each data set and variant."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415  (after the backend is chosen)

    rows = [r for r in rows if r["split"] == "two clusters"]
    data, variants = (list(dict.fromkeys(r[column] for r in rows)) for column in ("data", "variant"))
    figure, panels = plt.subplots(
        len(data), len(variants), figsize=(4 * len(variants), 3.2 * len(data)), sharey=True, squeeze=False
    )
    for row_of, name in zip(panels, data, strict=True):
        for axes, variant in zip(row_of, variants, strict=True):
            some = [r for r in rows if (r["data"], r["variant"]) == (name, variant)]
            mean = np.mean([r["within"] for r in some], axis=0)  # [R, L]
            for layer, curve in zip(some[0]["layers"], mean.T, strict=True):
                axes.plot(np.arange(1, len(curve) + 1), curve, label=layer)
            axes.axhline(some[0]["chance"], color="k", ls=":", lw=1)
            axes.set(title=f"{name}, {variant}", xlabel="round", ylim=(0, 1))
        row_of[0].set_ylabel("share within the cluster")
    panels[0, 0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _plot_weights(rows: Sequence[Mapping[str, Any]], path: Any) -> None:
    """Alpha of seed 0 by descent, own weight left out; beside it who is alike."""
    import matplotlib.pyplot as plt  # noqa: PLC0415  (after the backend is chosen)

    rows = [r for r in rows if r["variant"] == "descent" and r["seed"] == 0]
    layers = rows[0]["layers"]
    figure, panels = plt.subplots(
        len(rows), len(layers) + 1, figsize=(2.6 * (len(layers) + 1), 2.6 * len(rows)), squeeze=False
    )
    for row_of, one in zip(panels, rows, strict=True):
        hidden = np.eye(len(one["near"]), dtype=bool)
        maps = [np.array(one["near"]), *np.moveaxis(np.array(one["alpha"]), 1, 0)]
        for axes, values, title in zip(row_of, maps, ["alike", *layers], strict=True):
            axes.imshow(np.ma.masked_array(values, hidden), cmap="viridis")
            axes.set(title=title, xticks=[], yticks=[])
        row_of[0].set_ylabel(f"{one['data']}\n{one['split']}\nclient", fontsize=8)
    figure.supxlabel("heard client; colours from the least to the largest of a panel, own weight left out")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
