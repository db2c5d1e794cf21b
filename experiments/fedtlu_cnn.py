"""FedTLU on networks for images: a CNN, whose layers all compete, and a residual network with group norm.

The paper leaves networks other than transformers open. The CNN's layers differ in size, and all compete all the same
(small ones score higher for their size alone). The residual network's stages are equally wide, so that its blocks are
alike and compete; its first convolution and its head are always updated.

    python -m experiments.fedtlu_cnn --preset laptop --data-dir DATA

Fashion-MNIST, 50 clients by Dirichlet(0.3), ten per round, two local epochs of SGD; accuracy of the global model on a
set of no client, after the last round.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from experiments.harness import run_cells, spread
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.summary import pooled_scores
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import prepare

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1,
        "rounds": 2,
        "batch_size": 16,
        "clients": 4,
        "cohort": 2,
        "limit": 300,
        "ks": ([1], []),
        "methods": ["FedAvg", "FedTLU"],
        "size": "smoke",
    },
    "laptop": {
        "seeds": 3,
        "rounds": 30,
        "batch_size": 32,
        "clients": 50,
        "cohort": 10,
        "limit": 8_000,
        "ks": ([1, 2], [1]),
    },
    "paper": {
        "seeds": 5,
        "rounds": 150,
        "batch_size": 32,
        "clients": 100,
        "cohort": 10,
        "limit": None,
        "ks": ([1, 2, 3], [1, 2, 3]),  # of each network
        "size": "paper",
    },
}
MODELS: dict[str, dict[str, dict[str, Any]]] = {
    "CNN": {
        "smoke": {"channels": (4,), "hidden": (8,)},
        "laptop": {"channels": (8, 16), "hidden": (64,)},
        "paper": {"channels": (32, 64), "hidden": (512,)},
    },
    "ResNet, group norm": {
        "smoke": {"channels": (4,), "depth": 1},
        "laptop": {"channels": (12, 12), "depth": 2},
        "paper": {"channels": (32, 32, 32), "depth": 3},
    },
}
NAMES = {"CNN": "cnn", "ResNet, group norm": "resnet"}
LEFTOVERS = {"CNN": "compete", "ResNet, group norm": "update"}
METHODS = {"FedAvg": "fedavg", "FedTLU": "fedtlu", "random": "random_layers", "last": "last_layers"}


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows, print the table."""
    run_cells("fedtlu_cnn", __doc__, argv, PRESETS, _cells, _run, _tables)


def _cells(preset: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    shared = {name: preset[name] for name in ("clients", "cohort", "limit")}
    for (network, sizes), ks in zip(MODELS.items(), preset["ks"], strict=True):
        model = {"model": NAMES[network], "model_options": sizes[preset.get("size", "laptop")]}
        for name in preset.get("methods", METHODS):
            for k in [0] if name == "FedAvg" else ks:
                how = {"algorithm": METHODS[name], "options": {"k": k, "leftovers": LEFTOVERS[network]} if k else {}}
                yield {"network": network, "method": name, "k": k}, shared | model | how


def _run(
    data_dir: str | None, *, limit: int | None, seed: int, algorithm: str, options: dict[str, Any], **fields: Any
) -> dict[str, Any]:
    config = RunConfig(
        algorithm=algorithm,
        algorithm_options=options,
        dataset="fashion_mnist",
        data_options={"limit": limit, "alpha": 0.3, "global_test": 0.2},
        partition="dirichlet",
        epochs=2,
        learning_rate=0.05,
        eval_every=max(1, fields["rounds"] // 5),
        scored_model="served",
        evaluated_models="served",
        client_width="1",
        seed=seed,
        **fields,
    )
    experiment = prepare(config, data_dir)
    summary, history = execute(experiment)
    scores = pooled_scores(history, "global_test")
    return {
        "accuracy": None if scores is None else scores["accuracy"],
        "frequency": None if summary.get("updated_blocks") is None else summary["updated_blocks"]["frequency"],
        "blocks": experiment.plan.task.layers.block_names,
        "seconds": summary["wall_seconds"],
    }


def _tables(rows: list[dict[str, Any]], preset: dict[str, Any]) -> str:
    del preset
    lines = [
        "| network | method | k | accuracy % | share of rounds in which each block was updated |",
        "|---|---|---|---|---|",
    ]
    for network, method, k in dict.fromkeys((r["network"], r["method"], r["k"]) for r in rows):
        own = [r for r in rows if (r["network"], r["method"], r["k"]) == (network, method, k)]
        shares = "" if own[0]["frequency"] is None else ", ".join(map(_share, own[0]["blocks"], _mean(own)))
        accuracy = spread([r["accuracy"] for r in own])
        lines.append(f"| {network} | {method} | {k or 'all'} | {accuracy} | {shares} |")
    return "\n".join(lines)


def _mean(rows: list[dict[str, Any]]) -> np.ndarray:
    return np.mean([r["frequency"] for r in rows], axis=0)


def _share(name: str, share: float) -> str:
    return f"{name} {share:.2f}"


if __name__ == "__main__":
    main()
