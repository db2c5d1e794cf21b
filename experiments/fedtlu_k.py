"""How many blocks FedTLU updates: k from none to all, by score, at random, and the last ones.

Question: is there a number of blocks at which the score's choice pays? Published: k was tuned per data set, values not
found.

    python -m experiments.fedtlu_k --preset laptop --data-dir DATA

UD English from scratch, where the score's choice was ahead of a random one (``fedtlu_lm``). k is traced: a rule's k are
one program. Scores are the global model's on the clients' own test examples. With no block or all of them the rules are
one, and FedTLU's run stands for all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.fedtlu_runs import SIZES, common, config_of, gain, of, plain
from experiments.harness import run_grid
from fedjax_layers.sweeps.configs import SweptRun

PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {**SIZES["smoke"], "ks": [0, 2], "rules": ["fedtlu"]},
    "laptop": {**SIZES["laptop"], "ks": [0, 1, 2, 3, 4, 5, 6], "rules": ["fedtlu", "random_layers", "last_layers"]},
    "paper": {**SIZES["paper"], "ks": [0, 1, 2, 3, 4, 5, 6], "rules": ["fedtlu", "random_layers", "last_layers"]},
}
COLUMN = "global/test/perplexity/weighted"
COLUMNS = (COLUMN, "global/val/perplexity/weighted", "bytes_down")
SAME = ("fedtlu", (0, 6))  # with no block, or all, the rules are one


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows, print the table."""
    run_grid("fedtlu_k", __doc__, argv, PRESETS, _runs, COLUMNS, _report)


def _runs(preset: dict[str, Any]) -> list[SweptRun]:
    runs: list[SweptRun] = []
    for seed in range(preset["seeds"]):
        for rule in preset["rules"]:
            for k in preset["ks"]:
                if rule != SAME[0] and k in SAME[1]:
                    continue
                usual = {name: preset[name] for name in ("rounds", "batch_size")}
                how = {"data": "UD English", "start": "scratch", "algorithm": rule, "options": {"k": k}}
                config = config_of(None, seed=seed, **usual, **how, **common(preset))
                runs.append(SweptRun(len(runs), {"rule": rule, "k": k}, seed, config, frozenset({"k"})))
    return runs


def _report(rows: list[dict[str, Any]], preset: dict[str, Any], folder: Path) -> str:
    del folder
    lines = [
        f"| k | {' | '.join(preset['rules'])} | lower than random by | lower than last by |",
        f"|---|{'---|' * len(preset['rules'])}---|---|",
    ]
    for k in preset["ks"]:
        found = {
            rule: of(rows, COLUMN, rule=SAME[0] if k in SAME[1] else rule, k=k)
            for rule in ("fedtlu", "random_layers", "last_layers")
        }
        than = ["" if k in SAME[1] else gain(found["fedtlu"], found[rule]) for rule in ("random_layers", "last_layers")]
        cells = [plain(found[rule]) for rule in preset["rules"]]
        lines.append(f"| {k} | {' | '.join([*cells, *than])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
