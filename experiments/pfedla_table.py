"""pFedLA's tables: all methods on four data sets and two splits, with 10 clients and with 100 of whom 10 take part.

Question: do layer-wise learnt weights beat (a) FedAvg with local fine-tuning, (b) the same weights for the whole model,
(c) fixed rules? The paper's own numbers are not known, so none stand beside ours.

    python -m experiments.pfedla_table --preset laptop --data-dir DATA

Every client keeps 30 % of its examples for testing, fixed over rounds. Scores are means over clients after the last
round: "served" is the model that a client gets, before local training, "trained" what its training makes of it. All
methods start from one model (the re-implementation's row apart), and make one epoch per round of SGD at the same rate;
Ditto and FedRep (two epochs of its head) make more steps, see the column, and pFedMe solves each by five inner ones.
"pFedLA" learns its weights at the rate of re-implementations, 0.005; "fast" has the rate that did best on validation
examples of other seeds (``pfedla_ablation``, part "tuning"), and so have whole-model weights and HeurpFedLA. Fixed
rules and free logits are tuned in the same way; the other baselines have their papers' numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from experiments.harness import run_cells, spread
from experiments.pfedla_methods import AS_REIMPLEMENTED, BOTH, FAST, RULES
from experiments.pfedla_runs import EVALUATED_MODELS, SIZES, points_against, run
from fedjax_layers.experiment.statistics import critical_difference, friedman, ranks

FOUR = ("mnist", "fashion_mnist", "cifar10", "cifar100")
# A cell: data, split, clients, examples of each, cohort, rounds.
PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **SIZES["smoke"],
        "models": ("two layers", "small, batch norm"),
        "cells": [("mnist", "non-IID_1", 4, 60, None, 2)],
        "methods": ["FedAvg", "FedBN", "pFedLA", "whole model, fast"],
    },
    "laptop": {
        **SIZES["laptop"],
        "models": ("lenet5", "small, batch norm"),
        "cells": [
            *((data, split, 10, 240 if data == "cifar100" else 200, None, 16) for data in FOUR for split in BOTH),
            *((data, "non-IID_1", 100, 80, 10, 40) for data in ("fashion_mnist", "cifar10")),
        ],
        "methods": None,
    },
    "paper": {
        **SIZES["paper"],
        "models": ("fedbn", "fedbn, batch norm"),
        "cells": [
            (data, split, clients, None, cohort, 100)
            for clients, cohort in ((10, None), (100, 10))
            for data in FOUR
            for split in BOTH
        ],
        "methods": None,
    },
}
# Name in the table -> algorithm and its options.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "Local": ("local", {}),
    "FedAvg": ("fedavg", {}),
    "FedAvg + fine-tuning": ("local_adaptation", {}),
    "Per-FedAvg": ("per_fedavg", {"adaptation_rate": 0.01}),
    "pFedMe": ("pfedme", {"lam": 15.0, "inner_learning_rate": 0.05}),
    "Ditto": ("ditto", {"lam": 0.1}),
    "APFL": ("apfl", {"personal_weight": 0.5}),
    "FedPer": ("fedper", {"personal_layers": 1}),
    "FedRep": ("fedrep", {"head_layers": 1, "head_epochs": 2}),
    "LG-FedAvg": ("lg_fedavg", {"local_layers": 2}),
    "FedAvg, batch norm": ("fedavg", {}),
    "FedBN": ("fedbn", {}),
    "pFedHN": ("pfedhn", {}),
    "FedFomo": ("fedfomo", {}),
    "uniform": ("layer_mix", {"rule": "uniform"}),
    **{name: ("layer_mix", options) for name, options in RULES.items()},
    "pFedLA": ("pfedla", {"hyper_learning_rate": 0.005}),  # the default, named: the next one is the same program
    "pFedLA, fast": ("pfedla", FAST),
    "whole model, fast": ("pfedla", FAST | {"granularity": "model"}),
    "HeurpFedLA, fast, k = 1": ("heurpfedla", FAST | {"retained": 1}),
    "pFedLA, as re-implemented": ("pfedla", AS_REIMPLEMENTED),
}
WITH_BATCH_NORM = ("FedAvg, batch norm", "FedBN")
OURS = "pFedLA, fast"
BARS = ("FedAvg + fine-tuning", "whole model, fast", *RULES, "Local")


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows, print a table per cell and the answers."""
    run_cells("pfedla_table", __doc__, argv, PRESETS, _cells, run, _tables)


def _cells(preset: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for data, split, clients, size, cohort, rounds in preset["cells"]:
        for method in preset["methods"] or METHODS:
            if method == "uniform" and cohort is None:
                continue  # clients of one size who all take part: FedAvg
            algorithm, options = METHODS[method]
            yield (
                {"data": data, "split": split, "clients": clients, "method": method},
                {
                    "data": data,
                    "split": split,
                    "clients": clients,
                    "cohort": cohort,
                    "client_size": size,
                    "rounds": rounds,
                    "model": preset["models"][method in WITH_BATCH_NORM],
                    "algorithm": algorithm,
                    "options": options,
                },
            )


def _tables(rows: list[dict[str, Any]], preset: dict[str, Any]) -> str:
    parts = []
    for data, split, clients, *_ in preset["cells"]:
        own = [r for r in rows if (r["data"], r["split"], r["clients"]) == (data, split, clients)]
        parts.append(f"\n{data}, {split}, {clients} clients\n\n{_table(own)}\n\n{_answers(own)}")
    return "\n".join([_overall(rows), *parts])


def _overall(rows: list[dict[str, Any]]) -> str:
    """Mean ranks over the cells, of means over seeds, and whether they tell the methods apart."""
    cells = list(dict.fromkeys((r["data"], r["split"], r["clients"]) for r in rows))

    def of(cell: tuple[Any, ...], method: str, scored_model: str) -> list[float]:
        own = [r for r in rows if (r["data"], r["split"], r["clients"], r["method"]) == (*cell, method)]
        return [r["accuracy"][scored_model]["last"] for r in own]

    methods = [
        m for m in dict.fromkeys(r["method"] for r in rows) if all(of(cell, m, EVALUATED_MODELS[0]) for cell in cells)
    ]
    tables = {s: np.array([[np.mean(of(cell, m, s)) for m in methods] for cell in cells]) for s in EVALUATED_MODELS}
    places = {scored_model: ranks(table) for scored_model, table in tables.items()}
    lines = [f"all {len(cells)} cells\n", "| method | served, mean rank | trained, mean rank |", "|---|---|---|"]
    lines += [
        f"| {methods[i]} | {' | '.join(f'{places[scored_model][i]:.1f}' for scored_model in EVALUATED_MODELS)} |"
        for i in np.argsort(places[EVALUATED_MODELS[1]], kind="stable")
    ]
    if len(cells) > 1 and len(methods) > 2:
        p = {scored_model: friedman(table).p_value for scored_model, table in tables.items()}
        gap = critical_difference(len(methods), len(cells))
        found = ", ".join(f"{scored_model} p = {value:.1e}" for scored_model, value in p.items())
        lines.append(f"\nFriedman over cells: {found}; Nemenyi critical difference {gap:.1f} ranks.")
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> str:
    """Mean and standard deviation over seeds at both evaluated_models, and mean ranks over seeds."""
    methods = list(dict.fromkeys(r["method"] for r in rows))
    by = {m: sorted((r for r in rows if r["method"] == m), key=lambda r: r["seed"]) for m in methods}
    seeds = range(min(len(own) for own in by.values()))
    lines = [
        "| method | served % | rank | trained % | rank | steps | MB up | MB down |",
        "|---|---|---|---|---|---|---|---|",
    ]
    place = {}
    for scored_model in EVALUATED_MODELS:
        table = np.array([[by[m][s]["accuracy"][scored_model]["last"] for m in methods] for s in seeds])
        place[scored_model] = dict(zip(methods, ranks(table), strict=True))
    for m in methods:
        found = " | ".join(
            f"{spread([r['accuracy'][scored_model]['last'] for r in by[m]])} | {place[scored_model][m]:.1f}"
            for scored_model in EVALUATED_MODELS
        )
        up, down = (np.mean([r["bytes"][way] for r in by[m]]) / 1e6 for way in (0, 1))
        lines.append(f"| {m} | {found} | {np.mean([r['steps'] for r in by[m]]):,.0f} | {up:.1f} | {down:.1f} |")
    return "\n".join(lines)


def _answers(rows: list[dict[str, Any]]) -> str:
    """Paired differences to what the weights have to beat."""
    lines = [f"| {OURS} minus | served, points | trained, points |", "|---|---|---|"]
    for bar in BARS:
        found = " | ".join(points_against(rows, OURS, bar, scored_model) for scored_model in EVALUATED_MODELS)
        lines.append(f"| {bar} | {found} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
