"""Arrays on the host that grow along their first axis."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt


class GrowingArrays:
    """Arrays of one length, by name, that are read without copying, since a long run reads them after every round.

    Attributes:
      count: number of rows so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._buffers: dict[str, np.ndarray] = {}

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays ``[count, ...]`` by name, which do not change when rows are appended later."""
        return {name: buffer[: self.count] for name, buffer in self._buffers.items()}

    @property
    def nbytes(self) -> int:
        """The bytes of all rows."""
        return sum(x.nbytes for x in self.arrays.values())

    def append(self, block: Mapping[str, npt.ArrayLike]) -> None:
        """Append rows ``[n, ...]``, under the same names each time."""
        if not block:
            return
        first = not self._buffers
        for name in block if first else self._buffers:
            rows = np.asarray(block[name])
            end = self.count + len(rows)
            if first or len(self._buffers[name]) < end:
                grown = np.empty((max(end, 2 * self.count), *rows.shape[1:]), rows.dtype)
                if not first:
                    grown[: self.count] = self._buffers[name][: self.count]
                self._buffers[name] = grown
            self._buffers[name][self.count : end] = rows
        self.count = end
