import pytest


@pytest.fixture(autouse=True, scope="module")
def _quickly(compile_quickly):
    """From a config to a run and its records; rows of programs that differ are compared to the bit in tests/sweeps."""
