"""FedTLU on 6, 12 and 24 layers, a sixth of them updated per round: does its choice gain with more to choose from?

python -m experiments.fedtlu_depth --preset laptop --data-dir DATA
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from experiments.fedtlu_runs import MEASURES, MODEL, SIZES, common, gain, of, plain, run
from experiments.harness import run_cells

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {**SIZES["smoke"], "depths": [2], "methods": ["FedAvg", "FedTLU"]},
    "laptop": {**SIZES["laptop"], "rounds": 24, "depths": [6, 12, 24], "methods": None},
    "paper": {**SIZES["paper"], "depths": [6, 12, 24], "methods": None},
}
METHODS = {"FedAvg": "fedavg", "FedTLU": "fedtlu", "random": "random_layers", "last": "last_layers"}


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows, print the table."""
    run_cells("fedtlu_depth", __doc__, argv, PRESETS, _cells, run, _tables)


def _cells(preset: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for depth in preset["depths"]:
        for name in preset["methods"] or METHODS:
            options = {} if name == "FedAvg" else {"k": max(1, depth // 6)}
            how = {"data": "UD English", "start": "pretrained", "algorithm": METHODS[name], "options": options}
            model = {"model_options": {**preset.get("model_options", MODEL), "layers": depth}}
            yield {"depth": depth, "method": name}, common(preset) | how | model


def _tables(rows: list[dict[str, Any]], preset: dict[str, Any]) -> str:
    lines = ["| layers | method | global | local | global, lower than random by |", "|---|---|---|---|---|"]
    for depth in preset["depths"]:
        own = [r for r in rows if r["depth"] == depth]
        for name in dict.fromkeys(r["method"] for r in own):
            found = [plain(of(own, measure, method=name)) for measure in MEASURES]
            than = gain(of(own, "global", method=name), of(own, "global", method="random"))
            lines.append(f"| {depth} | {name} | {' | '.join(found)} | {'' if name == 'random' else than} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
