"""Python blocks of README and docs run, top to bottom; their links lead somewhere; the README names what is public."""

import inspect
import pathlib
import re

import jax
import numpy as np
import pytest

import fedjax_layers
from fedjax_layers import algorithms, ops
from fedjax_layers.clients import Setting

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "experiments").glob("*.md"))]
NAMED = re.compile(r"`((?:fedjax_layers|tests|experiments|benchmarks)/[\w/.]+)(?:::(\w+))?")
LINKED = re.compile(r"\[`[\w.]+::(\w+)`\]\(([^)]+)\)")
ALGORITHMS = ROOT / "docs" / "algorithms"
CELL = re.compile(r"^```\{code-cell\} ipython3\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=() if page.name == "README.md" or page.parent == ALGORITHMS else pytest.mark.slow)
        for page in PAGES
        if BLOCK.search(page.read_text())
    ],
    ids=lambda page: page.name,
)
def test_python_blocks_run(page, monkeypatch):
    """On the pages of the algorithms ``simulate`` binds the method and runs no round: the contract runs them all."""
    if page.parent == ALGORITHMS:
        monkeypatch.setattr(fedjax_layers, "simulate", bind_only)
    names = {"__name__": "documentation"}
    for block in BLOCK.findall(page.read_text()):
        exec(compile(block, str(page), "exec"), names)  # our own pages, not input


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if CELL.search(page.read_text())], ids=lambda page: page.name)
def test_notebooks_run(page):
    pytest.importorskip("pandas")
    plots = pytest.importorskip("matplotlib.pyplot")
    plots.switch_backend("agg")
    names = {"__name__": "notebook"}
    for cell in CELL.findall(page.read_text()):
        exec(compile(cell, str(page), "exec"), names)
    assert plots.get_fignums()
    plots.close("all")


def bind_only(method, task, clients, **options):
    """Check that the arguments are those of ``simulate``, and make the method's first state without computing it."""
    inspect.signature(SIMULATE).bind(method, task, clients, **options)
    algorithm = method.bind(Setting(task, clients.num_clients, int(np.max(clients.sizes["train"]))))
    jax.eval_shape(algorithm.init, jax.random.key(0), jax.eval_shape(task.init, jax.random.key(0)))


SIMULATE = fedjax_layers.simulate


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target
    for name, target in LINKED.findall(page.read_text()):  # a link to a function or a test in a file
        assert re.search(rf"\b(?:def|class) {name}\b", (page.parent / target).read_text()), f"{target}::{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_files_and_what_is_named_in_them_are_there(page):
    for path, name in re.findall(
        r"`((?:fedjax_layers|tests|experiments|benchmarks)/[\w/.]+)(?:::(\w+))?", page.read_text()
    ):
        assert (ROOT / path).exists(), path
        assert not name or re.search(rf"\b{name}\b", (ROOT / path).read_text()), f"{path}::{name}"


def test_the_code_of_every_page_names_what_is_there():
    """Quick, where most code is run with the slow tests."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        code = "\n".join(BLOCK.findall(page.read_text()))
        for first, second in re.findall(r"(?<![\w.])fl\.(\w+)(?:\.(\w+))?", code):
            value = getattr(fedjax_layers, first)
            assert not second or not inspect.ismodule(value) or hasattr(value, second), f"{page}: {first}.{second}"
        for name in re.findall(r"(?<![\w.])models\.(\w+)", code):
            assert hasattr(fedjax_layers.models, name), f"{page}: models.{name}"


def test_the_readme_names_every_algorithm_and_public_name():
    text = (ROOT / "README.md").read_text()
    rooms = ("__version__",)
    for name in [*algorithms.registry, *ops.__all__, *fedjax_layers.__all__]:
        assert name in rooms or re.search(rf"\b{name}\b", text), name
