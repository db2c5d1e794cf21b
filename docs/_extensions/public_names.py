"""References of docstrings to where a thing is defined lead to its entry, which stands under its public name."""

import re
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode


def _find(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, text: nodes.Node) -> nodes.Node | None:
    """Resolve ``fedjax_layers.clients.LocalSolver``, or ``LocalSolver``, by the last part of its name."""
    if node.get("refdomain") != "py":
        return None
    objects = env.domains.python_domain.objects
    *_, name = node["reftarget"].split(".")
    found = [full for full in objects if full.split(".")[-1] == name and not objects[full].aliased]
    if node["reftype"] == "class":  # also of every type in a signature, where ``bytes`` is not a method
        found = [full for full in found if objects[full].objtype == "class"]
    found = sorted(found, key=lambda full: (full.count("."), full))
    if not found:
        return None
    entry = objects[found[0]]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, [text], found[0])


ALIAS = re.compile(r"TypeAliasForwardRef\('([\w.]+)'\)")


def _named(*event: Any) -> tuple[str | None, str | None] | None:
    """Write types by the names that ``autodoc_type_aliases`` gives them."""
    *_, arguments, result = event
    if ALIAS.search(f"{arguments} {result}") is None:
        return None
    return arguments and ALIAS.sub(r"\1", arguments), result and ALIAS.sub(r"\1", result)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the search, and the names of types."""
    app.connect("autodoc-process-signature", _named)
    app.connect("missing-reference", _find)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
