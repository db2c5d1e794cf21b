"""The description of a data set: terms, files, columns, and the functions that read them and make examples."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from fedjax_layers.data.dataset import Dataset, Task
from fedjax_layers.data.tables.cache import cache_key, cached_tables
from fedjax_layers.data.tables.columns import Column, Tables, check_tables
from fedjax_layers.data.tables.files import DATA_DIR_VARIABLE, SourceFile, find_files, resolve_data_dir, verify_files
from fedjax_layers.data.tables.prepared import PREFIX, newest, prepared_tables
from fedjax_layers.host_memory import free_host_memory, rounded_down, spoken

_SPLITTING = 40  # bytes of row numbers and flags per example while a set is split


@dataclasses.dataclass(frozen=True)
class Layout:
    """One form in which a data set is distributed.

    Attributes:
      files: the required files.
      read: ``{name within the folder: path} -> tables``, one per official split.
      counts: number of examples of each official split; empty where it is not known beforehand.
      note: what is special about this form, e.g. that it is a subset.
    """

    files: tuple[SourceFile, ...]
    read: Callable[[Mapping[str, Path]], Tables]
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Outline:
    """The properties of a generated data set that are known before it is generated.

    Attributes:
      sizes: ``[C]`` integers, the number of examples of each natural client.
      sample: a data set of the same kind with a single example.
    """

    sizes: np.ndarray
    sample: Dataset

    @property
    def bytes(self) -> int:
        """The bytes of the whole set, including the memory for splitting it."""
        return int(self.sizes.sum()) * (self.sample.inputs[0].nbytes + self.sample.labels[0].nbytes + _SPLITTING)


class Found(NamedTuple):
    """What was found in a user's own data.

    Attributes:
      splits: number of examples by the name of each split; one without a name is called ``data``.
      clients: number of clients that folders or the file name, 0 where there are none.
      columns: what each column or feature holds, in words.
    """

    splits: dict[str, int]
    clients: int
    columns: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set of the registry.

    Attributes:
      name: registry name.
      title: a description in a few words.
      task: the kind of prediction.
      licence: terms of the data.
      citation: the authors.
      build: makes the :class:`~fedjax_layers.data.dataset.Dataset`; its keyword-only parameters are the options.
        Called ``build(tables, provenance, **options)`` where there are layouts, else ``build(**options)``, with
        ``data_dir`` in front if it takes that.
      classes: number of classes, 0 where there are none.
      examples: number of examples, where no layout gives it and it is fixed; else 0.
      clients: what a natural client is (``"hospital"``), empty where there are none.
      columns: the columns of the tables.
      layouts: the forms that can be read, the preferred one first; empty for generated data and a user's own.
      folder: name of the set's folder in the data folder; the registry name if empty.
      embedded: the folder inside this package with the files, where they are small enough.
      stock: name of the stock TFDS data set that holds the same examples.
      from_stock: function from that set's content to the tables.
      obtain: one line on how to get the files.
      version: version that rises when the result of ``read`` changes.
      own: whether the data are a user's own, whose test part no client trains on.
      describe: for a user's own data, a function of the path that says what is there, without reading all of it.
      outline: for a generated set, a function of ``build``'s options that gives its outline without generating it.
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
    describe: Callable[[Path], Found] | None = None
    outline: Callable[..., Outline] | None = None

    def load(self, data_dir: str | os.PathLike[str] | None = None, **options: Any) -> Dataset:
        """Load the data set.

        Args:
          data_dir: folder of the data files; see :func:`fedjax_layers.data.resolve_data_dir`.
          **options: the options of ``build``.

        Raises:
          FileNotFoundError: files are missing; the message says which, and where they belong.
          ValueError: an option is out of range, a file is damaged, or a set to generate would not fit into the memory.
        """
        if self.outline is not None:
            _check_memory(self.outline(**options))
        if not self.layouts:
            takes_folder = "data_dir" in inspect.signature(self.build).parameters
            return self.build(data_dir, **options) if takes_folder else self.build(**options)
        tables, provenance = self.tables(resolve_data_dir(data_dir))
        return self.build(tables, provenance, **options)

    def tables(self, data_dir: Path) -> tuple[Tables, str]:
        """Read the columns of all official splits, decoded at most once (see ``cache.py``), and a line on their source.

        The search goes in this order: files of a layout in ``data_dir``, data that TFDS has prepared there, and files
        inside this package.
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
        """Find where the set can be read, without reading it.

        Returns:
          ``"files"`` or ``"package"`` with a layout and the paths of its files; ``"TFDS"`` with the folder of data
          prepared by our builder or else by the stock one; or ``"missing"`` with ``None``.
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
        """Return the folder of this set's files in a data folder."""
        return data_dir / (self.folder or self.name)

    def locate(self, place: Path) -> tuple[Layout, dict[str, Path]] | None:
        """Find the first layout whose files are all in a folder, with their paths; ``None`` if there is none."""
        for layout in self.layouts:
            found, missing = find_files(place, layout.files)
            if not missing:
                return layout, found
        return None

    def read(self, layout: Layout, found: dict[str, Path]) -> tuple[Tables, str]:
        """Check the files' checksums, read the tables, and check these.

        Raises:
          ValueError: a checksum, a file's form or a number of examples is not as declared.
        """
        verify_files(found, layout.files)
        tables = layout.read(found)
        check_tables(tables, self.columns, layout.counts, self.name)
        note = f" ({layout.note})" if layout.note else ""
        checked = "checked" if all(f.sha256 for f in layout.files) else "unchecked"
        return tables, f"{checked} files of {self.name}{note}"

    def missing(self, data_dir: Path) -> str:
        """Describe in one line which files are missing where, and how to get them."""
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
