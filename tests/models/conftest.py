import pytest


@pytest.fixture(autouse=True, scope="module")
def _quickly(compile_quickly):
    """One pass forward or back at a time; programs of whole rounds are tested as they are optimised."""
