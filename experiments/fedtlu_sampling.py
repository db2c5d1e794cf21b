"""FedTLU with cohorts drawn uniformly, by size, or among the better half: does who takes part change what is gained?

Clients' sizes are log-normal here. "By quality" draws uniformly among the half of the clients on whose training
examples the start has the lower loss. Half of the cells have 30 % of the clients train on random tokens, which such a
draw should leave out.

    python -m experiments.fedtlu_sampling --preset laptop --data-dir DATA
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from experiments.fedtlu_runs import MEASURES, SIZES, common, gain, of, plain, run
from experiments.harness import run_cells

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {**SIZES["smoke"], "methods": ["FedTLU"], "noise": ["30 % noisy"], "draws": ["by quality"]},
    "laptop": {**SIZES["laptop"], "rounds": 20, "methods": None},
    "paper": {**SIZES["paper"], "methods": None},
}
DRAWS: dict[str, dict[str, Any]] = {"uniform": {}, "by size": {"sampling": "by_size"}, "by quality": {"quality": True}}
NOISE: dict[str, dict[str, Any]] = {
    "none": {},
    "30 % noisy": {"attack": "token_noise", "attack_strength": 1.0, "attack_fraction": 0.3},
}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "FedAvg": ("fedavg", {}),
    "FedTLU": ("fedtlu", {"k": 1}),
    "random": ("random_layers", {"k": 1}),
}


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows, print the table."""
    run_cells("fedtlu_sampling", __doc__, argv, PRESETS, _cells, run, _tables)


def _cells(preset: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for noise in preset.get("noise", NOISE):
        for draw in preset.get("draws", DRAWS):
            for name in preset["methods"] or METHODS:
                algorithm, options = METHODS[name]
                how = {"data": "UD English", "start": "pretrained", "algorithm": algorithm, "options": options}
                how |= {"partition": "dirichlet_lognormal"} | NOISE[noise] | DRAWS[draw]
                yield {"noise": noise, "draw": draw, "method": name}, common(preset) | how


def _tables(rows: list[dict[str, Any]], preset: dict[str, Any]) -> str:
    del preset
    lines = [
        "| noise | cohorts | method | global | local | global, lower than random by |",
        "|---|---|---|---|---|---|",
    ]
    for noise, draw, method in dict.fromkeys((r["noise"], r["draw"], r["method"]) for r in rows):
        own = [r for r in rows if (r["noise"], r["draw"]) == (noise, draw)]
        found = [plain(of(own, measure, method=method)) for measure in MEASURES]
        than = gain(of(own, "global", method=method), of(own, "global", method="random"))
        cells = [noise, draw, method, *found, "" if method == "random" else than]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
