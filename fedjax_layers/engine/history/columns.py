"""A table that grows by whole Parquet files in one folder, none of which is ever rewritten."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedjax_layers.storage import StorageError, reading, replacing, storing

_REPEATED = ("round", "finished", "examples")  # columns with few different values


class _Part(NamedTuple):
    first: int
    end: int
    path: Path


class ColumnFiles:
    """Entries (rounds, or evaluations), each of one or more table rows, in files named after their entries.

    ``000000003-000000007.parquet`` holds entries 3 to 6. A file is written under another name, forced to the disk and
    then moved, so that a killed process leaves it whole or not at all.

    Args:
      folder: the folder, which is made at the first write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def count(self) -> int:
        """The number of entries without a gap from the first one on."""
        return self._parts()[1]

    def append(self, columns: Mapping[str, np.ndarray], first: int, count: int) -> None:
        """Write ``count`` entries from ``first`` on: columns ``[rows, ...]`` by name, with equally many rows per entry.

        Raises:
          StorageError: the file cannot be written; earlier files are unchanged.
        """
        with storing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        self._write(_table(columns), first, first + count)

    def read(self, names: Collection[str] | None = None, start: int = 0) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Read file after file in order: the number of entries, and their columns ``[rows, ...]`` by name.

        Args:
          names: names of the columns; ``None`` reads all.
          start: the first entry to read.

        Raises:
          StorageError: a file is damaged.
        """
        for part in self._parts()[0]:
            if part.end > start:
                table = _read(part.path, names)
                if table.num_rows % (part.end - part.first):
                    raise StorageError(f"{part.path}: expected rows of {part.end - part.first} entries, found others")
                entries, skipped = part.end - part.first, max(start - part.first, 0)
                table = table.slice(table.num_rows // entries * skipped)
                yield entries - skipped, {name: _array(table[name]) for name in table.column_names}

    def keep(self, count: int) -> None:
        """Drop all entries from ``count`` on, and files that a killed process left half written.

        Raises:
          StorageError: there are fewer entries, or a file cannot be read or written.
        """
        parts, there = self._parts()
        if there < count:
            raise StorageError(f"{self._folder}: expected records up to number {count}, found them up to {there}")
        for part in parts:
            if part.first < count < part.end:
                table = _read(part.path, None)
                entries = count - part.first
                self._write(table.slice(0, table.num_rows // (part.end - part.first) * entries), part.first, count)
        whole = [part.path for part in self._parts()[0] if part.end <= count]
        for path in [*self._folder.glob("*.parquet"), *self._folder.glob(".*.tmp")]:
            if path not in whole:
                with storing(path):
                    path.unlink()

    def _parts(self) -> tuple[list[_Part], int]:
        """List the files in order, as long as each begins where the one before ends, and the end of the last one.

        Of files that begin at the same entry the shorter one counts, since it was cut from the other.
        """
        found = []
        for path in self._folder.glob("*.parquet"):
            first, _, end = path.stem.partition("-")
            if first.isdecimal() and end.isdecimal():
                found.append(_Part(int(first), int(end), path))
        parts, there = [], 0
        for part in sorted(found):
            if part.first == there:
                parts.append(part)
                there = part.end
        return parts, there

    def _write(self, table: Any, first: int, end: int) -> None:
        from pyarrow import parquet  # noqa: PLC0415  (slow to import, needed by runs that are recorded only)

        repeated = [name for name in _REPEATED if name in table.column_names]
        counted = {name: "DELTA_BINARY_PACKED" for name in ("client",) if name in table.column_names}
        with replacing(self._folder / f"{first:09d}-{end:09d}.parquet") as file:
            options: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
            parquet.write_table(table, file, use_dictionary=repeated, column_encoding=counted, **options)


def _table(columns: Mapping[str, np.ndarray]) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    return pa.table({name: _column(np.asarray(x)) for name, x in columns.items()})


def _column(values: np.ndarray) -> Any:
    """Convert values ``[rows, ...]`` to an Arrow column, whose further axes are lists of one length."""
    import pyarrow as pa  # noqa: PLC0415

    if values.dtype.kind not in "biuf":
        values = values.astype(np.float32)  # Parquet has no bfloat16
    column = pa.array(np.ascontiguousarray(values).reshape(-1))
    for size in reversed(values.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    return column


def _read(path: Path, names: Collection[str] | None) -> Any:
    from pyarrow import parquet  # noqa: PLC0415

    with reading(path), parquet.ParquetFile(path, page_checksum_verification=True) as file:
        return file.read(columns=None if names is None else list(names))


def _array(column: Any) -> np.ndarray:
    """Invert :func:`_column`."""
    import pyarrow as pa  # noqa: PLC0415

    values, shape = pa.concat_arrays(column.chunks), [len(column)]
    while pa.types.is_fixed_size_list(values.type):
        shape.append(values.type.list_size)
        values = values.flatten()
    array: np.ndarray = values.to_numpy(zero_copy_only=False).reshape(shape)
    return array
