"""Names of combinations: ``RULE+OBJECTIVE`` is a sharing rule whose clients train on an objective."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, cast

from fedjax_layers.algorithms.composition import composed, with_objective
from fedjax_layers.algorithms.factory import Factory
from fedjax_layers.algorithms.objectives import OBJECTIVES
from fedjax_layers.clients import LocalSolver, Trainer
from fedjax_layers.options import options_of, unknown_name

_PLUS = "+"
_ALL_LAYERS = "fedavg"  # the rule that, with an objective, is the algorithm of the objective's name


class Registry(dict[str, Factory[Any]]):
    """Factories by name; a combination is made when it is asked for, and is not among the names that are listed.

    The options of a combination are those of its two parts. Where both have one of the same name, it is the
    objective's, and the rule's keeps its default.
    """

    def __init__(self, named: Mapping[str, Factory[Any]]) -> None:
        super().__init__(named)
        self._made: dict[str, Factory[Any]] = {}

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or self._is_combination(name)

    def __missing__(self, name: str) -> Factory[Any]:
        if not self._is_combination(name):
            raise KeyError(name)
        if name not in self._made:
            rule, objective = name.split(_PLUS)
            self._made[name] = _combined(name, super().__getitem__(rule), objective)
        return self._made[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return the factory of this name or combination, else ``default``."""
        try:
            return self[name]
        except KeyError:
            return default

    def _is_combination(self, name: object) -> bool:
        parts = name.split(_PLUS) if isinstance(name, str) else []
        return len(parts) == 2 and self._is_rule(parts[0]) and parts[1] in OBJECTIVES

    def _is_rule(self, name: str) -> bool:
        return super().__contains__(name) and super().__getitem__(name).objectives

    @property
    def rules(self) -> list[str]:
        """The algorithms that take an objective."""
        return [name for name in self if self._is_rule(name)]

    def refuse_combination(self, name: Any) -> None:
        """Raise ``ValueError`` that says what is wrong with a name of the form ``RULE+OBJECTIVE``."""
        if isinstance(name, str) and _PLUS in name:
            rule, _, objective = name.partition(_PLUS)
            found = self.combination(rule, objective=objective or None)
            raise ValueError(f"algorithm: expected {found}, got {name!r}")

    def combination(self, algorithm: str, *, sharing: str | None = None, objective: str | None = None) -> str:
        """Return the name of an algorithm with another sharing rule, another objective, or both.

        Args:
          algorithm: a name of the registry.
          sharing: the rule in place of its own, which must be the sharing of all layers.
          objective: the objective in place of its own, which must be the plain loss.

        Raises:
          ValueError: an unknown name, two rules, two objectives, or an algorithm that is more than a rule.
        """
        if algorithm not in self:
            raise unknown_name("algorithm", algorithm, self)
        if sharing is not None and not self._is_rule(sharing):
            raise unknown_name("sharing", sharing, self.rules)
        if objective is not None and objective not in OBJECTIVES:
            raise unknown_name("objective", objective, OBJECTIVES)
        rule, _, own = algorithm.partition(_PLUS)
        if algorithm in OBJECTIVES:
            rule, own = _ALL_LAYERS, algorithm
        if objective is not None and own:
            raise ValueError(f"objective: expected none beside {algorithm}, which trains on {own}, got {objective!r}")
        if objective is not None and sharing is None and not self._is_rule(rule):
            expected = f"expected it with a sharing rule ({', '.join(self.rules)})"
            raise ValueError(f"objective: {expected}, got {objective!r} with {algorithm}")
        if sharing is not None and rule != _ALL_LAYERS:
            raise ValueError(
                f"sharing: expected none beside {algorithm}, which decides what is shared, got {sharing!r}"
            )
        rule, own = sharing or rule, objective or own
        return own if own and rule == _ALL_LAYERS else _PLUS.join(filter(None, (rule, own)))


def _combined(name: str, rule: Factory[Any], objective: str) -> Factory[Any]:
    """Make the factory of a combination."""
    make_objective = OBJECTIVES[objective]

    def made(solver: LocalSolver, *args: Any, **options: Any) -> Any:
        own = {key: options.pop(key) for key in options_of(make_objective).keys() & options.keys()}
        goal = make_objective(**own)
        if isinstance(solver, Trainer):
            return with_objective(functools.partial(rule, *args, **options), goal)(solver)
        return composed(rule(solver, *args, **options), goal)

    made.__name__ = made.__qualname__ = name
    made.__doc__ = f"Run ``{rule.__name__}`` with clients that train on the objective of ``{objective}``."  # type: ignore[attr-defined]
    made.option_parts = (rule, make_objective)  # type: ignore[attr-defined]
    made.report, made.decision = rule.report, rule.decision  # type: ignore[attr-defined]
    made.averages, made.aggregates = rule.averages, rule.aggregates  # type: ignore[attr-defined]
    made.objectives = False  # type: ignore[attr-defined]
    return cast(Factory[Any], made)
