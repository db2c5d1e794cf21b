"""The fields of a config that say which rule makes one model of the clients' models."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt

from fedjax_layers.algorithms import registry
from fedjax_layers.experiment.config.fields import Needs, option
from fedjax_layers.ops.collusion import COLLUSIONS
from fedjax_layers.ops.robust import RULES, most_bad

_TRACED = ("bad", "keep", "bound", "smoothing")  # the number of steps is part of the program, as local steps are


def _rule_with(setting: str) -> Needs:
    """Need a rule that takes a setting."""
    names = [name for name, kind in RULES.items() if setting in kind.takes]
    return Needs(f"--aggregate with {', '.join(names)}", lambda c: c.aggregate in names)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AggregationFields:
    """The rule that takes the place of the mean over clients' models; without one the other fields have no effect."""

    aggregate: str | None = option(
        None, "server", "robust rule in place of the mean over the clients' models", unset="the mean", choices=RULES
    )
    aggregate_bad: Annotated[int, Ge(0)] = option(
        1, "server", "clients of a round that the rule assumes to be bad", needs=_rule_with("bad")
    )
    aggregate_keep: Annotated[int | None, Ge(1)] = option(
        None, "server", "clients that multi_krum averages", needs=_rule_with("keep"), unset="n - bad - 2 of n clients"
    )
    aggregate_bound: Annotated[float, Gt(0)] = option(
        1.0, "server", "largest norm of a client's update; a longer one is shortened", needs=_rule_with("bound")
    )
    aggregate_steps: Annotated[int, Ge(1)] = option(
        5, "server", "steps of the rule towards its result", needs=_rule_with("steps")
    )
    aggregate_smoothing: Annotated[float, Gt(0)] = option(
        1e-6, "server", "distance below which clients count alike", needs=_rule_with("smoothing")
    )
    aggregate_per_layer: bool = option(
        False, "server", "the rule judges each layer by itself, which is another rule", needs=_rule_with("layers")
    )


def traced_settings(config: Any) -> dict[str, Any]:
    """Return the numbers of a config's rule that are traced; empty without a rule."""
    return {name: x for name, x in _settings(config).items() if name in _TRACED and x is not None}


def static_rule(config: Any) -> tuple[str, tuple[tuple[str, Any], ...], bool] | None:
    """Return a config's rule, its settings that are not traced, and whether it judges each layer by itself."""
    if config.aggregate is None:
        return None
    traced = traced_settings(config)
    static = tuple(sorted((name, x) for name, x in _settings(config).items() if name not in traced))
    return config.aggregate, static, config.aggregate_per_layer


def _settings(config: Any) -> dict[str, Any]:
    """Return the settings that a config's rule takes, by the names of :func:`fedjax_layers.ops.make_rule`."""
    taken = () if config.aggregate is None else RULES[config.aggregate].takes
    return {name: getattr(config, f"aggregate_{name}") for name in taken if name != "layers"}


def check_aggregation(config: Any) -> None:
    """Raise ``ValueError`` for a rule, or an attack on what it gets, with an algorithm that averages no models."""
    if registry[config.algorithm].aggregates:
        return
    why = "in which no rule can take the place of a mean over the round"
    if config.attack in COLLUSIONS:
        raise ValueError(
            f"attack: expected none of {', '.join(COLLUSIONS)} for {config.algorithm}, {why}, got {config.attack!r}"
        )
    if config.aggregate is not None:
        raise ValueError(f"aggregate: expected none for {config.algorithm}, {why}, got {config.aggregate!r}")


def check_bad(config: Any, slots: int, team_of: Any = None) -> None:
    """Raise ``ValueError`` for more bad clients, or more to keep, than even the most clients of a rule's call allow.

    Args:
      config: the run's config.
      slots: K, the clients of a round.
      team_of: ``[C]``, the clients' teams, each of which the rule judges by itself; ``None`` where there are none.
    """
    if config.aggregate is None:
        return
    if team_of is not None:
        slots = min(slots, int(np.bincount(np.asarray(team_of)).max()))
    kind, bad, keep = RULES[config.aggregate], config.aggregate_bad, config.aggregate_keep
    has = f"a round, or its largest team, has {slots}"
    if "bad" in kind.takes and bad > most_bad(config.aggregate, slots):
        most = most_bad(config.aggregate, slots)
        needs = f"{config.aggregate} needs {kind.per_bad} * bad + {kind.beside} clients, and {has}"
        raise ValueError(f"aggregate_bad: expected at most {most}, got {bad}; {needs}")
    if "keep" in kind.takes and keep is not None and keep > slots:
        raise ValueError(f"aggregate_keep: expected at most {slots}, got {keep}; {has} clients")
