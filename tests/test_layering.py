"""Imports point down only; Flax's modules stay in one room; the ops load nothing that they do not need."""

import ast
import functools
import pathlib
import subprocess
import sys

import pytest

from fedjax_layers import algorithms

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = "fedjax_layers"
ROOMS = (  # from the bottom up; a name in brackets beside another stands on the same floor
    ("types", "options", "storage", "host_memory"),
    ("ops",),
    ("models", "data"),
    ("clients",),
    ("algorithms",),
    ("engine",),
    ("experiment",),
    ("sweeps",),
    ("report",),
    ("__init__",),  # the package's own names: offered to users, not used below the command line
    ("cli",),
    ("experiments",),
)
RANKS = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}


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
    assert {"types", "ops", "algorithms", "engine"} <= {room_of(p.with_suffix("").parts) for p in sources()}


@pytest.mark.parametrize("path", sources(), ids=str)
def test_imports_point_down(path):
    assert list(upward(path, (ROOT / path).read_text())) == []


def module_of(path):
    parts = path.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


@functools.cache
def graph():
    """Every module of the package with the modules that it imports, anywhere in it: also for type checkers alone."""
    paths = {module_of(path): path for path in sources() if path.parts[0] == PACKAGE}
    modules = {}
    for module, path in paths.items():
        found = set()
        for name in imports(path, (ROOT / path).read_text()):
            found.add(next((name[:n] for n in range(len(name), 1, -1) if name[:n] in paths), None))
        modules[module] = found - {None, module}
    return modules


def circles(modules):
    """What is left when everything that imports nothing of the rest is taken away, again and again."""
    left = dict(modules)
    while free := [module for module, found in left.items() if not found & left.keys()]:
        for module in free:
            del left[module]
    return left


def test_no_module_imports_itself_by_way_of_others():
    assert not circles(graph())
    assert set(circles({"a": {"b"}, "b": {"a"}, "c": {"a"}, "d": set()})) == {"a", "b", "c"}


def test_no_folder_of_a_room_imports_another_that_imports_it():
    folders = {}
    for module, found in graph().items():
        if len(module) > 2 and ROOT.joinpath(*module[:3]).is_dir():
            others = {other[:3] for other in found if len(other) > 2 and ROOT.joinpath(*other[:3]).is_dir()}
            folders.setdefault(module[:3], set()).update(others - {module[:3]})
    assert len(folders) > 10
    assert not circles(folders)


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
        ("fedjax_layers/ops/x.py", "from fedjax_layers import engine", True),
        ("fedjax_layers/ops/x.py", "def f():\n    import fedjax_layers.clients", True),
        ("fedjax_layers/ops/x.py", "from ..data import load", True),
        ("fedjax_layers/ops/x.py", "from .checks import expect_shape", False),
        ("fedjax_layers/ops/x.py", "from fedjax_layers import types", False),
        ("fedjax_layers/data/x.py", "from fedjax_layers.models import cnn", True),
        ("fedjax_layers/algorithms/x.py", "from fedjax_layers import simulate", True),
        ("fedjax_layers/clients/x.py", "from fedjax_layers.ops import select\nimport jax", False),
        ("experiments/x.py", "import fedjax_layers\nfrom fedjax_layers.cli import main", False),
        ("fedjax_layers/cli/x.py", "import experiments.heart", True),
    ],
)
def test_the_walk_sees_what_it_should(path, line, found):
    assert bool(list(upward(pathlib.Path(path), line))) == found


NAMES_OF_SPLITS = "data/partitions"  # a split is called as its paper is


def algorithms_named(text):
    """Names of the registry that a file uses, as text or as a name of Python; ``local`` alone is a usual word."""
    known = set(algorithms.registry)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and node.value in known:
            yield node.value
        elif isinstance(node, ast.Attribute) and node.attr in known - {"local"}:
            yield node.attr
        elif isinstance(node, ast.Name) and node.id in known - {"local"}:
            yield node.id


@pytest.mark.parametrize("path", [p for p in sources() if p.parts[0] == PACKAGE], ids=str)
def test_no_algorithm_is_known_by_name_outside_of_its_room(path):
    if room_of(path.with_suffix("").parts) == "algorithms" or NAMES_OF_SPLITS in str(path):
        return
    assert list(algorithms_named((ROOT / path).read_text())) == []


def test_a_name_of_an_algorithm_is_seen():
    text = "if config.algorithm == 'player_fl': fl.algorithms.fedavg(local)"
    assert set(algorithms_named(text)) == {"player_fl", "fedavg"}


def test_importing_the_ops_loads_jax_numpy_and_chex_alone():
    """Neither other packages, nor those parts of the three that these do not load themselves."""
    code = (
        "import sys, jax, numpy, chex; before = set(sys.modules); import fedjax_layers.ops; "
        "names = {name.partition('.')[0] for name in set(sys.modules) - before} - {*sys.stdlib_module_names}; "
        "unwanted = ['flax', 'optax', 'tensorflow_datasets', 'orbax', 'matplotlib', 'sklearn', 'scipy.stats', 'rich']; "
        "print(sorted(names - {'jax', 'jaxlib', 'numpy', 'chex'}), [m for m in unwanted if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['fedjax_layers'] []"


def test_the_page_on_the_house_lists_every_folder_from_the_top_down():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").split("## The folders")[1].split("## ")[0]
    listed = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    inside = [path.relative_to(ROOT / PACKAGE) for path in (ROOT / PACKAGE).rglob("*") if list(path.glob("*.py"))]
    assert {str(path) for path in inside if len(path.parts) < 3} <= {*listed}
    assert all((ROOT / PACKAGE / name).is_dir() or (ROOT / PACKAGE / f"{name}.py").is_file() for name in listed)
    floors = [RANKS[name.split("/")[0]] for name in listed]
    assert floors == sorted(floors, reverse=True)


def test_every_folder_says_what_is_in_it():
    silent = []
    for path in sources():
        if path.name == "__init__.py" and path.parts[0] == PACKAGE:
            text = ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""
            silent += [str(path)] if len(text.split()) < 4 else []
    assert not silent


def own_lines(function):
    """Lines that one reads at one level: without signature, docstring and the functions inside, which count apart."""
    first = function.body[0]
    body = function.body[1:] if isinstance(getattr(first, "value", None), ast.Constant) else function.body
    if not body:
        return 0
    inside, waiting = 0, list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside += node.end_lineno - node.lineno + 1
        else:
            waiting += ast.iter_child_nodes(node)
    return body[-1].end_lineno - body[0].lineno + 1 - inside


def functions_of(text):
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_no_source_and_no_function_is_long():
    paths = [*sources(), *(path.relative_to(ROOT) for path in (ROOT / "benchmarks").glob("*.py"))]
    texts = {str(path): (ROOT / path).read_text(encoding="utf-8") for path in paths}
    assert not [path for path, text in texts.items() if text.count("\n") > 300]
    assert not [(path, f.name) for path, text in texts.items() for f in functions_of(text) if own_lines(f) > 40]
    lines = [
        "def f(",
        "    a,",
        "):",
        "    'Told.'",
        "    b = a",
        "",
        "    def g():",
        "        return b",
        "",
        "    return g",
    ]
    assert [(f.name, own_lines(f)) for f in functions_of("\n".join(lines))] == [("f", 4), ("g", 1)]
