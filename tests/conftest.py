"""Eight CPU devices, and the folder of real data; strict promotion is set in tests/ops alone (optax is not strict)."""

import os
import pathlib

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)


@pytest.fixture(autouse=True, scope="module")
def _drop_programs():
    """XLA's CPU backend maps memory for every program, and a process has only so many maps."""
    yield
    jax.clear_caches()


@pytest.fixture
def x64():
    """Double precision inside the test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def data_dir():
    """The folder of real data sets; skips where none is named."""
    folder = os.environ.get("FEDJAX_LAYERS_DATA")
    if not folder:
        pytest.skip("FEDJAX_LAYERS_DATA names no data folder")
    return pathlib.Path(folder)
