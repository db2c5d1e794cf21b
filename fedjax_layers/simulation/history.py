"""What a run leaves on the host: arrays per round and per evaluation, and the scores chosen from them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fedjax_layers.scoring.classes import BY_CLASS
from fedjax_layers.simulation.scoring import scores_under
from fedjax_layers.simulation.statistics import best_common_round, best_round, last_round, select_rounds

_SHARED = ("global", "team")  # models of several clients: what they score comes from one round


class History:
    """Grows by one evaluation at a time.

    Attributes:
      rounds: arrays ``[R, ...]`` by name, one row per round: ``loss``, ``participants``, ``steps``, ``sent`` and
        ``received`` (``[R, L]``, clients that moved each layer), ``sent_scalars``, and what the algorithm reports.
      evaluations: arrays by name, one row per evaluation: ``round`` ``[E]``, rounds done; ``finished`` ``[E]``, True
        for the row after the algorithm's last local phase; ``examples`` ``[E, C]``, each client's training examples
        then, 0 for one that never takes part; ``{moment}/{split}/{metric}`` ``[E, C]``; ``global/...`` the same for
        the one global model; ``pooled/test/{metric}`` ``[E]``.
    """

    def __init__(self) -> None:
        self._rounds, self._evaluations = _Rows(), _Rows()

    @property
    def rounds(self) -> dict[str, np.ndarray]:
        """Arrays ``[R, ...]``."""
        return self._rounds.arrays

    @property
    def evaluations(self) -> dict[str, np.ndarray]:
        """Arrays ``[E, ...]``."""
        return self._evaluations.arrays

    @property
    def rounds_done(self) -> int:
        """Rounds recorded."""
        return self._rounds.count

    def add(self, rounds: dict[str, Any], evaluation: dict[str, Any]) -> None:
        """Append one period: its rounds' arrays ``[n, ...]`` (empty after the last phase) and its evaluation."""
        self._rounds.append(rounds)
        self._evaluations.append({k: np.asarray(v)[None] for k, v in evaluation.items()})

    def without_last_evaluation(self) -> History:
        """A copy without its last evaluation; all of its rounds are there."""
        arrays = self.to_arrays()
        return self.from_arrays(arrays | {"evaluations": {name: x[:-1] for name, x in arrays["evaluations"].items()}})

    def copy(self) -> History:
        """Another history of the same rows, which grows on its own."""
        return self.from_arrays(self.to_arrays())

    def unfinished(self) -> History:
        """A copy without the evaluation after the last local phase, for a run that goes on."""
        going = ~self.evaluations["finished"] if self.evaluations else np.zeros(0, bool)
        return self.from_arrays(
            {"rounds": self.rounds, "evaluations": {name: x[going] for name, x in self.evaluations.items()}}
        )

    def scores(self, moment: str, selection: str, split: str = "test") -> dict[str, np.ndarray] | None:
        """Per-client metrics ``[C]`` of one moment and selection.

        Args:
          moment: ``"served"``, ``"trained"``, ``"team"`` or ``"global"``.
          selection: ``"last"``, the last evaluation of such models, with the clients that were there; ``"best"``, each
            client's evaluation of lowest validation loss, or its own last if it has no validation examples. A global
            or team model is shared: there ``"best"`` is one evaluation for all, that of the lowest validation loss
            over all clients, weighted by training examples. The test split never selects.
          split: the split that is reported.

        Returns:
          Metric name to ``[C]``, NaN for a client without a score; ``None`` if the run has no such moment.

        Source: design of the PLayer-FL evaluation (per-client best-validation snapshot).
        """
        evaluations = self.evaluations
        if f"{moment}/val/loss" not in evaluations:
            return None
        index = self._chosen(moment, selection)
        names = scores_under(f"{moment}/{split}", evaluations)
        return {m: select_rounds(evaluations[name], index) for m, name in names.items()}

    def class_scores(self, moment: str, selection: str) -> dict[str, np.ndarray]:
        """Per-client scores of each class ``[C, S]`` on test examples, chosen as :meth:`scores`; empty without any."""
        found = {name: self.evaluations.get(f"{moment}/test/{name}") for name in BY_CLASS}
        if any(x is None for x in found.values()):
            return {}
        index = self._chosen(moment, selection)
        return {name: select_rounds(x, index) for name, x in found.items() if x is not None}

    def round_of(self, moment: str, selection: str) -> int | None:
        """Rounds done when the shared model of ``moment`` (``"global"`` or ``"team"``) was the selected one.

        ``None`` if the run has no such model.
        """
        if f"{moment}/val/loss" not in self.evaluations:
            return None
        return int(self.evaluations["round"][self.row_of(moment, selection)])

    def row_of(self, moment: str, selection: str) -> int:
        """Index of the one evaluation that is selected for a shared model, see :meth:`scores`."""
        return int(self._chosen(moment, selection)[0])

    def _chosen(self, moment: str, selection: str) -> np.ndarray:
        """Index ``[C]`` of the evaluation that each client's score comes from; -1 for none."""
        evaluations = self.evaluations
        val_loss, test_loss = (evaluations[f"{moment}/{split}/loss"] for split in ("val", "test"))
        shared = moment in _SHARED  # an algorithm's last local phase makes no such model
        there = ~(np.isnan(val_loss) & np.isnan(test_loss)).all(1) & ~(shared & evaluations["finished"])
        last = np.full(val_loss.shape[1], np.flatnonzero(there).max(initial=-1))
        if selection == "last":
            return last
        if shared:
            weights = evaluations["examples"][-1] if "examples" in evaluations else np.ones(len(last))
            best = best_common_round(np.where(there[:, None], val_loss, np.nan), weights)
            return last if best < 0 else np.full_like(last, best)
        own = best_round(val_loss)
        return np.where(own < 0, last_round(test_loss), own)

    def to_arrays(self) -> dict[str, dict[str, np.ndarray]]:
        """Everything, as a nested dict of arrays, for a checkpoint."""
        return {"rounds": self.rounds, "evaluations": self.evaluations}

    @classmethod
    def from_arrays(cls, arrays: dict[str, dict[str, np.ndarray]]) -> History:
        """The inverse of :meth:`to_arrays`."""
        history = cls()
        history._rounds.append(arrays["rounds"])
        history._evaluations.append(arrays["evaluations"])
        return history


class _Rows:
    """Arrays that grow along their first axis, read without copying: a long run reads them after every round."""

    def __init__(self) -> None:
        self.count = 0
        self._buffers: dict[str, np.ndarray] = {}

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return {name: buffer[: self.count] for name, buffer in self._buffers.items()}

    def append(self, block: dict[str, Any]) -> None:
        """Add rows ``[n, ...]`` of the same names as those before."""
        if not block:
            return
        first = not self._buffers
        end = self.count + len(next(iter(block.values())))
        for name in block if first else self._buffers:
            rows = np.asarray(block[name])
            if first or len(self._buffers[name]) < end:
                grown = np.empty((max(end, 2 * self.count), *rows.shape[1:]), rows.dtype)
                if not first:
                    grown[: self.count] = self._buffers[name][: self.count]
                self._buffers[name] = grown
            self._buffers[name][self.count : end] = rows
        self.count = end
