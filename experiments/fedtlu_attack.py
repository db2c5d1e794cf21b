"""Does FedTLU's choice protect against noise and poison? Who gets selected, and what it costs.

The claim: blocks with a low score, frozen, are the noisy or poisoned ones. What the score says: noise
of zero mean lowers a block's score; flipped signs and boosting of whole updates leave scores as they are; a constant
shift raises them, so that an adversary can force the choice of a block.

    python -m experiments.fedtlu_attack --preset laptop --data-dir DATA

A share of the clients is bad. "Hit" is the share of rounds in which the poisoned block (number 3 of 0 to 5) was
updated, where one block is poisoned; drawn at random it is 1/6. "Cost" is the rise of perplexity over the same method
without bad clients.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from experiments.fedtlu_runs import SIZES, common, of, plain, run
from experiments.harness import run_cells

HIT = "block_3"  # of the six of the larger presets
PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **SIZES["smoke"],
        "hit": "block_1",
        "shares": [0.5],
        "attacks": ["one block, offset"],
        "methods": ["FedTLU"],
    },
    "laptop": {**SIZES["laptop"], "rounds": 24, "shares": [0.3], "attacks": None, "methods": None},
    "paper": {**SIZES["paper"], "shares": [0.1, 0.2, 0.3], "attacks": None, "methods": None},
}
ATTACKS: dict[str, dict[str, Any]] = {
    "token noise, all": {"attack": "token_noise", "attack_strength": 1.0},
    "update noise × 5": {"attack": "noise", "attack_strength": 5.0},
    "sign flip": {"attack": "sign_flip", "attack_strength": 1.0},
    "scaled × 10": {"attack": "scale", "attack_strength": 10.0},
    "offset": {"attack": "offset", "attack_strength": 5.0},
    "one block, noise × 5": {"attack": "noise", "attack_strength": 5.0},
    "one block, offset": {"attack": "offset", "attack_strength": 5.0},
}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "FedAvg": ("fedavg", {}),
    "FedTLU": ("fedtlu", {"k": 1}),
    "FedTLU, matrices only": ("fedtlu", {"k": 1, "matrices_only": True}),
    "random": ("random_layers", {"k": 1}),
}


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows, print the table."""
    run_cells("fedtlu_attack", __doc__, argv, PRESETS, _cells, run, _tables)


def _cells(preset: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    cases: list[tuple[str, float]] = [("none", 0.0)]
    cases += [(attack, share) for attack in preset["attacks"] or ATTACKS for share in preset["shares"]]
    for attack, share in cases:
        for name in preset["methods"] or METHODS:
            algorithm, options = METHODS[name]
            how = {"data": "UD English", "start": "pretrained", "algorithm": algorithm, "options": options}
            bad = {} if attack == "none" else ATTACKS[attack] | {"attack_fraction": share}
            if attack.startswith("one block"):
                bad |= {"attack_blocks": (_hit(preset),)}
            yield {"attack": attack, "share": share, "method": name}, common(preset) | how | bad


def _tables(rows: list[dict[str, Any]], preset: dict[str, Any]) -> str:
    lines = ["| attack | bad clients | method | global perplexity | cost | hit |", "|---|---|---|---|---|---|"]
    for attack, share, method in dict.fromkeys((r["attack"], r["share"], r["method"]) for r in rows):
        own = [r for r in rows if (r["attack"], r["share"], r["method"]) == (attack, share, method)]
        found, clean = of(own, "global"), of(rows, "global", attack="none", method=method)
        both = [s for s in found if s in clean]
        cost = "–" if attack == "none" else f"{np.mean([found[s] - clean[s] for s in both]):+.2f}"
        lines.append(f"| {attack} | {share:.0%} | {method} | {plain(found)} | {cost} | {_hits(own, _hit(preset))} |")
    return "\n".join(lines)


def _hit(preset: dict[str, Any]) -> str:
    """The block that is poisoned."""
    return str(preset.get("hit", HIT))


def _hits(rows: list[dict[str, Any]], block: str) -> str:
    if "frequency" not in rows[0]:
        return ""
    return f"{np.mean([r['frequency'][r['blocks'].index(block)] for r in rows]):.2f}"


if __name__ == "__main__":
    main()
