"""The site builds without a warning, its links and anchors lead somewhere, and every public name is in it."""

import html.parser
import importlib
import pathlib
import re
import subprocess
import sys
import urllib.parse

import pytest

import fedjax_layers

ROOT = pathlib.Path(__file__).parent.parent
ROOMS = ("ops", "algorithms", "data", "models")
ENTRY = re.compile(r"^\.\. (?:auto\w+|py:data):: ([\w.]+)$", re.MULTILINE)


def test_every_public_name_has_an_entry():
    entries = set()
    for page in (ROOT / "docs" / "api").glob("*.md"):
        found = ENTRY.findall(page.read_text(encoding="utf-8"))
        assert not entries & set(found), "an entry twice"
        entries |= set(found)
    modules = {"__version__", "algorithms", "data", "engine", "models", "ops", "sampling"}
    wanted = {f"fedjax_layers.{name}" for name in set(fedjax_layers.__all__) - modules}
    for room in ROOMS:
        names = importlib.import_module(f"fedjax_layers.{room}").__all__
        wanted |= {f"fedjax_layers.{room}.{name}" for name in names}
    entries |= {f"fedjax_layers.ops.{name}" for name in ("ClientAxis",)}  # one entry for two names
    entries |= {
        f"fedjax_layers.{room}.{name}"
        for room, name in (("algorithms", "Method"), ("data", "ClientData"), ("models", "task"), ("models", "low_rank"))
    }
    assert sorted(wanted - entries) == []


class Links(html.parser.HTMLParser):
    """What a page links to, and the anchors that it has."""

    def __init__(self):
        super().__init__()
        self.targets, self.anchors = set(), set()

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        self.targets |= {found[name] for name in ("href", "src") if found.get(name) and tag != "link"}


def broken(pages):
    """Targets within the site that are not there: pairs of the page and the target."""
    for page, links in pages.items():
        for target in links.targets:
            url = urllib.parse.urlsplit(target)
            if url.scheme or url.netloc or target == "#":
                continue
            path = (page.parent / urllib.parse.unquote(url.path)).resolve() if url.path else page
            anchor = urllib.parse.unquote(url.fragment)
            if not path.is_file() or (anchor and path in pages and anchor not in pages[path].anchors):
                yield page.name, target


def read(path):
    links = Links()
    links.feed(path.read_text(encoding="utf-8"))
    return links


def test_a_broken_link_and_a_broken_anchor_are_seen(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#here">b</a><a href="b.html#there">b</a><img src="c.png">')
    (tmp_path / "b.html").write_text('<p id="here"></p>')
    pages = {path: read(path) for path in tmp_path.glob("*.html")}
    assert set(broken(pages)) == {("a.html", "b.html#there"), ("a.html", "c.png")}


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_its_links_lead_somewhere(tmp_path):
    for package in ("sphinx_book_theme", "sphinx_design", "myst_nb"):
        pytest.importorskip(package)
    flags = ["-W", "--keep-going", "-q", "-D", "nb_execution_mode=off"]
    command = [sys.executable, "-m", "sphinx", *flags, str(ROOT / "docs"), str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = [path for path in (tmp_path / "site").rglob("*.html") if "_static" not in path.parts]
    pages = {path: read(path) for path in made}
    assert len(pages) > 80
    assert list(broken(pages)) == []
