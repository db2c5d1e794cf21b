"""HTML and SVG elements, whose texts and attributes are escaped when they are written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree

Element = ElementTree.Element
Child = Any  # an element, a text, None for nothing, or several of these
_FORBIDDEN = re.compile("[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def el(tag: str, *children: Child, **attributes: Any) -> Element:
    """Make an element.

    Args:
      tag: its name.
      *children: what is in it.
      **attributes: its attributes; ``_`` stands for ``-``, an ``_`` at the end is dropped. ``True`` is an attribute
        without a value, ``None`` and ``False`` are none.
    """
    made = Element(tag)
    for name, value in attributes.items():
        if value is not None and value is not False:
            made.set(name.rstrip("_").replace("_", "-"), "" if value is True else clean(str(value)))
    add(made, children)
    return made


def add(parent: Element, children: Iterable[Child]) -> None:
    """Add elements and texts at the end of an element."""
    for child in children:
        if isinstance(child, Element):
            parent.append(child)
        elif isinstance(child, list | tuple):
            add(parent, child)
        elif child is not None:
            text = clean(str(child))
            if len(parent):
                parent[-1].tail = (parent[-1].tail or "") + text
            else:
                parent.text = (parent.text or "") + text


def clean(text: str) -> str:
    """Replace characters that HTML does not allow."""
    return _FORBIDDEN.sub("\ufffd", text)


def name(text: str, **attributes: Any) -> Element:
    """Show a name of the user's, whose direction of writing does not spread to the text around it."""
    return el("bdi", text, class_="name", **attributes)


def data(content: Any, **attributes: Any) -> Element:
    """Embed values for the page's script, as JSON that cannot end its element."""
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return el("script", text, type="application/json", **attributes)


def html(root: Element) -> str:
    """Write an element with everything in it."""
    return ElementTree.tostring(root, encoding="unicode", method="html", short_empty_elements=True)


def table(
    head: Iterable[Child], rows: Iterable[Iterable[Child]], caption: str = "", *, class_: str = "", left: int = 1
) -> Element:
    """Make a table whose first column names its rows; it scrolls sideways where there is no room.

    Args:
      head: the columns' titles.
      rows: the rows' cells.
      caption: what is in the table; shown above it.
      class_: a further class.
      left: how many columns are aligned to the left; the others hold numbers.
    """
    columns = [el("th", x, scope="col", class_=None if i < left else "number") for i, x in enumerate(head)]
    lines = []
    for row in rows:
        first, *others = row
        cells = [_cell(x, i < left) for i, x in enumerate(others, 1)]
        lines.append(el("tr", el("th", first, scope="row"), cells))
    told = el("p", caption, class_="caption") if caption else None
    made = el("table", el("thead", el("tr", columns)), el("tbody", lines), class_=class_ or None)
    return el("div", told, el("div", made, class_="scroll", tabindex="0", role="region", aria_label=caption or "table"))


def _cell(content: Child, left: bool) -> Element:
    """Make a cell of a table, unless it is one already."""
    if isinstance(content, Element) and content.tag == "td":
        return content
    return el("td", content, class_=None if left else "number")
