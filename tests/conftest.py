"""Eight CPU devices; folders of real and of decoded data. Strict promotion is set in tests/ops alone."""

import os
import pathlib
import sys
import tempfile

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
# Tests count compilations; processes that they start inherit the variable.
jax.config.update("jax_enable_compilation_cache", False)
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
if jax.__version_info__ < (0, 11):
    # Most of a test is compilation; the older of XLA's two CPU emitters, gone from 0.11, takes a third less of it.
    # A variable that is set, though empty, is left alone: so the oracles are met as users compile, too.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")


def pytest_configure(config):
    """Decode real data once per run, into a folder that all workers share and that goes with the run.

    Workers are started later and inherit the variable. One that is set already is left alone.
    """
    if not os.environ.get("FEDJAX_LAYERS_CACHE"):
        folder = tempfile.TemporaryDirectory(prefix="fedjax_layers-tests-", ignore_cleanup_errors=True)
        os.environ["FEDJAX_LAYERS_CACHE"] = folder.name
        config.add_cleanup(lambda: os.environ.pop("FEDJAX_LAYERS_CACHE"))
        config.add_cleanup(folder.cleanup)


@pytest.fixture(autouse=True, scope="module")
def _drop_programs():
    """XLA's CPU backend maps memory for every program, and a process has only so many maps."""
    yield
    jax.clear_caches()
    if "fedjax_layers.engine.programs.store" in sys.modules:
        sys.modules["fedjax_layers.engine.programs.store"].clear()


@pytest.fixture(scope="module")
def compile_quickly():
    """Programs compiled sooner that run slower: for tests of what is said and written rather than of numbers.

    Most of a short run is its compilation. Processes that a test starts inherit the variable.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        jax.config.update("jax_disable_most_optimizations", True)
        yield
        jax.config.update("jax_disable_most_optimizations", False)


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
