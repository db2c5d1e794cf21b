"""Readings of FedTLU's score, rules that make a block's score of its layers', and other choices of a block.

The formula and the rule over layers are not certain. Does it matter which?

    python -m experiments.fedtlu_scores --preset laptop --data-dir DATA
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from experiments.fedtlu_runs import MEASURES, SIZES, common, gain, of, plain, run
from experiments.harness import run_cells

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {**SIZES["smoke"], "variants": ["random", "ratio"]},
    "laptop": {**SIZES["laptop"], "variants": None},
    "paper": {**SIZES["paper"], "variants": None},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "random": {"choice": "random"},
    "ratio": {},
    "matrices only": {"matrices_only": True},
    "size-weighted mean": {"block_rule": "size"},
    "block as one vector": {"block_rule": "vector"},
    "(a) product": {"reading": "product"},
    "(b) by size": {"reading": "size"},
    "(c) spread over clients": {"reading": "clients"},
    "(d) absolute values": {"reading": "absolute"},
    "lowest score": {"choice": "lowest"},
    "largest norm": {"choice": "norm"},
    "round robin": {"choice": "round_robin"},
    "last": {"choice": "last"},
}


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows, print the table."""
    run_cells("fedtlu_scores", __doc__, argv, PRESETS, _cells, run, _tables)


def _cells(preset: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for name in preset["variants"] or VARIANTS:
        options = {"k": 1} | VARIANTS[name]
        how = {"data": "UD English", "start": "pretrained", "algorithm": "fedtlu", "options": options}
        yield {"variant": name}, common(preset) | how


def _tables(rows: list[dict[str, Any]], preset: dict[str, Any]) -> str:
    del preset
    lines = [
        "| choice | global | local | global, lower than random by | most often updated |",
        "|---|---|---|---|---|",
    ]
    bar = of(rows, "global", variant="random")
    for name in dict.fromkeys(r["variant"] for r in rows):
        own = [r for r in rows if r["variant"] == name]
        found = [plain(of(own, measure)) for measure in MEASURES]
        than = "" if name == "random" else gain(of(own, "global"), bar)
        lines.append(f"| {name} | {' | '.join(found)} | {than} | {', '.join(map(_favourite, own))} |")
    return "\n".join(lines)


def _favourite(row: dict[str, Any]) -> str:
    share, name = max((f, n) for f, n in zip(row["frequency"], row["blocks"], strict=True) if n.startswith("block_"))
    return f"{name.removeprefix('block_')} ({share:.0%})"


if __name__ == "__main__":
    main()
