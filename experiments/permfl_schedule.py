"""PerMFL's last open question: what if teams meet the server rarely, or each at its own pace?

Question: how many team-to-server messages can be saved at what price, and does it depend on how different teams are?
"pace" is the other half of it: one team makes all K team rounds, the others half, a fifth and a tenth of them.

    python -m experiments.permfl_schedule --preset laptop --data-dir DATA

MNIST in the paper's split, four teams: consecutive ones (each has all ten classes), or by labels. Logistic regression,
coefficients of the paper; the number of team rounds is the same in all rows but those of "pace".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from experiments.harness import run_cells, spread
from experiments.permfl_methods import PAPER
from experiments.permfl_runs import SIZES, run

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **SIZES["smoke"],
        "team_rounds": 10,
        "every": [],
        "formations": ["by_labels"],
    },
    "laptop": {
        **SIZES["laptop"],
        "every": [1, 2, 5, 10, 20],
        "formations": ["sequential", "by_labels"],
    },
    "paper": {
        **SIZES["paper"],
        "every": [1, 2, 5, 10, 20, 50],
        "formations": ["sequential", "random_teams", "by_labels"],
    },
}
PACES = (1.0, 0.5, 0.2, 0.1)
METHODS: dict[str, tuple[str, dict[str, Any]]] = {"PerMFL": ("permfl", PAPER), "h-SGD": ("hsgd", {})}
KINDS = ("personal", "team", "global")


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows, print the table."""
    run_cells("permfl_schedule", __doc__, argv, PRESETS, _cells, run, _table)


def _cells(preset: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    rounds = preset["team_rounds"]
    schedules: dict[str, dict[str, Any]] = {f"every {m}": {"global_every": m} for m in preset["every"]}
    schedules["pace"] = {"pace": tuple(max(1, round(rounds * share)) for share in PACES)}
    for formation in preset["formations"]:
        for schedule, options in schedules.items():
            for method, (algorithm, coefficients) in METHODS.items():
                how = {
                    "data": "mnist",
                    "model": "mclr",
                    "algorithm": algorithm,
                    "options": coefficients | options | {"team_rounds": rounds, "num_teams": len(PACES)},
                    "kinds": KINDS,
                    "team_formation": formation,
                }
                yield {"formation": formation, "schedule": schedule, "method": method}, how


def _table(rows: list[dict[str, Any]], preset: dict[str, Any]) -> str:
    del preset
    lines = [
        "| teams | server met | method | personal % | team % | global % | team messages | client steps |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for key in dict.fromkeys((r["formation"], r["schedule"], r["method"]) for r in rows):
        some = [r for r in rows if (r["formation"], r["schedule"], r["method"]) == key]
        found = [spread([r["accuracy"][kind]["last"] for r in some]) for kind in KINDS]
        cost = [f"{some[0][name]:,}" for name in ("team_sent", "client_steps")]
        lines.append(f"| {' | '.join([*key, *found, *cost])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
