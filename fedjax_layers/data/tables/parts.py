"""One or all official parts of a data set as one table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from fedjax_layers.data.packing import joined
from fedjax_layers.data.tables.columns import Ragged, Tables
from fedjax_layers.options import unknown_name


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Rows of one part, or of all parts one after the other.

    Attributes:
      columns: ``[N, ...]`` entries, by column.
      ids: ``[N]`` int64, the row number over all official parts, whichever part is taken.
      official_test: ``[N]`` bool, True in the part called ``test``; ``None`` where one part was taken.
    """

    columns: Mapping[str, np.ndarray | Ragged]
    ids: np.ndarray
    official_test: np.ndarray | None

    def __len__(self) -> int:
        return len(self.ids)

    def array(self, column: str) -> np.ndarray:
        """Return a column of fixed shape, ``[N, ...]``."""
        entries = self.columns[column]
        assert isinstance(entries, np.ndarray), column
        return entries

    def ragged(self, column: str) -> Ragged:
        """Return a text or token column."""
        entries = self.columns[column]
        assert isinstance(entries, Ragged), column
        return entries


def take_parts(tables: Tables, split: str = "all", limit: int | None = None) -> Examples:
    """Take one official part, which is not copied, or all parts.

    Args:
      tables: tables by official split, in the official order.
      split: ``"all"`` or the name of a part.
      limit: number of first examples to keep; ``None`` keeps all.

    Raises:
      ValueError: there is no such part, or the limit is out of range.
    """
    if split != "all" and split not in tables:
        raise unknown_name("split", split, (*tables, "all"))
    names = list(tables) if split == "all" else [split]
    sizes = {name: len(next(iter(table.values()))) for name, table in tables.items()}
    total = sum(sizes[name] for name in names)
    if limit is not None and not 1 <= limit <= total:
        raise ValueError(f"limit: expected 1..{total} for split {split!r}, got {limit}")
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()])[:-1].tolist(), strict=True))
    columns = {column: join([tables[name][column] for name in names], limit) for column in tables[names[0]]}
    ids = np.concatenate([starts[name] + np.arange(sizes[name], dtype=np.int64) for name in names])[:limit]
    test = np.concatenate([np.full(sizes[name], name == "test") for name in names])[:limit]
    return Examples(columns, ids, test if len(names) > 1 else None)


def join(entries: list[np.ndarray | Ragged], limit: int | None = None) -> np.ndarray | Ragged:
    """Concatenate columns of several parts, of which only the first ``limit`` entries are copied."""
    starts = np.cumsum([0, *(len(part) for part in entries)])[:-1].tolist()
    if limit is not None:
        entries = [_first(part, limit - start) for part, start in zip(entries, starts, strict=True) if start < limit]
    if len(entries) == 1:
        return entries[0]
    arrays = [part for part in entries if isinstance(part, np.ndarray)]
    ragged = [part for part in entries if isinstance(part, Ragged)]
    if arrays:
        return joined(arrays)
    before = np.cumsum([0, *(len(part.values) for part in ragged)])[:-1]
    offsets = [part.offsets[1:] + start for part, start in zip(ragged, before, strict=True)]
    return Ragged(np.concatenate([part.values for part in ragged]), np.concatenate([np.zeros(1, np.int64), *offsets]))


def _first(entries: np.ndarray | Ragged, number: int) -> np.ndarray | Ragged:
    if isinstance(entries, Ragged):
        offsets = entries.offsets[: number + 1]
        return Ragged(entries.values[: offsets[-1]], offsets)
    return entries[:number]
