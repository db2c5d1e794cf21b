"""PerMFL's Table 2 and beyond: who is in whose team, how many teams there are, and how unequal they are.

Question: does the team tier matter? Published: with two teams, the worst case (no shared label) costs the global model
a few points against the average case (four shared labels) and the personal ones nothing. An independent run found no
difference for 1 to 10 teams, and suggests that the team's pull lambda is what silences it: "team pull 1.5" sets that
one apart from the client's. h-SGD is the same three tiers without any pull.

    python -m experiments.permfl_teams --preset laptop --data-dir DATA

40 clients of two classes, logistic regression, coefficients of the paper. Parts: "table 2", two teams; "number", MNIST
in the paper's split and consecutive teams; "formation", four teams of it, formed and sized in other ways.
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
        "data": ["mnist"],
        "numbers": [],
        "formations": ["by_labels"],
        "methods": ["PerMFL"],
    },
    "laptop": {
        **SIZES["laptop"],
        "data": ["mnist", "fashion_mnist"],
        "numbers": [1, 2, 5, 10, 20],
        "formations": ["sequential", "by_labels", "worst_case", "halving sizes"],
    },
    "paper": {
        **SIZES["paper"],
        "data": ["mnist", "fashion_mnist"],
        "numbers": [1, 2, 5, 10, 20],
        "formations": ["sequential", "random_teams", "mixed_labels", "by_labels", "worst_case", "halving sizes"],
    },
}
CASES = {"worst": ("0-4", "5-9"), "average": ("0-6", "5-9+0-1")}
PUBLISHED = {  # Table 2, logistic regression: personal, global
    ("mnist", "worst"): (96.86, 80.48),
    ("mnist", "average"): (97.01, 80.86),
    ("fashion_mnist", "worst"): (97.14, 76.18),
    ("fashion_mnist", "average"): (96.72, 74.45),
}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "PerMFL": ("permfl", PAPER),
    "PerMFL, team pull 1.5": ("permfl", PAPER | {"team_lambda": 1.5}),
    "h-SGD": ("hsgd", {}),
}
KINDS = ("personal", "team", "global")


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows, print a table per part."""
    run_cells("permfl_teams", __doc__, argv, PRESETS, _cells, run, _tables)


def _cells(preset: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for (part, case), where in _settings(preset):
        for method in preset.get("methods", METHODS):
            algorithm, options = METHODS[method]
            given = {"team_rounds": preset["team_rounds"], **where.get("options", {})}
            how = {**where, "algorithm": algorithm, "options": options | given, "kinds": KINDS, "model": "mclr"}
            yield {"part": part, "data": where["data"], "case": case, "method": method}, how


def _settings(preset: dict[str, Any]) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    """Part and case, and what they change of a run."""
    for data in preset["data"]:
        for case, classes in CASES.items():
            pairs = {"team_classes": classes}
            yield ("table 2", case), {"data": data, "partition": "classes_per_team", "data_options": pairs}
    for number in preset["numbers"]:
        yield ("number", f"{number} teams"), {"data": "mnist", "options": {"num_teams": number}}
    for formation in preset["formations"]:
        name, sizes = ("random_teams", {"size_ratio": 0.5}) if formation == "halving sizes" else (formation, {})
        yield ("formation", formation), {"data": "mnist", "team_formation": name, "team_options": sizes}


def _tables(rows: list[dict[str, Any]], preset: dict[str, Any]) -> str:
    del preset
    lines = []
    for part in dict.fromkeys(r["part"] for r in rows):
        lines += [
            f"\n{part}\n",
            "| data | teams | sizes | method | personal % | team % | global % | published personal, global |",
            "|---|---|---|---|---|---|---|---|",
        ]
        own = [r for r in rows if r["part"] == part]
        for data, case, method in dict.fromkeys((r["data"], r["case"], r["method"]) for r in own):
            some = [r for r in own if (r["data"], r["case"], r["method"]) == (data, case, method)]
            found = " | ".join(spread([r["accuracy"][kind]["last"] for r in some]) for kind in KINDS)
            known = PUBLISHED.get((data, case), ()) if method == "PerMFL" else ()
            sizes = "/".join(map(str, some[0]["teams"]))
            if len(set(some[0]["teams"])) == 1:
                sizes = f"{len(some[0]['teams'])} × {some[0]['teams'][0]}"
            lines.append(f"| {data} | {case} | {sizes} | {method} | {found} | {', '.join(map(str, known)) or '–'} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
