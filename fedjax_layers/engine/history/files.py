"""The records of a run on disk, which grow with it: rounds, evaluations, and the clients' scores in each evaluation."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np

from fedjax_layers.engine.history.columns import ColumnFiles
from fedjax_layers.storage import StorageError

_KEYS = ("round", "finished", "client")  # columns of the clients' table that are no scores


class HistoryFiles:
    """Three tables in one folder, each a folder of Parquet files, see :class:`ColumnFiles`.

    - ``rounds``: a row per round, with its number ``round`` from 1.
    - ``evaluations``: a row per evaluation: ``round``, the number of rounds done; ``finished``, whether it follows the
      last local phase; and the scores of all clients' examples together.
    - ``clients``: a row per evaluation and client: ``round``, ``finished``, ``client`` from 0, and the client's scores.

    Args:
      folder: the folder that holds the three.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rounds, self._evaluations, self._clients = (
            ColumnFiles(folder / name) for name in ("rounds", "evaluations", "clients")
        )

    @classmethod
    def new(cls, folder: Path) -> HistoryFiles:
        """Make the files of a new history.

        Raises:
          ValueError: the folder is not empty.
        """
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ValueError(f"records: expected a new folder or an empty one, found something at {folder}")
        return cls(folder)

    def append(
        self,
        first_round: int,
        rounds: Mapping[str, np.ndarray],
        first_evaluation: int,
        evaluations: Mapping[str, np.ndarray],
        clients: Mapping[str, np.ndarray],
    ) -> None:
        """Append rounds and evaluations.

        Args:
          first_round: number of rounds already written.
          rounds: arrays of n new rounds, ``[n, ...]`` by name.
          first_evaluation: number of evaluations already written.
          evaluations: arrays of m new evaluations, ``[m, ...]`` by name, ``round`` and ``finished`` among them.
          clients: the clients' scores in these, ``[m, C, ...]`` by name.

        Raises:
          StorageError: a file cannot be written.
        """
        number = len(next(iter(rounds.values()), ()))
        if number:
            numbers = np.arange(first_round + 1, first_round + number + 1)
            self._rounds.append({"round": numbers, **rounds}, first_round, number)
        each = evaluations.get("round", np.zeros(0, int))
        count = len(each)
        if not count:  # the rounds of an interval that has not ended
            return
        num_clients = next(iter(clients.values())).shape[1]
        keys = {
            "round": np.repeat(each, num_clients),
            "finished": np.repeat(evaluations["finished"], num_clients),
            "client": np.tile(np.arange(num_clients, dtype=np.int32), count),
        }
        flat = {name: x.reshape(-1, *x.shape[2:]) for name, x in clients.items()}
        self._clients.append(keys | flat, first_evaluation, count)
        self._evaluations.append(evaluations, first_evaluation, count)

    def keep(self, rounds: int, evaluated: int, needed: int | None = None) -> None:
        """Drop records later than a checkpoint.

        The evaluation after a last local phase is dropped too, since a run that continues makes it later.

        Args:
          rounds: number of rounds to keep.
          evaluated: evaluations are kept up to this round.
          needed: a round whose evaluation has to be there; ``None`` means ``rounds``, and 0 needs none.

        Raises:
          StorageError: rounds or evaluations are missing, or a file is damaged; nothing is dropped then.
        """
        there, kept, needed = 0, 0, rounds if needed is None else needed
        if rounds:
            facts = self.evaluations()
            going = ~facts["finished"] if facts else np.zeros(0, bool)
            done = facts["round"][going] if facts else np.zeros(0, int)
            there = min(self._rounds.count, rounds if done.max(initial=0) >= needed else int(done.max(initial=0)))
            kept = int((done <= evaluated).sum())
        if there < rounds or self._clients.count < kept:
            raise StorageError(
                f"{self._folder}: expected the records of {rounds} rounds, which the newest checkpoint has done, "
                f"found those of {there}; without the checkpoints the run starts again"
            )
        self._rounds.keep(rounds)
        self._evaluations.keep(kept)
        self._clients.keep(kept)

    def rounds(self) -> dict[str, np.ndarray]:
        """Read all rounds, ``[R, ...]`` by name."""
        return {name: x for name, x in _joined(self._rounds).items() if name != "round"}

    def evaluations(self) -> dict[str, np.ndarray]:
        """Read the arrays with one row per evaluation, ``[E, ...]`` by name."""
        return _joined(self._evaluations)

    def clients(self, names: Collection[str] | None = None, start: int = 0) -> Iterator[dict[str, np.ndarray]]:
        """Read every client's scores, ``[n, C, ...]`` by name, file after file.

        Args:
          names: names of the scores; ``None`` reads all.
          start: the first evaluation to read.
        """
        for count, columns in self._clients.read(names, start):
            scores = {name: x for name, x in columns.items() if name not in _KEYS}
            yield {name: x.reshape(count, -1, *x.shape[1:]) for name, x in scores.items()}


def _joined(files: ColumnFiles) -> dict[str, np.ndarray]:
    blocks = [columns for _, columns in files.read()]
    return {name: np.concatenate([block[name] for block in blocks]) for name in (blocks[0] if blocks else ())}
