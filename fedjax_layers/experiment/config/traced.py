"""Which numbers of a config are traced: another value of them is the same program."""

from __future__ import annotations

import functools
import typing
from collections.abc import Collection
from typing import Any

import jax

from fedjax_layers import algorithms
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.options import defaults_of, options_of

TRACED = ("learning_rate", "momentum", "weight_decay", "learning_rate_decay", "server_learning_rate")


def traced_numbers(config: RunConfig, counts: Collection[str] = ()) -> dict[str, Any]:
    """Numbers of the config that are traced: those of training, and the floats among the algorithm's options.

    An option whose annotation has no array, a number of epochs say, is part of the program.

    ``counts`` names whole numbers among them that are traced as well.
    """
    usual, kinds = defaults_of(algorithms.registry[config.algorithm]), _kinds(config.algorithm)
    options: dict[str, float] = {}
    for name, value in config.algorithm_options.items():
        if float in (type(usual[name]), type(value)) and jax.Array in kinds[name]:
            options[name] = float(value)
        elif name in counts and type(value) is int:
            options[name] = value
    return {name: getattr(config, name) for name in TRACED} | {"options": options}


def traceable_counts(algorithm: str) -> set[str]:
    """Options of an algorithm that are whole numbers and may be traced, as their annotations tell."""
    return {name for name, own in _kinds(algorithm).items() if {int, jax.Array} <= own and float not in own}


def _kinds(algorithm: str) -> dict[str, set[Any]]:
    """What an algorithm's options may be, by their annotations."""
    factory = algorithms.registry[algorithm]
    hints = typing.get_type_hints(factory.func if isinstance(factory, functools.partial) else factory)
    return {name: set(typing.get_args(hints[name])) for name in options_of(factory)}
