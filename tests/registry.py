"""The registry's algorithms as test parameters: a few run by default, the others in the slow suite."""

import sys

import pytest

from fedjax_layers import algorithms
from fedjax_layers.options import Mark, options_of

NEEDED = {  # options that have to be given, or without which a few rounds show nothing; for the toy network
    "fixed_sharing": {"shared": ("1",)},
    "fedlag": {"warmup_rounds": 1},
}
QUICK = ("local", "fedavg", "fedbabu", "player_fl", "permfl")  # a state of each kind
OWN = tuple(
    name for name, factory in algorithms.registry.items() if not factory.__module__.startswith("fedjax_layers.")
)
"""Algorithms of a file of one's own, see ``tests/conftest.py``."""


def cases(names):
    """Parameters for some algorithms, those that are not quick marked as slow."""
    return [pytest.param(name, marks=marks_of(name)) for name in names]


def marks_of(name):
    """Marks of a test of this algorithm."""
    return () if name in QUICK + OWN else pytest.mark.slow


def module_of(name):
    """The module in which an algorithm is written."""
    return sys.modules[algorithms.registry[name].__module__]


def traced_option(name):
    """The first option of an algorithm that may be traced, with some values of it; ``None`` without one."""
    for option in options_of(algorithms.registry[name]).values():
        if option.has(Mark.TRACED):
            return option.name, (1, 2, 1) if int in option.kinds else (0.3, 0.6, 0.3)
    return None
