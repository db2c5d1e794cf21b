"""pFedLA, one choice at a time: what the paper leaves open, and what re-implementations do differently.

Questions: does the sign of the hypernetworks' step show at their usual rate? What do normalisation,
granularity, start, order, participation, retained layers and the rate do?

    python -m experiments.pfedla_ablation --preset laptop --data-dir DATA

Fashion-MNIST, both splits, 10 clients, as in ``pfedla_table``; every variant changes "pFedLA, fast" in what its name
says. Part "tuning" is run on other seeds and read on validation examples: it is where the fast
rate and the numbers of the fixed rules come from.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from experiments.harness import run_cells, spread
from experiments.pfedla_methods import AS_REIMPLEMENTED, BOTH, FAST
from experiments.pfedla_runs import SIZES, points_against, run

TUNING_SEEDS = (100, 101, 102)
RATES = (0.005, 0.05, 0.5, 5.0)
BASE = "pFedLA, fast"
PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        **SIZES["smoke"],
        "model": "two layers",
        "clients": 4,
        "splits": ["non-IID_1"],
        "parts": ["sign"],
    },
    "laptop": {
        **SIZES["laptop"],
        "model": "lenet5",
        "clients": 10,
        "splits": list(BOTH),
        "parts": None,
    },
    "paper": {
        **SIZES["paper"],
        "model": "fedbn",
        "clients": 10,
        "splits": list(BOTH),
        "parts": None,
    },
}


Variant = tuple[str, dict[str, Any], dict[str, Any]]  # algorithm, its options beside the fast rate, changes of the run


def _pfedla(**options: Any) -> Variant:
    return "pfedla", FAST | options, {}


def _heur(**options: Any) -> Variant:
    return "heurpfedla", FAST | options, {}


def _cohort_of(cohort: int, **options: Any) -> Variant:
    return "pfedla", FAST | options, {"cohort": cohort}


def _rule(name: str, **options: Any) -> Variant:
    return "layer_mix", {"rule": name} | options, {}


def _tuning() -> dict[str, Variant]:
    """Step sizes and other numbers of each rule, of which the best is taken."""
    found = {
        f"rate {rate:g}{', by norm' if norm else ''}": _pfedla(hyper_learning_rate=rate, normalise_update=norm)
        for norm, rate in itertools.product((False, True), RATES)
    }
    for number in (0.1, 1.0, 10.0, 100.0, 1000.0):
        found[f"free logits {number:g}"] = _rule("logits", logits_learning_rate=number)
    for number in (0.3, 0.5, 0.7, 0.9):
        found[f"self weight {number:g}"] = _rule("self", self_weight=number)
    for name, number in itertools.product(("cosine", "distance"), (0.05, 0.2, 0.5)):
        found[f"{name} {number:g}"] = _rule(name, temperature=number)
    return found


def _parts() -> dict[str, dict[str, Variant]]:
    """Part -> variant."""
    slow = {"hyper_learning_rate": 0.005}
    return {
        "tuning": _tuning(),
        "base": {BASE: _pfedla(), "Local": ("local", {}, {}), "FedAvg": ("fedavg", {}, {})},
        "sign": {
            "descent, rate 0.005": _pfedla(**slow),
            "ascent, rate 0.005": _pfedla(**slow, published_sign=True),
            "ascent": _pfedla(published_sign=True),
        },
        "normalisation": {
            "ReLU, heads U(0, 1)": _pfedla(normalise="relu", hyper_heads="uniform"),
            "softmax, heads normal": _pfedla(hyper_heads="normal"),
            "softmax, update by its norm": _pfedla(normalise_update=True),
        },
        "granularity": {name: _pfedla(granularity=name) for name in ("tensor", "block", "model")},
        "retained": {
            **{f"largest, k = {k}": _heur(retained=k) for k in range(1, 5)},
            **{f"{which}, k = 1": _heur(retained=1, retain=which) for which in ("smallest", "random", "last")},
            **{f"{which}, k = 3": _heur(retained=3, retain=which) for which in ("smallest", "random", "last")},
            "largest, k = 1, not uploaded": _heur(retained=1, upload_retained=False),
        },
        "start": {
            "different models": _pfedla(same_start=False),
            "self bias 2": _pfedla(self_bias=2.0),
            "self bias 4": _pfedla(self_bias=4.0),
            "one hypernetwork for all": _pfedla(shared_hypernetwork=True),
        },
        "order": {
            "one by one": _pfedla(order="sequential"),
            "pool: old entry plus update": _pfedla(server_keeps="added"),
        },
        "participation": {
            "5 of 10": _cohort_of(5),
            "2 of 10": _cohort_of(2),
            "2 of 10, fresh entries": _cohort_of(2, fresh_rounds=2),
            "2 of 10, FedAvg": ("fedavg", {}, {"cohort": 2}),
        },
        "as re-implemented": {"all at once": ("pfedla", AS_REIMPLEMENTED, {})},
    }


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows, print a table per split."""
    run_cells("pfedla_ablation", __doc__, argv, PRESETS, _cells, run, _tables)


def _cells(preset: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for (part, variants), split in itertools.product(_parts().items(), preset["splits"]):
        if preset["parts"] is not None and part not in ("base", *preset["parts"]):
            continue
        for method, (algorithm, options, changes) in variants.items():
            yield (
                {"split": split, "part": part, "method": method},
                {
                    "data": "fashion_mnist",
                    "split": split,
                    "algorithm": algorithm,
                    "options": options,
                    **({"seeds": TUNING_SEEDS} if part == "tuning" else {}),
                    "clients": preset["clients"],
                    **changes,
                },
            )


def _tables(rows: list[dict[str, Any]], preset: dict[str, Any]) -> str:
    return "\n".join(f"\n{split}\n\n{_table([r for r in rows if r['split'] == split])}" for split in preset["splits"])


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        f"| part | variant | served % | trained % | {BASE} minus it, trained | validation % "
        "| self weight, first to last layer | from uniform |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for part, method in dict.fromkeys((r["part"], r["method"]) for r in rows):
        some = [r for r in rows if (r["part"], r["method"]) == (part, method)]
        found = [spread([r["accuracy"][m]["last"] for r in some]) for m in ("served", "trained")]
        validation = spread([r["validation"]["served"] for r in some])
        against = "–" if part == "tuning" else points_against(rows, BASE, method, "trained")
        weights = [_layers([r[k][1] for r in some if k in r]) for k in ("self_weight", "from_uniform")]
        lines.append(f"| {part} | {method} | {' | '.join(found)} | {against} | {validation} | {' | '.join(weights)} |")
    return "\n".join(lines)


def _layers(values: list[list[float]]) -> str:
    """Means over seeds, by group of layers."""
    return " ".join(f"{v:.2f}" for v in np.mean(values, axis=0)) if values else "–"


if __name__ == "__main__":
    main()
