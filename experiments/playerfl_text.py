"""PLayer-FL's score on its network for texts: does it find a cut without tuning?

Published for Sent-140 (15 users; its texts are not to be had here): ``F_l / F_1 = 1, 1.13, 1.20, 135`` over embeddings,
attention, dense pair and classifier, and all but the classifier federated, at any threshold between 1.2 and 2.

    python -m experiments.playerfl_text --preset laptop --data-dir DATA

Here: review sentences of three sites, each site five clients by Dirichlet(0.5). The threshold is the package's default,
1.5. The score of embeddings takes the rows of the batch alone, and a layer's is the mean of its matrices', as in the
published code; "all elements" is the equation. Accuracy of clients' models after local training, at the round with the
best validation loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from experiments.harness import run_cells, spread
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import prepare

PUBLISHED = (1, 1.13, 1.20, 135)
PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1,
        "rounds": 2,
        "batch_size": 16,
        "width": 16,
        "learning_rate": 1e-3,
        "methods": ["PLayer-FL", "Local"],
    },
    "laptop": {"seeds": 5, "rounds": 20, "batch_size": 32, "width": 64, "learning_rate": 1e-3, "methods": None},
    "paper": {"seeds": 10, "rounds": 50, "batch_size": 64, "width": 768, "learning_rate": 5e-4, "methods": None},
}
PUBLISHED_CODE = {"combine": "matrices", "embeddings": ("embedding/tokens",)}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "PLayer-FL": ("player_fl", PUBLISHED_CODE),
    "PLayer-FL, all elements": ("player_fl", {}),
    "Local": ("local", {}),
    "FedAvg": ("fedavg", {}),
    "FedBABU": ("fedbabu", {}),
}


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows, print the table."""
    run_cells("playerfl_text", __doc__, argv, PRESETS, _cells, _run, _tables)


def _cells(preset: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for name in preset["methods"] or METHODS:
        algorithm, options = METHODS[name]
        yield {"method": name}, {"algorithm": algorithm, "options": options, "width": preset["width"]}


def _run(
    data_dir: str | None, *, seed: int, algorithm: str, options: dict[str, Any], width: int, **fields: Any
) -> dict[str, Any]:
    config = RunConfig(
        algorithm=algorithm,
        algorithm_options=options,
        dataset="sentiment",
        data_options={"length": 64, "client_alpha": 0.5},
        partition="natural_teams",
        clients=15,
        model="player_text",
        model_options={"width": width},
        optimizer="adam",
        client_width="1",
        seed=seed,
        **fields,
    )
    experiment = prepare(config, data_dir)
    summary, history = execute(experiment)
    first = history.rounds["scores"][0] if "scores" in history.rounds else None
    return {
        "accuracy": summary["personal"]["accuracy"]["mean"],
        "macro_f1": summary["personal"]["macro_f1"]["mean"],
        "layers": experiment.plan.task.layers.names,
        "scores": None if first is None else first.tolist(),
        "cut": summary.get("cut"),
        "controls": summary.get("controls"),
        "seconds": summary["wall_seconds"],
    }


def _tables(rows: list[dict[str, Any]], preset: dict[str, Any]) -> str:
    del preset
    lines = [
        "| method | accuracy % | macro-F1 % | layers federated, by seed | untrained | permuted | weight counts |",
        "|---|---|---|---|---|---|---|",
    ]
    curves = [f"\n| scored as | {' | '.join(rows[0]['layers'])} |", "|---|---|---|---|---|"]
    for method in dict.fromkeys(r["method"] for r in rows):
        own = [r for r in rows if r["method"] == method]
        cuts = " |  |  | " if own[0]["cut"] is None else " | ".join([_list(r["cut"] for r in own), *_controls(own)])
        scores = [spread([r[measure] for r in own]) for measure in ("accuracy", "macro_f1")]
        lines.append(f"| {method} | {' | '.join(scores)} | {cuts} |")
        if own[0]["scores"] is not None:
            curve = np.mean([np.cumsum(r["scores"]) / r["scores"][0] for r in own], axis=0)
            curves.append(f"| {method} | {' | '.join(f'{x:.3g}' for x in curve)} |")
    curves.append(f"| published, Sent-140 | {' | '.join(map(str, PUBLISHED))} |")
    return "\n".join([*lines, *curves])


def _controls(rows: list[dict[str, Any]]) -> list[str]:
    """The cuts that no learning explains."""
    return [_list(r["controls"][name] for r in rows) for name in ("initialisation", "permuted_labels", "weight_count")]


def _list(cuts: Iterable[int]) -> str:
    return ", ".join(map(str, cuts))


if __name__ == "__main__":
    main()
