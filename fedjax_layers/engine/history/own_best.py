"""Each client's best evaluation so far, updated with each new evaluation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fedjax_layers.engine.history.client_statistics import best_round, last_round


class OwnBest:
    """The scores of each client's evaluation of lowest validation loss, or of its last if it never has such a loss.

    Attributes:
      scores: ``[C, ...]`` by ``{split}/{metric}``, NaN for a client without a score; empty before the first evaluation.
    """

    def __init__(self) -> None:
        self.scores: dict[str, np.ndarray] = {}
        self._validated = np.zeros(0, bool)  # [C], whether the client's scores were chosen by a validation loss

    def follow(self, block: Mapping[str, np.ndarray]) -> None:
        """Update by n further evaluations, ``[n, C, ...]`` by ``{split}/{metric}``, under the same names each time."""
        val, test = block["val/loss"], block["test/loss"]
        if not self.scores:
            kinds = {name: np.result_type(x.dtype, np.float32) for name, x in block.items()}  # dtypes that can hold NaN
            self.scores = {name: np.full(x.shape[1:], np.nan, kinds[name]) for name, x in block.items()}
            self._validated = np.zeros(val.shape[1], bool)
        lowest = best_round(val)
        rival = val[lowest, np.arange(len(lowest))]
        better = (lowest >= 0) & (~self._validated | (rival < self.scores["val/loss"]))
        row = np.where(better, lowest, np.where(self._validated | (lowest >= 0), -1, last_round(test)))
        taken = np.flatnonzero(row >= 0)
        for name, x in block.items():
            self.scores[name][taken] = x[0][taken] if len(x) == 1 else x[row[taken], taken]
        self._validated |= better
