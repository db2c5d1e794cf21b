"""The evaluations of a history with files, as a mapping whose columns are read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np


class StoredColumns(Mapping[str, np.ndarray]):
    """One array per name, with a row per evaluation.

    Args:
      facts: arrays in memory, ``[E, ...]`` by name.
      names: all names.
      blocks: ``name -> blocks [n, C, ...]`` of evaluations, in order, of an array that is not in memory.
    """

    def __init__(
        self,
        facts: Mapping[str, np.ndarray],
        names: Mapping[str, object],
        blocks: Callable[[str], Iterator[np.ndarray]],
    ) -> None:
        self._facts, self._names, self._blocks = facts, names, blocks

    def __getitem__(self, name: str) -> np.ndarray:
        if name in self._facts or name not in self._names:
            return self._facts[name]
        return np.concatenate(list(self._blocks(name)))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
