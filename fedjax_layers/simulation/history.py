"""What a run leaves on the host: arrays per round and per evaluation, and the scores chosen from them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fedjax_layers.simulation.scoring import METRICS
from fedjax_layers.simulation.statistics import best_round, last_round, select_rounds


class History:
    """Grows by one evaluation at a time.

    Attributes:
      rounds: arrays ``[R, ...]`` by name, one row per round: ``loss``, ``participants``, ``steps``, ``sent`` and
        ``received`` (``[R, L]``, clients that moved each layer), ``sent_scalars``, and what the algorithm reports.
      evaluations: arrays by name, one row per evaluation: ``round`` ``[E]``, rounds done; ``finished`` ``[E]``, True
        for the row after the algorithm's last local phase; ``{moment}/{split}/{metric}`` ``[E, C]``; ``global/...``
        the same for the one global model; ``pooled/test/{metric}`` ``[E]``.
    """

    def __init__(self) -> None:
        self._rounds: list[dict[str, np.ndarray]] = []
        self._evaluations: list[dict[str, np.ndarray]] = []

    @property
    def rounds(self) -> dict[str, np.ndarray]:
        """Arrays ``[R, ...]``."""
        return _joined(self._rounds, np.concatenate)

    @property
    def evaluations(self) -> dict[str, np.ndarray]:
        """Arrays ``[E, ...]``."""
        return _joined(self._evaluations, np.stack)

    @property
    def rounds_done(self) -> int:
        """Rounds recorded."""
        return sum(len(block["loss"]) for block in self._rounds)

    def add(self, rounds: dict[str, Any], evaluation: dict[str, Any]) -> None:
        """Append one period: its rounds' arrays ``[n, ...]`` (empty after the last phase) and its evaluation."""
        if rounds:
            self._rounds.append({k: np.asarray(v) for k, v in rounds.items()})
        self._evaluations.append({k: np.asarray(v) for k, v in evaluation.items()})

    def scores(self, moment: str, selection: str, split: str = "test") -> dict[str, np.ndarray] | None:
        """Per-client metrics ``[C]`` of one moment and selection.

        Args:
          moment: ``"served"``, ``"trained"`` or ``"global"``.
          selection: ``"last"``, each client's last evaluation; ``"best"``, that of its lowest validation loss, or
            its last if it has no validation examples. The test split never selects.
          split: the split that is reported.

        Returns:
          Metric name to ``[C]``, NaN for a client that was never evaluated; ``None`` if the run has no such moment.

        Source: design of the PLayer-FL evaluation (per-client best-validation snapshot).
        """
        evaluations = self.evaluations
        if f"{moment}/val/loss" not in evaluations:
            return None
        val_loss = evaluations[f"{moment}/val/loss"]
        index = last_round(evaluations[f"{moment}/{split}/loss"])
        if selection == "best":
            best = best_round(val_loss)
            index = np.where(best < 0, index, best)
        return {m: select_rounds(evaluations[f"{moment}/{split}/{m}"], index) for m in METRICS}

    def to_arrays(self) -> dict[str, dict[str, np.ndarray]]:
        """Everything, as a nested dict of arrays, for a checkpoint."""
        return {"rounds": self.rounds, "evaluations": self.evaluations}

    @classmethod
    def from_arrays(cls, arrays: dict[str, dict[str, np.ndarray]]) -> History:
        """The inverse of :meth:`to_arrays`."""
        history = cls()
        if arrays["rounds"]:
            history._rounds = [{k: np.asarray(v) for k, v in arrays["rounds"].items()}]
        rows = len(arrays["evaluations"].get("round", ()))
        history._evaluations = [{k: np.asarray(v)[i] for k, v in arrays["evaluations"].items()} for i in range(rows)]
        return history


def _joined(blocks: list[dict[str, np.ndarray]], join: Any) -> dict[str, np.ndarray]:
    return {name: join([b[name] for b in blocks]) for name in blocks[0]} if blocks else {}
