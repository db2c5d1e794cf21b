"""Which rule withstands which attack, and do FedTLU's choice of blocks or PLayer-FL's local layers help?

    python -m experiments.robustness --preset laptop --data-dir DATA

Thirty clients, each with its own mix of the classes, all in every round; a share of them attacks. "Accuracy" is the
mean over benign clients of their own served model's accuracy on their own test examples after the last round. "Loss" is
the accuracy of the same method on the same clients without an attack, minus that under attack, in points, paired by
seed. Stated in advance: with 20 % of attackers a rule should lose at most 5 points to an attack that it claims to
withstand, which is every attack for the rules that name a number of bad clients; the backdoor is judged by its success.
A rule is told the true number of attackers, or the largest that its paper allows. The rules that clip run with two
bounds: of 0.1, 0.3, 1, 3 and 10, those beside the smallest that costs at most a point without an attack (seed 0).
Local training beside it is what a benign client has without a federation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.harness import run_cells
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.attack import attacked_clients
from fedjax_layers.experiment.setup.prepare import prepare
from fedjax_layers.experiment.statistics import paired_difference
from fedjax_layers.ops.robust import RULES, most_bad

CLAIMED, LIMIT = 0.2, 5.0  # the share of attackers of the claim, and the points that a rule may lose there
CLIENTS, SEEDS = 30, 10  # fewer seeds decide nothing
CLIPPING = ("norm_clipping", "centred_clipping")
DATA: dict[str, dict[str, Any]] = {
    "digits": {"dataset": "digits", "data_options": {"alpha": 1.0}},
    "Fashion-MNIST": {"dataset": "fashion_mnist", "data_options": {"alpha": 1.0, "limit": 3000}},
}
METHODS: dict[str, dict[str, Any]] = {
    "mean": {},
    **{rule: {"aggregate": rule} for rule in RULES if rule not in CLIPPING},
    **{f"{r} at {b}": {"aggregate": r, "aggregate_bound": b} for r in CLIPPING for b in (0.3, 1.0)},
    "FedTLU": {"algorithm": "fedtlu", "algorithm_options": {"k": 1}},
    "PLayer-FL": {"algorithm": "player_fl"},
    "FedPer": {"algorithm": "fedper"},
    **{
        f"{shown}, median": {"algorithm": name, "aggregate": "coordinate_median"}
        for shown, name in {"PLayer-FL": "player_fl", "FedPer": "fedper"}.items()
    },
    "Local": {"algorithm": "local"},
}
ATTACKS: dict[str, dict[str, Any]] = {
    "label flip": {"attack": "label_flip"},
    "sign flip × 5": {"attack": "sign_flip", "attack_strength": 5.0},
    "noise × 20": {"attack": "noise", "attack_strength": 20.0},
    "ALIE, z 1.5": {"attack": "alie", "attack_strength": 1.5},
    "IPM × 2": {"attack": "ipm", "attack_strength": 2.0},
    "min-max": {"attack": "min_max"},
    "backdoor × 5": {"attack": "backdoor", "attack_boost": 5.0},
}
SHARES = (CLAIMED, 0.1, 0.4)
EVERYTHING = {"data": list(DATA), "methods": None, "attacks": None, "shares": SHARES}
PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "seeds": 1, "fewer_seeds": 1, "rounds": 2, "data": ["digits"], "methods": ["coordinate_median"],
        "attacks": ["sign flip × 5", "backdoor × 5"], "shares": [CLAIMED],
    },
    "laptop": {"seeds": 10, "fewer_seeds": 5, "rounds": 40, **EVERYTHING},
    "paper": {"seeds": 10, "fewer_seeds": 10, "rounds": 200, **EVERYTHING},
}  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """Run the preset, write rows, print the tables."""
    run_cells("robustness", __doc__, argv, PRESETS, cells, run, tables)


def cells(preset: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every data set and method, without an attack and under each; Local once; fewer seeds beside the claim."""
    for data in preset["data"]:
        for attack in ["none", *(preset["attacks"] or ATTACKS)]:
            for method in preset["methods"] or METHODS:
                if method == "Local" and attack != "none":
                    continue
                for share in [0.0] if attack == "none" else preset["shares"]:  # inside: they share compiled programs
                    key = {"data": data, "attack": attack, "share": share, "method": method}
                    yield key, key | {"seeds": range(preset["seeds" if share in (0.0, CLAIMED) else "fewer_seeds"])}


def run(data_dir: str | None, *, data: str, attack: str, share: float, method: str, rounds: int, seed: int) -> Any:
    """One run's accuracy of benign clients, and the success of a backdoor on them."""
    config = config_of(data, attack, share, method, rounds, seed)
    experiment = prepare(config, data_dir)
    _, history = execute(experiment)
    scores = history.scores("served", "last", "test")
    assert scores is not None  # they are evaluated after every last round

    def of_benign(score: str, attacked: RunConfig) -> float:
        return 100 * float(np.nanmean(scores[score][~attacked_clients(attacked, experiment.data)]))

    found: dict[str, Any] = {"accuracy": of_benign("accuracy", config)}
    if attack == "none":  # on those, too, that are benign under an attack
        like = {s: config_of(data, next(iter(ATTACKS)), s, method, rounds, seed) for s in SHARES}
        found["benign"] = {str(s): of_benign("accuracy", attacked) for s, attacked in like.items()}
    if "attack_success" in scores:
        found["success"] = of_benign("attack_success", config)
    return found


def config_of(data: str, attack: str, share: float, method: str, rounds: int, seed: int) -> RunConfig:
    """The config of a cell."""
    own = dict(METHODS[method])
    rule = own.get("aggregate")
    if rule is not None and "bad" in RULES[rule].takes:
        own["aggregate_bad"] = min(round(share * CLIENTS), most_bad(rule, CLIENTS))
    bad = {} if attack == "none" else ATTACKS[attack] | {"attack_fraction": share}
    fields: dict[str, Any] = {
        "algorithm": "fedavg", "partition": "dirichlet_balanced", "clients": CLIENTS, "model": "mlp",
        "model_options": {"hidden": (64, 32)}, "learning_rate": 0.1, "momentum": 0.0, "batch_size": 16,
        "rounds": rounds, "eval_every": rounds, "scored_model": "served", "evaluated_models": "served",
        "client_width": "all", "seed": seed,
    }  # fmt: skip
    return RunConfig(**fields | DATA[data] | own | bad)


def tables(rows: Sequence[Mapping[str, Any]], preset: Mapping[str, Any]) -> str:
    """For each data set the accuracies without an attack, and a table of losses for each share of attackers."""
    del preset
    lines = []
    for data in dict.fromkeys(r["data"] for r in rows):
        own = [r for r in rows if r["data"] == data]
        clean = {m: _by_seed(own, "none", m) for m in dict.fromkeys(r["method"] for r in own)}
        lines += [f"\n{data}, no attack\n", "| method | accuracy |", "|---|---|"]
        lines += [f"| {m} | {np.mean(list(found.values())):.1f} |" for m, found in clean.items()]
        for share in sorted({r["share"] for r in own} - {0.0}):
            lines += _losses(data, [r for r in own if r["share"] in (0.0, share)], share)
    return "\n".join(lines)


def _losses(data: str, rows: Sequence[Mapping[str, Any]], share: float) -> list[str]:
    clean = {
        (r["method"], r["seed"]): r["benign"][str(share)] for r in rows if r["attack"] == "none"
    }  # of the same clients
    attacks = list(dict.fromkeys(r["attack"] for r in rows if r["attack"] != "none"))
    lines = [f"\n{data}, {share:.0%} of the clients attack: points lost, with a 95 % interval"]
    lines[-1] += f"; holds: at most {LIMIT:g}, fails: more\n"
    lines += ["| method | " + " | ".join(attacks) + " |", "|---" * (len(attacks) + 1) + "|"]
    for method in dict.fromkeys(r["method"] for r in rows):
        told = [
            _loss({seed: found for (m, seed), found in clean.items() if m == method}, _by_seed(rows, attack, method))
            + _success(rows, attack, method)
            for attack in attacks
        ]
        lines.append(f"| {method} | " + " | ".join(told) + " |")
    return lines


def _by_seed(rows: Sequence[Mapping[str, Any]], attack: str, method: str, name: str = "accuracy") -> dict[int, float]:
    return {r["seed"]: r[name] for r in rows if (r["attack"], r["method"]) == (attack, method) and name in r}


def _loss(clean: Mapping[int, float], found: Mapping[int, float]) -> str:
    both = [s for s in found if s in clean]
    if not both:
        return "–"
    gap = paired_difference([clean[s] for s in both], [found[s] for s in both])
    if len(both) == 1:
        return f"{gap.mean:.1f}"
    shown = f"{gap.mean:.1f} [{gap.low:.1f}, {gap.high:.1f}]"
    if len(both) < SEEDS:
        return shown
    return f"{shown} {'holds' if gap.high <= LIMIT else 'fails' if gap.low > LIMIT else 'undecided'}"


def _success(rows: Sequence[Mapping[str, Any]], attack: str, method: str) -> str:
    found = _by_seed(rows, attack, method, "success")
    return f"; success {np.mean(list(found.values())):.0f} %" if found else ""


if __name__ == "__main__":
    main()
