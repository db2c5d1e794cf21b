"""PerMFL's participation ablation: 2 % to 100 % of a team's clients per team round, and a part of the teams per round.

Question: how much do rare clients and absent teams cost, and whom? Published: fractions from 2 to 50 %, best with all.
FedAvg with the same share of clients per round is beside it, and h-SGD, the same tiers without pulls.

    python -m experiments.permfl_participation --preset laptop --data-dir DATA

200 clients of two MNIST classes each in four consecutive teams of 50, logistic regression, coefficients of the paper. A
personal model is a client's last trained one, or its start where it never took part.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from experiments.harness import run_cells, spread
from experiments.permfl_methods import PAPER
from experiments.permfl_runs import SIZES, run

SHARES = [0.02, 0.05, 0.1, 0.25, 0.5, 1.0]
PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **SIZES["smoke"],
        "shares": [0.1],
        "present": [0.5],
        "methods": ["PerMFL", "FedAvg"],
    },
    "laptop": {
        **SIZES["laptop"],
        "shares": SHARES,
        "present": [0.25, 0.5],
    },
    "paper": {
        **SIZES["paper"],
        "shares": SHARES,
        "present": [0.25, 0.5, 0.75],
    },
}
DEVICES = 200
METHODS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "PerMFL": ("permfl", PAPER, ("personal", "global")),
    "h-SGD": ("hsgd", {}, ("personal", "global")),
    "FedAvg": ("fedavg", {}, ("global",)),
}


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows, print the table."""
    run_cells("permfl_participation", __doc__, argv, PRESETS, _cells, run, _table)


def _cells(preset: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    shares = [(share, 1.0) for share in preset["shares"]] + [(1.0, teams) for teams in preset["present"]]
    for share, teams in shares:
        for method in preset.get("methods", METHODS):
            algorithm, options, kinds = METHODS[method]
            how: dict[str, Any] = {
                "data": "mnist",
                "model": "mclr",
                "partition": "classes_per_client",
                "clients": DEVICES,
                "data_options": {"classes": 2},
                "algorithm": algorithm,
                "kinds": kinds,
            }
            if method == "FedAvg":
                how |= {"options": options, "cohort": max(1, round(DEVICES * share * teams))}
            else:
                how["options"] = options | {"team_rounds": preset["team_rounds"], **_present(share, teams)}
            yield {"share": share, "present": teams, "method": method}, how


def _present(share: float, teams: float) -> dict[str, float]:
    """Options of partial participation; none where all take part, which is another, faster program."""
    parts = {"client_participation": share, "team_participation": teams}
    return {name: value for name, value in parts.items() if value < 1}


def _table(rows: list[dict[str, Any]], preset: dict[str, Any]) -> str:
    del preset
    lines = [
        "| clients per team round | teams per round | method | personal % | global % | client steps |",
        "|---|---|---|---|---|---|",
    ]
    for share, teams, method in dict.fromkeys((r["share"], r["present"], r["method"]) for r in rows):
        some = [r for r in rows if (r["share"], r["present"], r["method"]) == (share, teams, method)]
        found = [spread([r["accuracy"][k]["last"] for r in some if k in r["accuracy"]]) for k in ("personal", "global")]
        lines.append(f"| {share:.0%} | {teams:.0%} | {method} | {' | '.join(found)} | {some[0]['client_steps']:,} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
