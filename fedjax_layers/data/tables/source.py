"""What the package knows of a data set: terms, files, columns, how to read them, how to make examples of them."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fedjax_layers.data.dataset import Dataset, Task
from fedjax_layers.data.tables.cache import cache_key, cached_tables
from fedjax_layers.data.tables.columns import Column, Tables, check_tables
from fedjax_layers.data.tables.files import DATA_DIR_VARIABLE, SourceFile, find_files, resolve_data_dir, verify_files
from fedjax_layers.data.tables.prepared import PREFIX, newest, prepared_tables
from fedjax_layers.host_memory import free_host_memory, rounded_down, spoken

_SPLITTING = 40  # bytes of row numbers and flags for each example that is split


@dataclasses.dataclass(frozen=True)
class Layout:
    """One form in which a data set is distributed.

    Attributes:
      files: what has to be there.
      read: from ``{name within the folder: path}`` to the tables, one per official split.
      counts: examples of each official split; empty where that is not known beforehand.
      note: what is special about this form, e.g. that it is a subset.
    """

    files: tuple[SourceFile, ...]
    read: Callable[[Mapping[str, Path]], Tables]
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Outline:
    """What is known of a generated data set before it is generated.

    Attributes:
      sizes: ``[C]`` integers, examples of each natural client.
      sample: a data set of the same kind with a single example.
    """

    sizes: np.ndarray
    sample: Dataset

    @property
    def bytes(self) -> int:
        """Of the whole set, with what splitting it takes beside."""
        return int(self.sizes.sum()) * (self.sample.inputs[0].nbytes + self.sample.labels[0].nbytes + _SPLITTING)


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set of the registry.

    Attributes:
      name: registry name.
      title: what it is, in a few words.
      task: what is predicted.
      licence: terms of the data.
      citation: who made it.
      build: makes the :class:`~fedjax_layers.data.dataset.Dataset`; its keyword-only parameters are the options.
        Called ``build(tables, provenance, **options)`` where there are layouts, else ``build(**options)``, with
        ``data_dir`` in front if it takes that.
      classes: number of classes, 0 where there are none.
      examples: how many there are, where no layout tells and there is a fixed number.
      clients: what a natural client is (``"hospital"``), empty where there are none.
      columns: what the tables hold, besides nothing else.
      layouts: the forms that are read, the preferred first; empty for generated data and a user's own.
      folder: name of the set's folder in the data folder; the registry name if empty.
      embedded: the folder inside this package that holds the files, where they are so small.
      stock: name of the stock TFDS data set that holds the same examples.
      from_stock: from what that set yields to the tables.
      obtain: how to get the files, one line.
      version: raised when ``read`` changes what it returns.
      own: whether the data are a user's own, whose test part nobody trains on.
      outline: of a generated set: takes the options of ``build``, and generates nothing.
    """

    name: str
    title: str
    task: Task
    licence: str
    citation: str
    build: Callable[..., Dataset]
    classes: int = 0
    examples: int = 0
    clients: str = ""
    columns: Mapping[str, Column] = dataclasses.field(default_factory=dict)
    layouts: tuple[Layout, ...] = ()
    folder: str = ""
    embedded: Path | None = None
    stock: str = ""
    from_stock: Callable[[Mapping[str, Any]], Tables] | None = None
    obtain: str = ""
    version: str = "1.0.0"
    own: bool = False
    outline: Callable[..., Outline] | None = None

    def load(self, data_dir: str | os.PathLike[str] | None = None, **options: Any) -> Dataset:
        """The data set.

        Args:
          data_dir: folder of the data files; see :func:`fedjax_layers.data.resolve_data_dir`.
          **options: of ``build``.

        Raises:
          FileNotFoundError: files are missing; the message says which, and where they belong.
          ValueError: an option out of range, a damaged file, or a set that is to be generated and would not fit into
            the memory.
        """
        if self.outline is not None:
            _check_memory(self.outline(**options))
        if not self.layouts:
            takes_folder = "data_dir" in inspect.signature(self.build).parameters
            return self.build(data_dir, **options) if takes_folder else self.build(**options)
        tables, provenance = self.tables(resolve_data_dir(data_dir))
        return self.build(tables, provenance, **options)

    def tables(self, data_dir: Path) -> tuple[Tables, str]:
        """The columns of all official splits, and where they come from; decoded at most once, see ``cache.py``.

        Looked for are, in this order: the files of a layout in ``data_dir``, what TFDS has prepared there, and the
        files inside this package.
        """
        kind, there = self.find(data_dir)
        if kind == "missing":
            raise FileNotFoundError(self.missing(data_dir))
        if kind == "TFDS":
            return prepared_tables(self.name, self.version, self.columns, self.from_stock, there)
        layout, found = there
        if kind == "package":  # small enough to be read each time
            return self.read(layout, found)
        return cached_tables(self.name, self._key(layout, found), lambda: self.read(layout, found))

    def find(self, data_dir: Path) -> tuple[Literal["files", "TFDS", "package", "missing"], Any]:
        """Where the set is to be read from; nothing is read.

        Returns:
          ``"files"`` or ``"package"`` with a layout and the paths of its files, ``"TFDS"`` with the folder of what is
          prepared by our builder or, failing that, by the stock one; or ``"missing"`` with ``None``.
        """
        located = self.locate(self.place(data_dir))
        if located:
            return "files", located
        prepared = newest(data_dir / f"{PREFIX}{self.name}")
        if prepared is None and self.stock and self.from_stock:
            prepared = newest(data_dir / self.stock)
        if prepared is not None:
            return "TFDS", prepared
        located = self.locate(self.embedded) if self.embedded else None
        return ("package", located) if located else ("missing", None)

    def place(self, data_dir: Path) -> Path:
        """The folder of this set's files in a data folder."""
        return data_dir / (self.folder or self.name)

    def locate(self, place: Path) -> tuple[Layout, dict[str, Path]] | None:
        """The first layout whose files are all in a folder, with their paths; ``None`` if there is none."""
        for layout in self.layouts:
            found, missing = find_files(place, layout.files)
            if not missing:
                return layout, found
        return None

    def read(self, layout: Layout, found: dict[str, Path]) -> tuple[Tables, str]:
        """Checksums, content, counts: the tables as the files have them.

        Raises:
          ValueError: a checksum, a file's form or a number of examples is not what was announced.
        """
        verify_files(found, layout.files)
        tables = layout.read(found)
        check_tables(tables, self.columns, layout.counts, self.name)
        note = f" ({layout.note})" if layout.note else ""
        checked = "checked" if all(f.sha256 for f in layout.files) else "unchecked"
        return tables, f"{checked} files of {self.name}{note}"

    def missing(self, data_dir: Path) -> str:
        """Which files are missing where, and what to do about it: one line."""
        place = self.place(data_dir)
        forms = []
        for layout in self.layouts:
            names = [f.name for f in layout.files]
            _, absent = find_files(place, layout.files)
            some = f"{', '.join(absent)} (the other {len(names) - len(absent)} of its files are there)"
            forms.append(some if len(absent) < len(names) else ", ".join(names))
        stock = f"; or {self.stock} prepared by TFDS in {data_dir}" if self.stock else ""
        remedy = f"; {self.obtain}" if self.obtain else ""
        named = "that folder" if self.folder == "." else f"the folder above {place.name}"
        return (
            f"data_dir: expected in {place} the files {' or '.join(forms)}{stock}, found neither{remedy}; "
            f"--data-dir or {DATA_DIR_VARIABLE} names {named}"
        )

    def _key(self, layout: Layout, found: Mapping[str, Path]) -> str:
        stats = {name: path.stat() for name, path in found.items()}
        return cache_key(
            version=self.version,
            columns=[[name, *dataclasses.astuple(column)] for name, column in self.columns.items()],
            counts=dict(layout.counts),
            checksums=[[f.name, f.sha256] for f in layout.files],
            files=[[name, s.st_size, s.st_mtime_ns] for name, s in sorted(stats.items())],
        )


def _check_memory(outline: Outline) -> None:
    free, clients, total = free_host_memory(), len(outline.sizes), int(outline.sizes.sum())
    if free is not None and outline.bytes > free:
        most = rounded_down(clients * free / outline.bytes)
        found = f"{clients:,} with {total:,} examples, {spoken(outline.bytes)}"
        raise ValueError(f"clients: expected at most {most:,} for the free {spoken(free)}, got {found}")
