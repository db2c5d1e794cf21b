"""The columns of a data set, the common form of raw files, prepared TFDS data and the cache."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import numpy as np

Kind = Literal["image", "label", "number", "text", "tokens"]


@dataclasses.dataclass(frozen=True)
class Column:
    """A column, which TFDS calls a feature. :func:`image`, :func:`label` and so on make it.

    Attributes:
      kind: ``image`` is uint8 ``[H, W, 1 or 3]``, ``label`` an int64 class number, ``number`` an array of a fixed
        shape, ``text`` UTF-8 text and ``tokens`` a list of integers, the last two of any length.
      shape: shape of one entry; empty for a scalar, text and tokens.
      dtype: NumPy name of the entries' type.
      names: for a ``label``, one name per class.
    """

    kind: Kind
    shape: tuple[int, ...] = ()
    dtype: str = "int64"
    names: tuple[str, ...] = ()


def image(height: int, width: int, channels: int = 1) -> Column:
    """Make a column of pictures ``[height, width, channels]`` uint8."""
    return Column("image", (height, width, channels), "uint8")


def label(names: Iterable[str]) -> Column:
    """Make a column of classes, as numbers in ``names``."""
    return Column("label", names=tuple(names))


def number(dtype: str = "float32", *shape: int) -> Column:
    """Make a column of numbers of one shape, e.g. ``number("float32", 13)`` for thirteen features."""
    return Column("number", shape, dtype)


def text() -> Column:
    """Make a column of UTF-8 texts of any length."""
    return Column("text", dtype="uint8")


def tokens(dtype: str = "int64") -> Column:
    """Make a column of lists of integers of any length."""
    return Column("tokens", dtype=dtype)


@dataclasses.dataclass(frozen=True, eq=False)
class Ragged:
    """N entries of unequal length, stored one after the other; texts are stored as UTF-8 bytes.

    Attributes:
      values: ``[M]``, all entries one after the other.
      offsets: ``[N + 1]`` int64, entry i is ``values[offsets[i]:offsets[i + 1]]``.
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, entries: Iterable[np.ndarray], dtype: str) -> Ragged:
        """Make it from one array per entry."""
        parts = [np.asarray(entry, dtype) for entry in entries]
        offsets = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        return cls(np.concatenate(parts) if parts else np.empty(0, dtype), offsets)

    @classmethod
    def of_texts(cls, texts: Iterable[str]) -> Ragged:
        """Make it from texts."""
        return cls.of((np.frombuffer(entry.encode(), np.uint8) for entry in texts), "uint8")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[row] for row in range(len(self)))

    @property
    def lengths(self) -> np.ndarray:
        """The length of each entry, ``[N]`` int64."""
        return np.diff(self.offsets)

    def texts(self) -> list[str]:
        """Return the entries as texts."""
        return [entry.tobytes().decode() for entry in self]


Table = Mapping[str, np.ndarray | Ragged]  # column name -> entries of one official split
Tables = Mapping[str, Table]  # official split -> table


def check_tables(tables: Tables, columns: Mapping[str, Column], counts: Mapping[str, int], where: str) -> None:
    """Check that tables are as declared.

    Args:
      tables: the tables that were read.
      columns: the columns of each table.
      counts: number of examples of each official split; empty where it is not known beforehand.
      where: name of what was read, for the message.

    Raises:
      ValueError: splits, columns, shapes, types or numbers of examples differ, a label is outside its classes, or
        offsets do not divide the values of a ragged column into entries.
    """
    if counts and set(tables) != set(counts):
        raise ValueError(f"{where}: expected splits {', '.join(sorted(counts))}, found {', '.join(sorted(tables))}")
    for split, table in tables.items():
        if set(table) != set(columns):
            found = ", ".join(sorted(table))
            raise ValueError(f"{where}, {split}: expected columns {', '.join(sorted(columns))}, found {found}")
        sizes = {name: len(entries) for name, entries in table.items()}
        expected = counts.get(split, next(iter(sizes.values())))
        for name, size in sizes.items():
            if size != expected:
                raise ValueError(f"{where}, {split}, column {name}: expected {expected} examples, found {size}")
            _check_column(table[name], columns[name], f"{where}, {split}, column {name}")


def _check_column(entries: np.ndarray | Ragged, column: Column, where: str) -> None:
    values = entries.values if isinstance(entries, Ragged) else entries
    if isinstance(entries, Ragged) != (column.kind in ("text", "tokens")) or values.dtype != column.dtype:
        found = f"{'ragged ' if isinstance(entries, Ragged) else ''}{values.dtype}"
        raise ValueError(f"{where}: expected {column.kind} of {column.dtype}, found {found}")
    if isinstance(entries, Ragged):
        ends = entries.offsets[[0, -1]].tolist()
        if ends != [0, len(values)] or (entries.lengths < 0).any():
            found = f"{ends[0]} to {ends[1]}" + (", falling" if (entries.lengths < 0).any() else "")
            raise ValueError(f"{where}: expected offsets that rise from 0 to {len(values)}, found {found}")
    elif entries.shape[1:] != column.shape:
        raise ValueError(f"{where}: expected entries of shape {column.shape}, found {entries.shape[1:]}")
    if column.kind == "label" and len(values):
        wrong = np.flatnonzero((values < 0) | (values >= len(column.names)))
        if len(wrong):
            found = f"{values[wrong[0]]} in row {wrong[0]}"
            raise ValueError(f"{where}: expected a class 0..{len(column.names) - 1}, found {found}")
