import pytest


@pytest.fixture(autouse=True, scope="module")
def _quickly(compile_quickly):
    """Nothing here looks at a number."""
