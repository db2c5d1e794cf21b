"""Strict promotion for every test of the ops: no silent change of dtype, no silent broadcast over a new axis."""

import jax
import pytest


@pytest.fixture(autouse=True)
def strict_promotion():
    """An op that mixes dtypes or ranks without saying so fails here."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield
