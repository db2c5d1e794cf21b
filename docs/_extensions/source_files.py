"""Source files that pages link to or name become pages of the site, with numbered lines.

A link ``[text](../fedjax_layers/x.py)`` and a name in backticks, ``fedjax_layers/x.py::function``, both lead there.
Text that ends in ``::function`` leads to the function's line.
"""

import ast
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.util.osutil import relative_uri

FUNCTION = re.compile(r".*::(\w+)", re.DOTALL)
NAMED = re.compile(r"((?:fedjax_layers|tests|experiments|benchmarks)/[\w/.-]+\.py)(?:::(\w+))?")
FOLDER = "source"


class SourceLinks(SphinxTransform):
    """Turns links to Python files, and their names in backticks, into links to the pages of these files."""

    default_priority = 250

    def apply(self, **_: Any) -> None:
        """Turn those of a page."""
        root = Path(self.env.srcdir).parent
        for link in list(self.document.findall(addnodes.download_reference)):
            file = Path(self.env.relfn2path(link["reftarget"], self.env.docname)[1])
            if file.suffix == ".py" and file.is_relative_to(root):
                name = FUNCTION.fullmatch(link.astext())
                link.replace_self(
                    self._reference(root, file.relative_to(root).as_posix(), name and name[1], link.children)
                )
        for name in list(self.document.findall(nodes.literal)):
            found = NAMED.fullmatch(name.astext())
            if found and (root / found[1]).is_file() and not isinstance(name.parent, nodes.reference):
                name.replace_self(self._reference(root, found[1], found[2], [name.deepcopy()]))

    def _reference(self, root: Path, path: str, name: str | None, children: list[nodes.Node]) -> nodes.reference:
        line = line_of((root / path).read_text(encoding="utf-8"), name)
        linked(self.env).setdefault(self.env.docname, set()).add(path)
        here = self.app.builder.get_target_uri(self.env.docname)
        uri = relative_uri(here, self.app.builder.get_target_uri(f"{FOLDER}/{path}"))
        return nodes.reference("", "", *children, refuri=f"{uri}#line-{line}" if line else uri, internal=True)


def line_of(text: str, name: str | None) -> int | None:
    """Find the line of a function, class or test in a source; ``None`` without a name."""
    if name is None:
        return None
    for node in ast.walk(ast.parse(text)):
        if getattr(node, "name", None) == name and hasattr(node, "lineno"):
            return node.lineno
    return None


def linked(env: BuildEnvironment) -> dict[str, set[str]]:
    """Return the paths of the source files to which each page leads."""
    if not hasattr(env, "linked_sources"):
        env.linked_sources = {}
    found: dict[str, set[str]] = env.linked_sources
    return found


def _forget(_: Sphinx, env: BuildEnvironment, docname: str) -> None:
    linked(env).pop(docname, None)


def _merge(_: Sphinx, env: BuildEnvironment, docnames: list[str], other: BuildEnvironment) -> None:
    linked(env).update({name: paths for name, paths in linked(other).items() if name in docnames})


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} — {project}</title>
<style>
{light}
body {{ margin: 0 auto; max-width: 70rem; padding: 1rem }}
body {{ font-family: system-ui, sans-serif; background: #fff; color: #222 }}
.highlight {{ overflow-x: auto; font-size: 0.85rem; line-height: 1.45; background: none }}
.linenos {{ user-select: none; opacity: 0.6; margin-right: 1rem }}
:target {{ scroll-margin-top: 6rem; background: #ffd54f66 }}
[data-theme=dark] body {{ background: #14181e; color: #ced6dd }}
[data-theme=dark] a {{ color: #8ab8ff }}
{dark}
</style>
<script>
const asked = localStorage.getItem("theme") || "auto";
const dark = asked === "auto" ? matchMedia("(prefers-color-scheme: dark)").matches : asked === "dark";
document.documentElement.dataset.theme = dark ? "dark" : "light";
</script></head>
<body><p><a href="{home}">{project}</a></p><h1><code>{title}</code></h1>{code}</body></html>
"""


def _write_pages(app: Sphinx, failure: Exception | None) -> None:
    """Write a page for each source file, without the site's menus, which would take most of the time of a build."""
    if failure is not None or app.builder.format != "html":
        return
    root, out = Path(app.srcdir).parent, Path(app.outdir)
    formatter = HtmlFormatter(style="a11y-high-contrast-light", linenos="inline", linespans="line")
    dark = HtmlFormatter(style="a11y-high-contrast-dark").get_style_defs("[data-theme=dark] .highlight")
    words = {"project": app.config.project, "light": formatter.get_style_defs(".highlight"), "dark": dark}
    for path in sorted(set().union(*linked(app.env).values())):
        page = out / app.builder.get_target_uri(f"{FOLDER}/{path}")
        page.parent.mkdir(parents=True, exist_ok=True)
        code = highlight((root / path).read_text(encoding="utf-8"), PythonLexer(), formatter)
        home = relative_uri(app.builder.get_target_uri(f"{FOLDER}/{path}"), app.builder.get_target_uri("index"))
        page.write_text(PAGE.format(title=path, code=code, home=home, **words), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transform and the pages."""
    app.add_transform(SourceLinks)
    app.connect("env-purge-doc", _forget)
    app.connect("env-merge-info", _merge)
    app.connect("build-finished", _write_pages)
    return {"version": "1", "env_version": 1, "parallel_read_safe": True, "parallel_write_safe": True}
