"""Options whose only effect is a decision that can be made again from what a run records."""

from __future__ import annotations

from typing import Any, NamedTuple

from fedjax_layers import algorithms
from fedjax_layers.algorithms.report import Decide
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.options import defaults_of


class ConfigDecision(NamedTuple):
    """An option of a config that only decides, with its value, and how its decision is made again."""

    option: str
    value: Any
    decide: Decide


def decision_of(config: RunConfig) -> ConfigDecision | None:
    """What the algorithm of a run declares (:class:`fedjax_layers.algorithms.report.Decision`), or ``None``.

    The number of layers that are updated or kept, say, is none: two different numbers concern different layers in
    every round, so that nothing after the first local phase would be the same.
    """
    factory = algorithms.registry[config.algorithm]
    options = defaults_of(factory) | dict(config.algorithm_options)
    found = factory.decision(options)
    return None if found is None else ConfigDecision(found.option, options[found.option], found.decide)
