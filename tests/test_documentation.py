"""Python blocks of README and docs run, top to bottom; their links lead somewhere; the README names what is public."""

import pathlib
import re

import pytest

import fedjax_layers
from fedjax_layers import algorithms, ops

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "experiments").glob("*.md"))]
NAMED = re.compile(r"`((?:fedjax_layers|tests|experiments|benchmarks)/[\w/.]+)(?:::(\w+))?")
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=() if page.name == "README.md" else pytest.mark.slow)
        for page in PAGES
        if BLOCK.search(page.read_text())
    ],
    ids=lambda page: page.name,
)
def test_python_blocks_run(page):
    names = {"__name__": "documentation"}
    for block in BLOCK.findall(page.read_text()):
        exec(compile(block, str(page), "exec"), names)  # our own pages, not input


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_files_and_what_is_named_in_them_are_there(page):
    for path, name in re.findall(
        r"`((?:fedjax_layers|tests|experiments|benchmarks)/[\w/.]+)(?:::(\w+))?", page.read_text()
    ):
        assert (ROOT / path).exists(), path
        assert not name or re.search(rf"\b{name}\b", (ROOT / path).read_text()), f"{path}::{name}"


def test_the_readme_names_every_algorithm_and_public_name():
    text = (ROOT / "README.md").read_text()
    rooms = ("__version__",)
    for name in [*algorithms.registry, *ops.__all__, *fedjax_layers.__all__]:
        assert name in rooms or re.search(rf"\b{name}\b", text), name
