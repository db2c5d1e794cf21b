"""The numbers of a config that are traced, so that another value needs no new compilation."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from fedjax_layers import algorithms
from fedjax_layers.experiment.config.run_config import RunConfig, config_options
from fedjax_layers.options import Mark, options_of

TRACED = tuple(name for name, option in config_options().items() if option.has(Mark.TRACED))
"""The fields of the config that are traced in every run."""


def traced_numbers(config: RunConfig, counts: Collection[str] = ()) -> dict[str, Any]:
    """Return the config's traced numbers: those of training, and the algorithm's options that are declared so.

    ``counts`` names the whole numbers that are traced, too; other whole numbers are part of the program.
    """
    known = options_of(algorithms.registry[config.algorithm])
    options = {
        name: value
        for name, value in config.algorithm_options.items()
        if known[name].traces(value, counts=name in counts)
    }
    return {name: getattr(config, name) for name in TRACED} | {"options": options}


def traceable_counts(algorithm: str) -> set[str]:
    """Return the names of an algorithm's options that are whole numbers and may be traced."""
    own = options_of(algorithms.registry[algorithm])
    return {name for name, option in own.items() if option.has(Mark.TRACED) and int in option.kinds}
