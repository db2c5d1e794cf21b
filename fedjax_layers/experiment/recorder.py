"""The recorder of a run: its rounds and checkpoints, into its directory and to its tracker."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from fedjax_layers.engine.checkpoint import Checkpoints
from fedjax_layers.engine.history.files import HistoryFiles
from fedjax_layers.engine.history.history import History
from fedjax_layers.experiment.complete import complete_config
from fedjax_layers.experiment.records.run_directory import RunDirectory, to_json
from fedjax_layers.experiment.records.summary import round_record, round_records
from fedjax_layers.experiment.setup.attack import attackers_of
from fedjax_layers.experiment.setup.prepare import Experiment
from fedjax_layers.experiment.tracking.tracker import Tracking
from fedjax_layers.storage import reading

_PARTS = 4  # in a time between two checkpoints, after each of which a run can stop


class Recorder:
    """A writer of a run's rounds and checkpoints into its directory, which it also tells its tracker.

    Args:
      directory: the run directory; ``None`` writes nothing.
      resume: whether the run in it is continued.
      seconds: time between two checkpoints.
      tracking: the tracker, behind its guard.
    """

    def __init__(self, directory: RunDirectory | None, resume: bool, seconds: float, tracking: Tracking) -> None:
        self.tracking = tracking
        self._directory, self.resume, self._seconds = directory, resume, seconds
        self._checkpoints = None if directory is None else Checkpoints(directory.checkpoints)
        self._saved = time.perf_counter()
        self._unseen: np.ndarray | None = None
        self._attackers: np.ndarray | None = None

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        if self._checkpoints is not None:
            self._checkpoints.close()

    def restore(self, state: Any) -> tuple[int, Any]:
        """Return the rounds done and state of the newest checkpoint when resuming, else 0 and the given start."""
        found = self._checkpoints.restore(state) if self._checkpoints is not None and self.resume else None
        return (0, state) if found is None else found

    def begin(self, experiment: Experiment, done: int) -> History:
        """Drop records later than the checkpoint, and write the complete config and the manifest.

        A run that is extended keeps the evaluation at its old end, which a longer run might not have had.

        Returns:
          The history of the rounds ``done``.
        """
        self._unseen = experiment.data.unseen
        self._attackers = attackers_of(experiment.config, experiment.data)
        self.tracking.start(lambda: to_json(complete_config(experiment)))
        if self._directory is None:
            return History()
        config = experiment.config
        within = done % config.eval_every if done < config.rounds else 0  # rounds since the last evaluation
        kept = done - 1 if within else done
        files = HistoryFiles(self._directory.history)
        files.keep(done, kept, needed=done - within)
        with reading(self._directory.history):
            history = History.open(files)
            self._directory.restore_rounds(round_records(files, self._unseen, self._attackers))
        if self._directory.read("config").get("rounds", 0) < config.rounds:
            self._directory.set_summary_aside()
        hashes = {"partition_hash": experiment.data.partition_hash, "content_hash": experiment.data.content_hash}
        self._directory.write_manifest(experiment.axis.record, config=complete_config(experiment), **hashes)
        return history

    @property
    def due(self) -> bool:
        """Return whether enough time has passed since the last checkpoint."""
        return self._checkpoints is not None and time.perf_counter() - self._saved >= self._seconds

    @property
    def part_seconds(self) -> float | None:
        """Return the seconds after which an interval is interrupted to ask what is due; ``None`` without a folder."""
        return None if self._directory is None else self._seconds / _PARTS

    def record(self, history: History) -> None:
        """Write a line for the last evaluation, and tell it the tracker."""
        if self._directory is None and not self.tracking.on:
            return
        line = round_record(history, self._unseen, self._attackers)
        if self._directory is not None:
            self._directory.append_round(line)
        self.tracking.log(line)

    def save(self, done: int, state: Any, history: History) -> None:
        """Write the records so far, then a checkpoint, which relies on them."""
        if self._checkpoints is not None:
            history.flush()
            self._checkpoints.save(done, state)
            self._saved = time.perf_counter()
