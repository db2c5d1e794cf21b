"""Which blocks FedTLU updates: is the choice steady over rounds, does it depend on the data, is there a bias by depth?

With clients of one kind and noise alone every block should be chosen equally often (note, check 5). Compared are split,
participation and how often the score is taken.

    python -m experiments.fedtlu_stability --preset laptop --data-dir DATA

"Overlap" is the mean Jaccard index of what neighbouring rounds updated, the embeddings and the head that are always
updated among it: of one of six blocks, drawn at random, it is 2/3. "Correlation" is Spearman's, of the scores of
neighbouring rounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from experiments.fedtlu_runs import SIZES, common, of, plain, run
from experiments.harness import run_cells

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {**SIZES["smoke"], "settings": ["usual", "every 2 rounds"]},
    "laptop": {**SIZES["laptop"], "settings": None},
    "paper": {**SIZES["paper"], "settings": None},
}
SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # options of FedTLU, other changes
    "usual": ({}, {}),
    "from scratch": ({}, {"start": "scratch"}),
    "clients alike": ({}, {"alpha": 1000.0}),
    "half take part": ({}, {"cohort": 0.5}),
    "every 2 rounds": ({"score_every": 2}, {}),
    "every 5 rounds": ({"score_every": 5}, {}),
    "matrices only": ({"matrices_only": True}, {}),
    "random": ({"choice": "random"}, {}),
}


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows, print the table."""
    run_cells("fedtlu_stability", __doc__, argv, PRESETS, _cells, run, _tables)


def _cells(preset: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for name in preset["settings"] or SETTINGS:
        options, changes = SETTINGS[name]
        how = {"data": "UD English", "start": "pretrained", "algorithm": "fedtlu", "options": {"k": 1} | options}
        cell = common(preset) | how | changes
        if isinstance(cell["cohort"], float):
            cell["cohort"] = int(cell["cohort"] * preset["clients"])
        yield {"setting": name}, cell


def _tables(rows: list[dict[str, Any]], preset: dict[str, Any]) -> str:
    del preset
    names = [b for b in rows[0]["blocks"] if b.startswith("block_")]
    lines = [
        f"| setting | {' | '.join(names)} | overlap | correlation | global perplexity |",
        f"|---|{'---|' * (len(names) + 3)}",
    ]
    for setting in dict.fromkeys(r["setting"] for r in rows):
        own = [r for r in rows if r["setting"] == setting]
        shares = np.mean([[r["frequency"][r["blocks"].index(n)] for n in names] for r in own], axis=0)
        cells = [f"{share:.2f}" for share in shares]
        cells += [plain(of(own, measure)) for measure in ("overlap", "rank_correlation", "global")]
        lines.append(f"| {setting} | {' | '.join(cells)} |")
    return "share of the rounds in which each block was updated\n\n" + "\n".join(lines)


if __name__ == "__main__":
    main()
