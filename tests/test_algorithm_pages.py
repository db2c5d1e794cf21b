"""Every algorithm has a page, which says what the code declares and has all its parts."""

import pathlib
import re
import runpy
import types
import xml.etree.ElementTree as ET

import pytest

from fedjax_layers import algorithms
from fedjax_layers.options import options_of
from tests.registry import OWN

FOLDER = pathlib.Path(__file__).parents[1] / "docs" / "algorithms"
REFRESH = types.SimpleNamespace(**runpy.run_path(str(FOLDER / "refresh.py")))
PAGES = REFRESH.pages()
ABOUT_SOME = {page: names for page, names in PAGES.items() if names}
PARTS = ["Equations", "Options", "What it costs", "When it pays, and when not", "Try it"]


def test_every_algorithm_is_on_one_page_and_in_the_table_of_all():
    named = [name for names in PAGES.values() for name in names]
    assert sorted(named) == sorted(set(algorithms.registry) - set(OWN))
    assert list(REFRESH.ROWS) == [name for name in algorithms.registry if name not in OWN]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_takes_from_the_code_is_up_to_date(page):
    assert page.read_text(encoding="utf-8") == REFRESH.refreshed(page, PAGES[page]), f"run {REFRESH.COMMAND}"


@pytest.mark.parametrize("page", ABOUT_SOME, ids=lambda page: page.name)
def test_a_page_has_all_its_parts(page):
    text = page.read_text(encoding="utf-8")
    found = [part for part in re.findall(r"^## (.*)$", text, re.MULTILINE) if part in PARTS]
    assert found == PARTS
    assert "](figures/" in text
    assert "```bash\nfedjax-layers " in text
    assert "```python\n" in text
    block = text.partition("<!-- options: begin")[2].partition("<!-- options: end -->")[0]
    declared = {option for name in PAGES[page] for option in options_of(algorithms.registry[name])}
    assert set(re.findall(r"^\| `(\w+)`", block, re.MULTILINE)) == declared
    for name in PAGES[page]:
        switches = [option for option in options_of(algorithms.registry[name]) if option.startswith("published_")]
        for switch in switches:  # said beside the table as well, with the test that shows the difference
            told = [part for part in re.split(r"\n\n|\n(?=\|)", text.replace(block, "")) if f"`{switch}" in part]
            assert any("tests/" in part for part in told), switch


@pytest.mark.parametrize("page", ABOUT_SOME, ids=lambda page: page.name)
def test_every_equation_has_a_function_or_a_test(page):
    part = page.read_text(encoding="utf-8").partition("## Equations")[2].partition("\n## ")[0]
    rows = [row for row in re.findall(r"^\|(.*)\|$", part, re.MULTILINE) if "---" not in row][1:]
    assert rows
    for row in rows:
        equation, function, test = re.split(r"(?<!\\)\|", row)
        assert "](" in function or "](" in test or "the same" in test or "objective" in equation, row


def test_every_figure_is_shown_and_is_a_drawing_with_a_title():
    shown = {name for page in PAGES for name in re.findall(r"\]\(figures/([\w.]+)\)", page.read_text(encoding="utf-8"))}
    assert shown == {path.name for path in (FOLDER / "figures").iterdir()}
    for path in (FOLDER / "figures").iterdir():
        drawing = ET.parse(path).getroot()
        assert drawing.find("{http://www.w3.org/2000/svg}title").text
        assert "prefers-color-scheme" in path.read_text(encoding="utf-8")
