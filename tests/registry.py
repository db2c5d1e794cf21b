"""The registry's algorithms as test parameters: a few run by default, the others in the slow suite."""

import pytest

NEEDED = {"fixed_sharing": {"shared": ("1",)}}  # options that have to be given, for the toy network
QUICK = ("local", "fedavg", "fedbabu", "player_fl", "permfl")  # a state of each kind


def cases(names):
    """Parameters for some algorithms, those that are not quick marked as slow."""
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]
