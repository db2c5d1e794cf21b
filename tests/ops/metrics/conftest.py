"""Scores add a trailing axis of classes to arrays of examples by JAX's usual rules."""

import pytest


@pytest.fixture(autouse=True)
def strict_promotion():
    """As in a program of a user, not as for the other ops."""
