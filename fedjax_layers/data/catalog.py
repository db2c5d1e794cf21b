"""The table of data sets, made from what the package knows of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fedjax_layers.data.source import Source
from fedjax_layers.data.sources import DATASETS


@dataclasses.dataclass(frozen=True)
class Entry:
    """One data set, for people.

    Attributes:
      name: registry name.
      title: what it is.
      task: what is predicted.
      examples: numbers of examples of the official parts, by form of the files where they differ.
      classes: number of classes, 0 where there are none.
      clients: what a natural client is, empty where there are none.
      licence: terms.
      citation: who made it.
    """

    name: str
    title: str
    task: str
    examples: str
    classes: int
    clients: str
    licence: str
    citation: str


def catalog() -> list[Entry]:
    """All data sets, by name."""
    return [
        Entry(s.name, s.title, s.task, _examples(s), s.classes, s.clients, s.licence, s.citation)
        for s in DATASETS.values()
    ]


def whereabouts(source: Source, data_dir: Path) -> tuple[bool, str]:
    """Whether a data set can be loaded on this machine, and from where; or else what is missing and how to get it.

    Args:
      source: the data set.
      data_dir: folder of the data files.
    """
    if not source.layouts:
        return True, source.obtain or "needs no files"
    located = source.locate(source.place(data_dir))
    if located:
        layout, _ = located
        return True, f"files in {data_dir}" + (f" ({layout.note})" if layout.note else "")
    prepared = source.prepared_folder(data_dir)
    if prepared is not None:
        return True, f"prepared by TFDS in {prepared}"
    if source.embedded:
        return True, "inside this package"
    return False, source.missing(data_dir).removeprefix("data_dir: ")


def markdown_table() -> str:
    """The table for the documentation: the same on every machine."""
    rows = ["| name | what | task | examples | classes | natural clients | licence | source |", "|" + "---|" * 8]
    for e in catalog():
        cells = (
            f"`{e.name}`",
            e.title,
            e.task.replace("_", " "),
            e.examples,
            str(e.classes or "–"),
            e.clients or "–",
            e.licence,
            e.citation,
        )
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _examples(source: Source) -> str:
    forms: dict[str, None] = {}
    for layout in source.layouts:
        if layout.counts:
            forms[" + ".join(f"{n:,}" for n in layout.counts.values())] = None
    return " or ".join(forms) or "–"
