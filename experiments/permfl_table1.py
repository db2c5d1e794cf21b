"""PerMFL's Table 1: all methods on four data sets, with a linear model and a network, by three readings of PerMFL.

Questions: does the published ranking hold with baselines that do what their papers say; which client lambda made the
table; and what remains of it at equal gradient steps?

    python -m experiments.permfl_table1 --preset laptop --data-dir DATA

40 clients in 4 teams of 10, two classes each (40 clients of Synthetic(0.5, 0.5)), full participation, SGD at 0.01. A
single-tier method makes L steps per round, as in the paper, or K times L ("equal steps"). Seeds change the start, the
split within clients, the partition's draw and every batch. Personal accuracy is on a client's own test examples (two
classes), global accuracy pools all test examples: they are not comparable with each other.
The released code reports the round with the highest test accuracy ("highest on test"): a choice on the test split, here
beside the published numbers only. The laptop preset has fewer rounds, batches of 20 and for images the published
784-100-10 network in place of the CNN.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from experiments.harness import run_cells, spread
from experiments.permfl_methods import METHODS, PUBLISHED, SETTINGS, TIERED
from experiments.permfl_runs import run

PAPER_CELLS = [(data, model) for data in ("mnist", "fashion_mnist", "usps", "synthetic") for model in ("mclr", "dnn")]
PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "cells": [("usps", "mclr")],
        "methods": ["FedAvg", "PerMFL"],
        "settings": ["paper text", "released code"],
        "seeds": 1,
        "rounds": {"mclr": 2},
        "fewer_rounds": {},
        "batch_size": 20,
        "team_rounds": 2,
        "steps": 3,
        "equal_steps": [],
    },
    "laptop": {
        "cells": [
            ("mnist", "mclr"),
            ("fashion_mnist", "mclr"),
            ("usps", "mclr"),
            ("synthetic", "mclr"),
            ("synthetic", "dnn"),
            ("mnist", "dnn"),
        ],
        "methods": list(METHODS),
        "settings": list(SETTINGS),
        "seeds": 3,
        "rounds": {"mclr": 150, "dnn": 150},
        "fewer_rounds": {"mnist dnn": 20},
        "batch_size": 20,
        "team_rounds": 10,
        "steps": 20,
        "equal_steps": [("mnist", "mclr")],
    },
    "paper": {
        "cells": PAPER_CELLS,
        "methods": list(METHODS),
        "settings": list(SETTINGS),
        "seeds": 10,
        "rounds": {"mclr": 400, "dnn": 400},
        "fewer_rounds": {},
        "batch_size": 124,
        "team_rounds": 10,
        "steps": 20,
        "equal_steps": PAPER_CELLS,
    },
}
SINGLE = tuple(m for m in METHODS if m not in (*TIERED, "AL2GD"))  # whose steps per round may be made equal


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows, print a table per data set and model."""
    run_cells("permfl_table1", __doc__, argv, PRESETS, _cells, run, _tables)


def _cells(preset: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for data, model in preset["cells"]:
        rounds = preset["fewer_rounds"].get(f"{data} {model}", preset["rounds"][model])
        for method in preset["methods"]:
            algorithm, options, kinds = METHODS[method]
            if method in TIERED:
                options = options | {"team_rounds": preset["team_rounds"]}
            equal = method in SINGLE and (data, model) in preset["equal_steps"]
            for setting in preset["settings"] if method == "PerMFL" else ["–"]:
                for steps in ["paper", "equal"] if equal else ["paper"]:
                    yield (
                        {"data": data, "model": model, "method": method, "setting": setting, "steps": steps},
                        {
                            "data": data,
                            "model": model,
                            "algorithm": algorithm,
                            "options": options | SETTINGS.get(setting, {}),
                            "kinds": kinds,
                            "rounds": rounds,
                            "steps": preset["steps"] * (preset["team_rounds"] if steps == "equal" else 1),
                        },
                    )


def _tables(rows: list[dict[str, Any]], preset: dict[str, Any]) -> str:
    cells = preset["cells"]
    return "\n".join(f"\n{data}, {model}\n\n{_table(rows, preset, data, model)}" for data, model in cells)


def _table(rows: list[dict[str, Any]], preset: dict[str, Any], data: str, model: str) -> str:
    """Mean and standard deviation over seeds, by scored_round of the round, beside the published number."""
    published = PUBLISHED.get((data, model), {})
    lines = [
        "| method | model | accuracy %, last round | best by validation | highest on test | published | client steps |",
        "|---|---|---|---|---|---|---|",
    ]
    for method in preset["methods"]:
        own = [r for r in rows if (r["data"], r["model"], r["method"]) == (data, model, method)]
        for setting, steps in dict.fromkeys((r["setting"], r["steps"]) for r in own):
            some = [r for r in own if (r["setting"], r["steps"]) == (setting, steps)]
            name = f"{method}, {setting}" if method == "PerMFL" else method
            name += ", equal steps" if steps == "equal" else ""
            for kind in METHODS[method][2]:
                found = " | ".join(spread([r["accuracy"][kind][s] for r in some]) for s in ("last", "best", "highest"))
                known = published.get((method, kind), "–")
                lines.append(f"| {name} | {kind} | {found} | {known} | {some[0]['client_steps']:,} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
