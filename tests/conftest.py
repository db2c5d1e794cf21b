"""Eight CPU devices; folders of real data, of decoded data and of programs. Strict promotion: in tests/ops alone."""

import collections
import functools
import gc
import os
import pathlib
import sys
import tempfile

import hypothesis
import jax
import pytest

# A few examples, the same ones every time; ``--hypothesis-profile full`` draws many.
DRAWN = {"derandomize": True, "deadline": None, "database": None}
UNSHRUNK = [hypothesis.Phase.explicit, hypothesis.Phase.generate]  # a failure is told as it was drawn, at once
hypothesis.settings.register_profile("few", max_examples=5, phases=UNSHRUNK, **DRAWN)
hypothesis.settings.register_profile("full", max_examples=100, **DRAWN)
hypothesis.settings.load_profile("few")
jax.config.update("jax_num_cpu_devices", 8)
gc.set_threshold(50_000, 20, 50)  # tracing makes many objects that stay: a tenth of the time was looking through them
# Most of a test is compilation, and most programs are compiled by several tests: the first one keeps it for the others,
# on disk, where JAX looks it up by its value. A process that a test starts compiles for itself.
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
jax.config.update("jax_enable_compilation_cache", True)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_include_full_tracebacks_in_locations", False)  # nobody reads the programs
# Nor need it be done well: the older of XLA's two CPU emitters, gone from JAX 0.11, and programs that are not
# optimised take a third of the time, and less in one piece than split for many cores. Tests that compare programs which
# differ to the last bit have them optimised, see tests/rounds.py. A variable that is set, though empty, is left alone:
# ``XLA_FLAGS= python -m pytest`` compiles everything as users do.
# The last flag is for a busy machine: eight devices that wait for one another on two cores end the process after 40 s,
# as if the last of them hung; it may be slow.
QUICKLY = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
QUICKLY += " --xla_cpu_collective_call_terminate_timeout_seconds=900"
AS_USERS = os.environ.get("XLA_FLAGS", QUICKLY) != QUICKLY
if jax.__version_info__ < (0, 11):
    os.environ.setdefault("XLA_FLAGS", QUICKLY)
if not AS_USERS:
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # also in processes that a test starts
    jax.config.update("jax_disable_most_optimizations", True)


def pytest_addoption(parser):
    """``python -m pytest tests/contract --algorithm-file FILE`` tests an algorithm of one's own."""
    text = "Python file whose algorithms are tested as if they were of the registry"
    parser.addoption("--algorithm-file", action="append", default=[], metavar="FILE", help=text)


def pytest_configure(config):
    """Make the folders of decoded data and of compiled programs, which all workers share and which go with the run.

    Workers are started later and inherit the variables. One that is set already is left alone.
    """
    for variable in ("FEDJAX_LAYERS_CACHE", "JAX_COMPILATION_CACHE_DIR"):
        if not os.environ.get(variable):
            folder = tempfile.TemporaryDirectory(prefix="fedjax_layers-tests-", ignore_cleanup_errors=True)
            os.environ[variable] = folder.name
            config.add_cleanup(functools.partial(os.environ.pop, variable))
            config.add_cleanup(folder.cleanup)
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    for file in config.getoption("--algorithm-file"):
        from fedjax_layers.algorithms import add_algorithm_file  # noqa: PLC0415  (not where nobody asks for it)

        add_algorithm_file(file)


LONG = (
    "experiments/test_presets.py",
    "contract/test_contract.py",
    "engine/test_on_host.py",
    "contract/test_memory.py",
    "cli/test_sweep_killed.py",
    "sweeps/test_config_sweep.py",
    "cli/test_interrupt.py",
)


def pytest_collection_modifyitems(items):
    """Long files first, then those of many tests: a worker that begins a long one last leaves the others idle."""
    tests = collections.Counter(item.path for item in items)
    place = {path: next((i for i, end in enumerate(LONG) if path.match(end)), len(LONG)) for path in tests}
    items.sort(key=lambda item: (place[item.path], -tests[item.path], item.path))


programs_since = {"test": 0, "module": 0}  # loaded since the memory maps were last looked at, which takes its time


def _note_program(event, _, **__):
    if event == "/jax/core/compile/backend_compile_duration":  # also of one that is read from the folder
        for place in programs_since:
            programs_since[place] += 1


jax.monitoring.register_event_duration_secs_listener(_note_program)


def drop_programs():
    """Let go of the programs in memory."""
    jax.clear_caches()
    if "fedjax_layers.engine.programs.store" in sys.modules:
        sys.modules["fedjax_layers.engine.programs.store"].clear()


def _share_of_maps(place):
    """How much of the memory maps that a process may have is in use: XLA's CPU backend takes some for every program."""
    if programs_since[place] < 16:
        return 0.0
    programs_since[place] = 0
    try:
        maps = pathlib.Path("/proc/self/maps").read_bytes().count(b"\n")
        return maps / int(pathlib.Path("/proc/sys/vm/max_map_count").read_text())
    except OSError:  # only Linux counts them
        return 0.0


@pytest.fixture(autouse=True)
def _make_room():
    """Without room for its maps, a program ends the process."""
    yield
    if _share_of_maps("test") > 0.5:
        drop_programs()


@pytest.fixture(autouse=True, scope="module")
def _leave_room():
    """Room for the next module, too."""
    yield
    if _share_of_maps("module") > 0.25:
        drop_programs()


@pytest.fixture
def x64():
    """Double precision inside the test."""
    with jax.enable_x64(True):
        yield


WHOLE_RUNS = {"cli", "experiment", "experiments", "report", "sweeps"}
EIGHT_DEVICES = {
    "test_doctor.py",
    "test_memory.py",
    "test_run.py",
    "test_same_run.py",
    "test_sweep.py",
    "test_verify.py",
    "test_widths.py",
}


@pytest.fixture(autouse=True, scope="module")
def _few_devices(request):
    """Whole runs on one device, and not on eight, whose programs take a third longer to compile; but for some files."""
    if request.path.parent.name not in WHOLE_RUNS or request.path.name in EIGHT_DEVICES:
        yield
        return
    first = jax.local_devices()[:1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "local_devices", lambda *_, **__: first)
        patch.setattr(jax, "local_device_count", lambda *_, **__: 1)
        yield


@pytest.fixture
def data_dir():
    """The folder of real data sets; skips where none is named."""
    folder = os.environ.get("FEDJAX_LAYERS_DATA")
    if not folder:
        pytest.skip("FEDJAX_LAYERS_DATA names no data folder")
    return pathlib.Path(folder)
