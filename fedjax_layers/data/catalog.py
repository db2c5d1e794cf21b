"""The table of data sets, made from what the package knows of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

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


class Whereabouts(NamedTuple):
    """Where a data set is on this machine.

    Attributes:
      there: whether it can be loaded.
      kind: ``files``, ``TFDS``, ``package``, ``generated``, ``yours`` or ``missing``.
      detail: which form of the files, what an own data set needs, or what is missing and how to get it.
    """

    there: bool
    kind: str
    detail: str


def whereabouts(source: Source, data_dir: Path) -> Whereabouts:
    """Look for a data set; nothing is read.

    Args:
      source: the data set.
      data_dir: folder of the data files.
    """
    if not source.layouts:
        return Whereabouts(True, "yours" if source.obtain else "generated", source.obtain)
    located = source.locate(source.place(data_dir))
    if located:
        return Whereabouts(True, "files", located[0].note)
    prepared = source.prepared_folder(data_dir)
    if prepared is not None:
        return Whereabouts(True, "TFDS", str(prepared))
    if source.embedded:
        return Whereabouts(True, "package", "")
    names = ", ".join(file.name for file in source.layouts[0].files)
    download = "fedjax-layers data prepare NAME fetches them"
    remedy = download if all(file.url for file in source.layouts[0].files) else source.obtain
    return Whereabouts(False, "missing", f"needs {names} in {source.place(data_dir)}" + (remedy and f"; {remedy}"))


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
    return " or ".join(forms) or (f"{source.examples:,}" if source.examples else "–")
