"""Drawings of docs/pictures become part of the page, so that they take the colours of its light or dark theme."""

import html
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

FOLDER = "pictures"


class InlinePictures(SphinxTransform):
    """Replaces an image of a drawing by the drawing; its text alternative becomes the drawing's label."""

    default_priority = 200

    def apply(self, **_: Any) -> None:
        """Replace all of a page."""
        for node in list(self.document.findall(nodes.image)):
            _, path = self.env.relfn2path(node["uri"], self.env.docname)
            file = Path(path)
            if file.suffix == ".svg" and file.parent == Path(self.env.srcdir) / FOLDER:
                self.env.note_dependency(path)
                label = html.escape(node.get("alt", ""), quote=True)
                drawing = file.read_text(encoding="utf-8").replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
                node.replace_self(nodes.raw("", f'<div class="drawing">{drawing}</div>', format="html"))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transform."""
    app.add_transform(InlinePictures)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
