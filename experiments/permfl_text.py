"""PerMFL on text: sentences of three sites, each site a team of ten devices.

Question: does the order of Table 1 hold on text, where teams differ by nature (films, products, restaurants)? The paper
has no text.

    python -m experiments.permfl_text --preset laptop --data-dir DATA

3,000 sentences, positive or negative; within a site labels are cut up among the clients (Dirichlet 0.5). Two models on
word numbers: logistic regression on the shares of words, and vectors of 16 numbers per word. Both want another step
size than pictures do, so every method is run with all of ``rates`` and keeps the one with the best mean validation
accuracy of the model that it is reported for; the test examples decide nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from experiments.harness import run_cells, spread
from experiments.permfl_methods import METHODS, SETTINGS, TIERED
from experiments.permfl_runs import majority, run

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1,
        "rounds": 2,
        "steps": 2,
        "batch_size": 10,
        "team_rounds": 2,
        "models": ["bag"],
        "rates": [1.0],
        "methods": ["FedAvg", "PerMFL"],
        "settings": ["paper text"],
    },
    "laptop": {
        "seeds": 3,
        "rounds": 40,
        "steps": 10,
        "batch_size": 10,
        "team_rounds": 5,
        "models": ["bag", "vectors"],
        "rates": [0.1, 0.5, 2.0],
        "methods": list(METHODS),
        "settings": ["paper text", "released code"],
    },
    "paper": {
        "seeds": 10,
        "rounds": 200,
        "steps": 20,
        "batch_size": 10,
        "team_rounds": 10,
        "models": ["bag", "vectors"],
        "rates": [0.05, 0.1, 0.2, 0.5, 1.0, 2.0],
        "methods": list(METHODS),
        "settings": list(SETTINGS),
    },
}
MODELS: dict[str, dict[str, Any]] = {"bag": {"width": None}, "vectors": {"width": 16}}
DEVICES = 30
CONSTANT = "most frequent label"  # of the client's training examples, whatever the text
ALL = METHODS | {CONSTANT: ("local", {}, ("personal",))}


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows, print a table per model."""
    run_cells("permfl_text", __doc__, argv, PRESETS, _cells, _run, _tables)


def _run(data_dir: str | None, *, constant: bool = False, **how: Any) -> dict[str, Any]:
    """A method, or the rule that looks at no text."""
    return (majority if constant else run)(data_dir, **how)


def _cells(preset: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for model in preset["models"]:
        for method in (CONSTANT, *preset["methods"]):
            algorithm, options, kinds = ALL[method]
            if method in TIERED:
                options = options | {"team_rounds": preset["team_rounds"]}
            for setting in preset["settings"] if method == "PerMFL" else ["–"]:
                for rate in preset["rates"] if method != CONSTANT else [0.0]:
                    how = {
                        "data": "sentiment",
                        "model": "text",
                        "model_options": MODELS[model],
                        "algorithm": algorithm,
                        "options": options | SETTINGS.get(setting, {}),
                        "kinds": kinds,
                        "clients": DEVICES,
                        "constant": method == CONSTANT,
                        "learning_rate": rate or 1.0,
                    }
                    yield {"model": model, "method": method, "setting": setting, "rate": rate}, how


def _tables(rows: list[dict[str, Any]], preset: dict[str, Any]) -> str:
    del preset
    lines = []
    for model in dict.fromkeys(r["model"] for r in rows):
        lines += [
            f"\n{model}\n",
            "| method | model | step size | test accuracy %, last round | validation accuracy % | client steps |",
            "|---|---|---|---|---|---|",
        ]
        for method, setting in dict.fromkeys((r["method"], r["setting"]) for r in rows if r["model"] == model):
            own = [r for r in rows if (r["model"], r["method"], r["setting"]) == (model, method, setting)]
            name = f"{method}, {setting}" if method == "PerMFL" else method
            lines += [_line(name, kind, own) for kind in ALL[method][2]]
    return "\n".join(lines)


def _line(name: str, kind: str, rows: list[dict[str, Any]]) -> str:
    """One model of one method, at the step size that its validation examples choose."""

    def validation(rate: float) -> float:
        return float(np.mean([r["validation"][kind] for r in rows if r["rate"] == rate]))

    rates = sorted({r["rate"] for r in rows})
    best = max(rates, key=validation)
    some = [r for r in rows if r["rate"] == best]
    found = [spread([r["accuracy"][kind]["last"] for r in some]), spread([r["validation"][kind] for r in some])]
    return f"| {name} | {kind} | {f'{best:g}' if best else '–'} | {' | '.join(found)} | {some[0]['client_steps']:,} |"


if __name__ == "__main__":
    main()
