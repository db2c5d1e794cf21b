"""Imports point down only; Flax's modules stay in one room; the ops load nothing that they do not need."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = "fedjax_layers"
RANKS = {
    "layer_map": -1,
    "personal": -1,
    "round_memory": -1,
    "types": 0,
    "names": 0,
    "keys": 0,
    "memory": 0,
    "ops": 1,
    "scoring": 1,
    "batches": 2,
    "running_statistics": 2,
    "local_training": 3,
    "models": 4,
    "data": 4,
    "algorithms": 5,
    "simulation": 6,
    "__init__": 7,  # the package's own names: offered to users, not used below the command line
    "cli": 8,
    "experiments": 9,
}


def sources():
    """Every file of the package and the experiments, as it stands under the repository root."""
    return sorted(p.relative_to(ROOT) for folder in (PACKAGE, "experiments") for p in (ROOT / folder).rglob("*.py"))


def room_of(parts):
    """The room that a dotted name or a path, as a tuple, belongs to; ``None`` outside of this repository."""
    if parts[0] == "experiments":
        return "experiments"
    if parts[0] != PACKAGE:
        return None
    return parts[1] if len(parts) > 1 else "__init__"


def module_exists(parts):
    path = ROOT.joinpath(*parts)
    return path.is_dir() or path.with_suffix(".py").is_file()


def imports(path, text):
    """Dotted names (as tuples) that a file imports, anywhere in it; relative ones made absolute."""
    package = path.parent.parts
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = (*base, *(node.module.split(".") if node.module else ()))
            for alias in node.names:  # ``from fedjax_layers import ops`` imports a room, not the package's names
                full = (*module, alias.name)
                yield full if module[0] != PACKAGE or module_exists(full) else module


def upward(path, text):
    """What a file imports from a room that is not below its own."""
    room = room_of(path.with_suffix("").parts)
    for name in imports(path, text):
        other = room_of(name)
        if other is not None and other != room and RANKS[other] >= RANKS[room]:
            yield ".".join(name)


def test_every_file_has_a_room():
    unknown = {str(p) for p in sources() if room_of(p.with_suffix("").parts) not in RANKS}
    assert not unknown
    assert {"types", "ops", "algorithms", "simulation"} <= {room_of(p.with_suffix("").parts) for p in sources()}


@pytest.mark.parametrize("path", sources(), ids=str)
def test_imports_point_down(path):
    assert list(upward(path, (ROOT / path).read_text())) == []


@pytest.mark.parametrize("path", sources(), ids=str)
def test_flax_modules_are_used_in_models_only(path):
    if room_of(path.with_suffix("").parts) == "models":
        return
    names = list(imports(path, (ROOT / path).read_text()))
    assert not [n for n in names if n[:2] in (("flax", "linen"), ("flax", "nnx")) or n == ("flax",)]


@pytest.mark.parametrize(
    ("path", "line", "found"),
    [
        ("fedjax_layers/ops/x.py", "from fedjax_layers.algorithms import fedavg", True),
        ("fedjax_layers/ops/x.py", "from fedjax_layers import simulation", True),
        ("fedjax_layers/ops/x.py", "def f():\n    import fedjax_layers.local_training", True),
        ("fedjax_layers/ops/x.py", "from ..data import load", True),
        ("fedjax_layers/ops/x.py", "from .checks import expect_shape", False),
        ("fedjax_layers/ops/x.py", "from fedjax_layers import types", False),
        ("fedjax_layers/data/x.py", "from fedjax_layers.models import cnn", True),
        ("fedjax_layers/algorithms/x.py", "from fedjax_layers import simulate", True),
        ("fedjax_layers/local_training.py", "from fedjax_layers.ops import select\nimport jax", False),
        ("experiments/x.py", "import fedjax_layers\nfrom fedjax_layers.cli import main", False),
        ("fedjax_layers/cli/x.py", "import experiments.heart", True),
    ],
)
def test_the_walk_sees_what_it_should(path, line, found):
    assert bool(list(upward(pathlib.Path(path), line))) == found


def test_importing_the_ops_loads_neither_flax_nor_files_nor_plots():
    unwanted = ["flax", "tensorflow_datasets", "tensorflow", "orbax", "matplotlib", "sklearn", "scipy.stats", "rich"]
    code = f"import sys, fedjax_layers.ops; print([m for m in {unwanted} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
