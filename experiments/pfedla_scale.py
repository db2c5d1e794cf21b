"""pFedLA with 10 to 1,000 clients: does it collapse, and what cures it?

Others report that pFedLA falls from 91 % with 10 clients to 17 % with 100. Candidates for the cause
and the cure (section 11.12): while weights are near uniform, the pool's mean moves by the cohort's share of all clients
per round, and a client's own progress is diluted by all others. So: a head start for oneself, a faster hypernetwork,
only fresh entries; and fixed rules of the same kind.

    python -m experiments.pfedla_scale --preset laptop --data-dir DATA

Fashion-MNIST, non-IID_1, equally many examples per client however many clients there are; a tenth of them, at least
five, take part in a round, and as many rounds are made that each is expected in equally many. The laptop preset has
one seed for 1,000 clients.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from experiments.harness import run_cells, spread
from experiments.pfedla_methods import FAST, RULES
from experiments.pfedla_runs import SIZES, run

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **SIZES["smoke"],
        "rounds": 2,
        "model": "two layers",
        "clients": [5],
        "client_size": 48,
        "methods": ["FedAvg", "pFedLA"],
    },
    "laptop": {
        **SIZES["laptop"],
        "rounds": 50,
        "model": "lenet5",
        "clients": [10, 30, 100, 300, 1000],
        "once": [1000],
        "client_size": 48,
        "methods": None,
    },
    "paper": {
        **SIZES["paper"],
        "rounds": 250,
        "model": "lenet5",
        "clients": [10, 30, 100, 300, 1000],
        "client_size": 48,
        "methods": None,
    },
}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "Local": ("local", {}),
    "FedAvg": ("fedavg", {}),
    "FedAvg + fine-tuning": ("local_adaptation", {}),
    "pFedLA": ("pfedla", {}),
    "fast": ("pfedla", FAST),
    "self bias 4": ("pfedla", {"self_bias": 4.0}),
    "fresh entries": ("pfedla", {"fresh_rounds": 1}),
    "fast, fresh entries": ("pfedla", FAST | {"fresh_rounds": 1}),
    "rule: uniform": ("layer_mix", {"rule": "uniform"}),
    "rule: uniform, fresh entries": ("layer_mix", {"rule": "uniform", "fresh_rounds": 1}),
    "rule: self weight": ("layer_mix", RULES["self weight"]),
    "rule: self weight, fresh entries": ("layer_mix", RULES["self weight"] | {"fresh_rounds": 1}),
}


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows, print a table."""
    run_cells("pfedla_scale", __doc__, argv, PRESETS, _cells, run, _tables)


def _cells(preset: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for clients in preset["clients"]:
        for method in preset["methods"] or METHODS:
            algorithm, options = METHODS[method]
            yield (
                {"clients": clients, "method": method},
                {
                    "data": "fashion_mnist",
                    "split": "non-IID_1",
                    "clients": clients,
                    "cohort": max(clients // 10, min(5, clients)),
                    **({"seeds": [0]} if clients in preset.get("once", ()) else {}),
                    "algorithm": algorithm,
                    "options": options,
                },
            )


def _tables(rows: list[dict[str, Any]], preset: dict[str, Any]) -> str:
    parts = []
    for scored_model in ("served", "trained"):
        lines = [
            f"\n{scored_model}, accuracy %\n",
            f"| method | {' | '.join(f'{n} clients' for n in preset['clients'])} |",
            f"|---|{'---|' * len(preset['clients'])}",
        ]
        for method in dict.fromkeys(r["method"] for r in rows):
            found = [
                spread(
                    [r["accuracy"][scored_model]["last"] for r in rows if (r["clients"], r["method"]) == (n, method)]
                )
                for n in preset["clients"]
            ]
            lines.append(f"| {method} | {' | '.join(found)} |")
        parts.append("\n".join(lines))
    return "\n".join(parts)


if __name__ == "__main__":
    main()
