"""PerMFL's Table 1: all methods on four data sets, with a linear model and a network, by three readings of PerMFL.

Questions: does the published ranking hold with baselines that do what their papers say; which device lambda made the
table; and what remains of it at equal gradient steps?

    python -m experiments.permfl_table1 --preset laptop --data-dir DATA

40 devices in 4 teams of 10, two classes each (40 devices of Synthetic(0.5, 0.5)), full participation, SGD at 0.01. A
single-tier method makes L steps per round, as in the paper, or K times L ("equal steps"). Seeds change the start, the
split within devices, the partition's draw and every batch. Personal accuracy is on a device's own test examples (two
classes), global accuracy pools all test examples: they are not comparable with each other (note section 4).
The released code reports the round with the highest test accuracy ("highest on test"): a choice on the test split, here
beside the published numbers only. The laptop preset has fewer rounds, batches of 20 and for images the published
784-100-10 network in place of the CNN.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from experiments.harness import Rows, arguments
from experiments.permfl_methods import DATASETS, HIDDEN, METHODS, MODELS, PUBLISHED, SETTINGS, SPLIT, TIERED
from fedjax_layers.simulation.config import RunConfig
from fedjax_layers.simulation.experiment import execute
from fedjax_layers.simulation.history import History
from fedjax_layers.simulation.setup import prepare
from fedjax_layers.simulation.summary import scores_of

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
        "cells": [(data, model) for data in DATASETS for model in MODELS],
        "methods": list(METHODS),
        "settings": list(SETTINGS),
        "seeds": 10,
        "rounds": {"mclr": 400, "dnn": 400},
        "fewer_rounds": {},
        "batch_size": 124,
        "team_rounds": 10,
        "steps": 20,
        "equal_steps": [(data, model) for data in DATASETS for model in MODELS],
    },
}
SINGLE = tuple(m for m in METHODS if m not in (*TIERED, "AL2GD"))  # whose steps per round may be made equal


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows, print a table per data set and model."""
    options = arguments("permfl_table1", __doc__, argv)
    preset = PRESETS[options.preset]
    rows = Rows(options.out)
    for data, model in preset["cells"]:
        for seed in range(preset["seeds"]):
            jax.clear_caches()  # sizes are part of the programs; XLA's CPU backend has only so many memory maps
            for method in preset["methods"]:
                for setting in preset["settings"] if method == "PerMFL" else ["–"]:
                    for steps in _budgets(preset, data, model, method):
                        key = {
                            "data": data,
                            "model": model,
                            "seed": seed,
                            "method": method,
                            "setting": setting,
                            "steps": steps,
                        }
                        rows.get(key, functools.partial(_run, preset, options.data_dir, key))
    rows.finish(preset=preset)
    for data, model in preset["cells"]:
        print(f"\n{data}, {model}\n\n{_table(rows.rows, preset, data, model)}")


def _budgets(preset: dict[str, Any], data: str, model: str, method: str) -> list[str]:
    equal = method in SINGLE and (data, model) in preset["equal_steps"]
    return ["paper", "equal"] if equal else ["paper"]


def _run(preset: dict[str, Any], data_dir: str | None, key: dict[str, Any]) -> dict[str, Any]:
    """One run's accuracies by kind of model and selection, and what it cost."""
    algorithm, algorithm_options, kinds = METHODS[key["method"]]
    steps = preset["steps"] * (preset["team_rounds"] if key["steps"] == "equal" else 1)
    if key["method"] in TIERED:
        algorithm_options = algorithm_options | {"team_rounds": preset["team_rounds"]}
    if key["method"] == "PerMFL":
        algorithm_options = algorithm_options | SETTINGS[key["setting"]]
    where = DATASETS[key["data"]]
    model = MODELS[key["model"]]
    if key["model"] == "dnn" and key["data"] in HIDDEN:
        model = model | {"model_options": {"hidden": HIDDEN[key["data"]]}}
    rounds = preset["fewer_rounds"].get(f"{key['data']} {key['model']}", preset["rounds"][key["model"]])
    config = RunConfig(
        algorithm=algorithm,
        algorithm_options=algorithm_options,
        **(where | {"data_options": where["data_options"] | SPLIT | {"split_seed": key["seed"]}}),
        **model,
        clients=40,
        rounds=rounds,
        eval_every=max(1, rounds // 15),
        learning_rate=0.01,
        momentum=0.0,
        batch_size=preset["batch_size"],
        steps=steps,
        weighting="uniform",
        seed=key["seed"],
        client_width="10",
    )
    experiment = prepare(config, data_dir)
    summary, history = execute(experiment)
    sizes = experiment.data.sizes["test"]  # PM and GM pool the test examples of all devices
    accuracies = {kind: _accuracies(history, kind, sizes) for kind in kinds}
    return {
        "accuracy": accuracies,
        "device_steps": int(history.rounds["steps"].sum(dtype=np.int64)),
        "seconds": summary["wall_seconds"],
        "devices": int(experiment.data.num_clients),
    }


def _accuracies(history: History, kind: str, sizes: np.ndarray) -> dict[str, float | None]:
    """Pooled test accuracy after the last round, at each device's best round by validation loss, and at its highest.

    The last is what the released code reports: the round is picked by the score itself, on the test examples.
    """
    moment = "served" if kind == "personal" else kind
    found: dict[str, float | None] = {}
    for selection in ("last", "best"):
        scores = scores_of(history, moment, selection, sizes)
        found[selection] = None if scores is None else scores["accuracy"]["weighted"]
    clients = history.evaluations[f"{moment}/test/accuracy"]
    found["highest"] = float(np.average(clients, axis=1, weights=sizes).max())
    return found


def _table(rows: list[dict[str, Any]], preset: dict[str, Any], data: str, model: str) -> str:
    """Mean and standard deviation over seeds, by selection of the round, beside the published number."""
    published = PUBLISHED.get((data, model), {})
    lines = [
        "| method | model | accuracy %, last round | best by validation | highest on test | published | device steps |",
        "|---|---|---|---|---|---|---|",
    ]
    for method in preset["methods"]:
        own = [r for r in rows if (r["data"], r["model"], r["method"]) == (data, model, method)]
        for setting, steps in dict.fromkeys((r["setting"], r["steps"]) for r in own):
            some = [r for r in own if (r["setting"], r["steps"]) == (setting, steps)]
            name = f"{method}, {setting}" if method == "PerMFL" else method
            name += ", equal steps" if steps == "equal" else ""
            for kind in METHODS[method][2]:
                found = " | ".join(_spread([r["accuracy"][kind][s] for r in some]) for s in ("last", "best", "highest"))
                known = published.get((method, kind), "–")
                lines.append(f"| {name} | {kind} | {found} | {known} | {some[0]['device_steps']:,} |")
    return "\n".join(lines)


def _spread(values: list[float | None]) -> str:
    there = [100 * v for v in values if v is not None]
    if not there:
        return "–"
    return f"{np.mean(there):.1f} ± {np.std(there, ddof=1):.1f}" if len(there) > 1 else f"{there[0]:.1f}"


if __name__ == "__main__":
    main()
