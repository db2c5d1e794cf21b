import pytest


@pytest.fixture(autouse=True, scope="module")
def _quickly(compile_quickly):
    """Agreement up to 1e-10, or of one program with itself, asks for no fast programs."""
