"""The table of data sets, made from their declarations in the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from fedjax_layers.data.sources import DATASETS
from fedjax_layers.data.tables.source import Source


class Whereabouts(NamedTuple):
    """The place of a data set on this machine.

    Attributes:
      there: whether it can be loaded.
      kind: ``files``, ``TFDS``, ``package``, ``generated``, ``yours`` or ``missing``.
      detail: the form of the files, what a user's own data set needs, or what is missing and how to get it.
    """

    there: bool
    kind: str
    detail: str


def whereabouts(source: Source, data_dir: Path) -> Whereabouts:
    """Look for a data set, without reading it.

    Args:
      source: the data set.
      data_dir: folder of the data files.
    """
    if not source.layouts:
        return Whereabouts(True, "yours" if source.obtain else "generated", source.obtain)
    kind, there = source.find(data_dir)
    if kind != "missing":
        return Whereabouts(True, kind, str(there) if kind == "TFDS" else there[0].note)
    names = ", ".join(file.name for file in source.layouts[0].files)
    download = "fedjax-layers data prepare NAME fetches them"
    remedy = download if all(file.url for file in source.layouts[0].files) else source.obtain
    return Whereabouts(False, "missing", f"needs {names} in {source.place(data_dir)}" + (remedy and f"; {remedy}"))


def facts_of(source: Source, where: Whereabouts) -> dict[str, Any]:
    """Return what the table says of a data set, for JSON."""
    facts = {name: getattr(source, name) for name in ("name", "title", "task", "licence", "citation")}
    counted = max((sum(layout.counts.values()) for layout in source.layouts), default=0)
    known = {"examples": counted or source.examples, "classes": source.classes, "natural_clients": source.clients}
    return {**facts, **{name: value or None for name, value in known.items()}, "here": where._asdict()}


def markdown_table() -> str:
    """Make the documentation's table, which is the same on every machine."""
    rows = ["| name | what | task | examples | classes | natural clients | licence | source |", "|" + "---|" * 8]
    for s in DATASETS.values():
        cells = (
            f"`{s.name}`",
            s.title,
            s.task.replace("_", " "),
            numbers_of(s),
            str(s.classes or "–"),
            s.clients or "–",
            s.licence,
            s.citation,
        )
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def numbers_of(source: Source) -> str:
    """Write the numbers of examples of the official parts, by form of the files where they differ."""
    forms = dict.fromkeys(" + ".join(f"{n:,}" for n in x.counts.values()) for x in source.layouts if x.counts)
    return " or ".join(forms) or (f"{source.examples:,}" if source.examples else "–")
