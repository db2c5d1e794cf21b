"""The report's page in a browser without a window: it says no error, and its buttons, pointer and keys work."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fedjax_layers.report.page.found import find
from fedjax_layers.report.page.page import page
from tests.report.made_runs import made_comparison

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium is found"),
]
HOSTILE = ("</script><script>alert(1)</script>", "<img src=x onerror=alert(2)>", "\u202egnp\u202c עברית", "x" * 300)
VISITOR = (Path(__file__).parent / "visitor.js").read_text()


def visit(path):
    """Open a page, and return its elements as text and what the browser says on its console."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    flags += [f"--user-data-dir={path.parent / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=2000"]
    command = [BROWSER, *flags, "--dump-dom", path.as_uri()]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = made_comparison(tmp_path_factory.mktemp("browser") / "all", names=HOSTILE, layers=HOSTILE[:3])
    return page(find([folder]))


def test_the_page_as_it_is_says_no_error(text, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(text)
    elements, said = visit(path)
    assert said == []
    assert '<html lang="en" class="js">' in elements, "the page's own script may run"


def test_a_script_of_anybody_else_is_refused(text, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(text.replace("</main>", "<script>document.title = 'hacked'</script></main>"))
    elements, said = visit(path)
    assert any("Content Security Policy" in line for line in said)
    assert "<title>hacked" not in elements


@pytest.fixture(scope="module")
def found(text, tmp_path_factory):
    """What a visitor with a phone finds, whom the page's policy is opened for; a window cannot be as narrow."""
    path = tmp_path_factory.mktemp("visit") / "page.html"
    opened = re.sub(r"script-src '[^']*'", "script-src 'unsafe-inline'", text, count=1)
    whole = opened.replace("</body>", f"<script>{VISITOR}</script></body>")
    path.write_text(
        f'<!doctype html><iframe style="width: 360px; height: 800px" srcdoc="{html.escape(whole)}"></iframe>'
    )
    elements, said = visit(path)
    assert said == []
    return json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', elements, re.S)[1]))


def test_every_chart_is_drawn(found):
    assert found["js"]
    assert len(found["charts"]) == 4
    assert all(found["charts"]), "no chart is empty"
    assert found["described"]
    assert found["tables"]


def test_a_legend_hides_a_line_in_all_charts(found):
    assert found["hidden"] == [True, ["false"], False, True]


def test_pickers_show_one_chart_that_fits(found):
    assert found["picked"] == [
        ["loss over rounds, own, trained model", "loss/own, trained", 1],
        ["loss over rounds, global model", "loss/global", 1],
        ["training loss over rounds", "training loss/own, trained", 1],
        ["macro-F1 over rounds, own, trained model", "macro-F1/own, trained", 1],
        ["macro-F1 over rounds, own, served model", "macro-F1/own, served", 1],
    ]


def test_pointer_and_keys_tell_the_values(found):
    first, second, other, none = found["keys"]
    assert re.fullmatch(r"local, round 1: 0\.\d+ \(0\.\d+ to 0\.\d+\)", first)
    assert second.startswith("local, round 2: ")
    assert other.startswith("fedavg, round 2: ")
    assert none == ""
    assert re.match(r"local, client .*, seed [01]: 0\.\d", found["client"], re.S)
    assert ", round 3: " in found["pointed"]
    assert found["focusable"]


def test_hostile_names_are_inert_and_nothing_is_wider_than_a_phone(found):
    assert "hacked" not in found
    assert found["foreign"] == 0
    assert found["wide"] == [360, True]
