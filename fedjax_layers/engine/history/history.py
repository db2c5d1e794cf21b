"""The history of a run: arrays per round and per evaluation on the host, and the scores chosen from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from fedjax_layers.engine.evaluation.score_names import SCORED, SHARED, check_words, scores_under
from fedjax_layers.engine.history.client_statistics import best_common_round
from fedjax_layers.engine.history.files import HistoryFiles
from fedjax_layers.engine.history.growing import GrowingArrays
from fedjax_layers.engine.history.own_best import OwnBest
from fedjax_layers.engine.history.stored_columns import StoredColumns
from fedjax_layers.ops.metrics.classes import BY_CLASS

_MOST_BYTES = 2**25  # of clients' scores that wait to be written


class History:
    """The rounds and evaluations of a run, which grow by one interval at a time.

    Without files everything stays in memory. With files the clients' scores are written a few evaluations at a time,
    and read from there when an earlier evaluation is needed. In memory are then the rounds, the last evaluation, and
    each client's best so far, so that memory does not grow with the evaluations.

    Args:
      files: files for the records, which must be empty (see :meth:`open`); ``None`` writes nothing.

    Attributes:
      latest: the last evaluation, ``[C]``, ``[C, ...]`` or ``[]`` by the names of :attr:`evaluations`; empty at first.
    """

    def __init__(self, files: HistoryFiles | None = None) -> None:
        self._files = files
        self._rounds, self._facts, self._pending = GrowingArrays(), GrowingArrays(), GrowingArrays()
        self._rounds_written = self._written = 0
        self._followed: dict[str, _Followed] = {}
        self._common: dict[str, tuple[int, int]] = {}  # scored_model -> (evaluations compared, the best of them)
        self.latest: dict[str, np.ndarray] = {}

    @classmethod
    def open(cls, files: HistoryFiles) -> History:
        """Open the history in ``files``, which continues to grow there."""
        history = cls(files)
        history._rounds.append(files.rounds())
        history._facts.append(files.evaluations())
        history._rounds_written = history._rounds.count
        for block in files.clients():
            last = {name: x[-1] for name, x in block.items()}
            history._pending.append(block)
            history._forget_pending()
            history.latest = {name: x[-1] for name, x in history._facts.arrays.items()} | last
        return history

    def __repr__(self) -> str:
        models = [name for name in SCORED if f"{name}/test/loss" in self.latest]
        clients = f" of {len(self.latest[f'{models[0]}/test/loss'])} clients: {', '.join(models)}" if models else ""
        return f"History({self.rounds_done} rounds, {self._facts.count} evaluations{clients})"

    @property
    def rounds(self) -> dict[str, np.ndarray]:
        """The arrays ``[R, ...]`` by name, one row per round.

        They are ``loss``, ``participants``, ``steps``, ``sent`` and ``received`` (``[R, L]``, the number of clients
        that moved each layer), ``sent_scalars``, and what the algorithm reports.
        """
        return self._rounds.arrays

    @property
    def evaluations(self) -> Mapping[str, np.ndarray]:
        """The arrays by name, one row per evaluation; with files they are read when they are asked for.

        ``round`` ``[E]``, the number of rounds done; ``finished`` ``[E]``, True for the row after the algorithm's last
        local phase; ``examples`` ``[E, C]``, each client's training examples at that time, 0 for one that never takes
        part; ``{scored_model}/{split}/{metric}`` ``[E, C]``; ``global/...`` the same for the one global model;
        ``pooled/test/{metric}`` ``[E]``.
        """
        if self._files is not None:
            return StoredColumns(self._facts.arrays, self.latest, self._blocks)
        arrays = self._facts.arrays | self._pending.arrays
        return {name: arrays[name] for name in self.latest}

    @property
    def rounds_done(self) -> int:
        """The number of rounds recorded."""
        return self._rounds.count

    def add(self, rounds: Mapping[str, Any], evaluation: Mapping[str, Any] | None) -> None:
        """Append rounds' arrays ``[n, ...]`` (none after the last local phase), and the evaluation if one follows."""
        self._rounds.append(rounds)
        if evaluation is None:
            return
        row = {name: np.asarray(evaluation[name]) for name in self.latest or evaluation}
        self.latest = {name: x.astype(self.latest.get(name, x).dtype, copy=False) for name, x in row.items()}
        self._facts.append({name: x[None] for name, x in self.latest.items() if not _per_client(name)})
        self._pending.append({name: x[None] for name, x in self.latest.items() if _per_client(name)})
        if self._pending.nbytes > _MOST_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was added since the last call; do nothing without files.

        Raises:
          StorageError: the records cannot be written; they stay in memory.
        """
        if self._files is None or (self._facts.count, self._rounds.count) == (self._written, self._rounds_written):
            return
        rounds, facts = self._rounds.arrays, self._facts.arrays
        self._files.append(
            self._rounds_written,
            {name: x[self._rounds_written :] for name, x in rounds.items()},
            self._written,
            {name: x[self._written :] for name, x in facts.items()},
            self._pending.arrays,
        )
        self._rounds_written = self._rounds.count
        self._forget_pending()

    def _forget_pending(self) -> None:
        """Drop the clients' scores that are now in the files, except those chosen from them."""
        for scored_model in SCORED:
            if f"{scored_model}/val/loss" in self._pending.arrays:
                self._follow(scored_model)
        self._written += self._pending.count
        self._pending = GrowingArrays()

    def copy(self) -> History:
        """Copy this history to one in memory, which grows on its own."""
        return self.from_arrays(self.to_arrays())

    def unfinished(self, files: HistoryFiles | None = None) -> History:
        """Copy this history, in memory or to files, without the evaluation after the last local phase."""
        going = ~self.evaluations["finished"] if self.latest else np.zeros(0, bool)
        return self.from_arrays(
            {"rounds": self.rounds, "evaluations": {name: x[going] for name, x in self.evaluations.items()}}, files
        )

    def scores(self, scored_model: str, scored_round: str, split: str = "test") -> dict[str, np.ndarray] | None:
        """Return the clients' metrics ``[C]`` of one model at one round.

        Args:
          scored_model: ``"served"``, ``"trained"``, ``"team"`` or ``"global"``.
          scored_round: ``"last"``, the last evaluation of such models, with the clients that were evaluated then;
            ``"best"``, each client's evaluation of lowest validation loss, or its own last if it has no validation
            examples. Of a global or team model ``"best"`` is one evaluation for all clients, that of their lowest mean
            validation loss, weighted by training examples. The choice never depends on the test split.
          split: the split whose scores are returned.

        Returns:
          Arrays ``[C]`` by metric, NaN for a client without a score; ``None`` if the run has no such model.

        Raises:
          ValueError: the name of the model, round or split is unknown.

        Source: design of the PLayer-FL evaluation (per-client best-validation snapshot).
        """
        check_words(scored_model, scored_round, split)
        if f"{scored_model}/val/loss" not in self.latest:
            return None
        return self._chosen(scored_model, scored_round, scores_under(f"{scored_model}/{split}", self.latest))

    def class_scores(self, scored_model: str, scored_round: str) -> dict[str, np.ndarray]:
        """Return the scores by class ``[C, S]`` on test examples, chosen as in :meth:`scores`; empty without any."""
        names = {name: f"{scored_model}/test/{name}" for name in BY_CLASS}
        return self._chosen(scored_model, scored_round, names) if self.latest.keys() >= set(names.values()) else {}

    def round_of(self, scored_model: str, scored_round: str) -> int | None:
        """Return the rounds done at the chosen evaluation of a shared model; ``None`` if the run has no such model."""
        if f"{scored_model}/val/loss" not in self.latest:
            return None
        return int(self._facts.arrays["round"][self.row_of(scored_model, scored_round)])

    def row_of(self, scored_model: str, scored_round: str) -> int:
        """Return the index of the evaluation that is chosen for a shared model, see :meth:`scores`; -1 for none."""
        last = self._follow(scored_model).last
        if scored_round == "last" or last < 0:
            return last
        looked, best = self._common.get(scored_model, (0, -1))
        if looked < self._facts.count:
            weights = self.latest.get("examples", np.ones(self.latest[f"{scored_model}/val/loss"].shape))
            best = best_common_round(_Losses(self, f"{scored_model}/val/loss"), weights)
            self._common[scored_model] = self._facts.count, best
        return last if best < 0 else best

    def rows(self, name: str, start: int = 0) -> Iterator[np.ndarray]:
        """Iterate over evaluations from number ``start`` on: one score of the clients, ``[C]``."""
        for block in self._blocks(name, start):
            yield from block

    def _blocks(self, name: str, start: int = 0) -> Iterator[np.ndarray]:
        """Iterate over blocks of n evaluations from number ``start`` on: one score of the clients, ``[n, C]``."""
        if self._files is not None and start < self._written:
            yield from (block[name] for block in self._files.clients([name], start))
        if name in self._pending.arrays:
            yield self._pending.arrays[name][max(start - self._written, 0) :]

    def row(self, number: int, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """Return one evaluation, ``[C]``, ``[C, ...]`` or ``[]`` by name; all NaN for number -1.

        Args:
          number: number of the evaluation, from 0.
          names: names of the arrays; ``None`` means all.
        """
        wanted = list(self.latest if names is None else names)
        if number < 0:
            return {name: np.full(self.latest[name].shape, np.nan) for name in wanted}
        stored = [name for name in wanted if _per_client(name)]
        row = {name: x[number] for name, x in self._facts.arrays.items() if name in wanted}
        if number >= self._written:
            return row | {name: self._pending.arrays[name][number - self._written] for name in stored}
        assert self._files is not None
        return row | {name: x[0] for name, x in next(self._files.clients(stored, number)).items()}

    def _chosen(self, scored_model: str, scored_round: str, names: dict[str, str]) -> dict[str, np.ndarray]:
        """Return the scores ``[C, ...]`` of the chosen evaluations by own name; ``names`` gives their full names."""
        if scored_round == "best" and scored_model not in SHARED:
            best = self._follow(scored_model).best.scores
            found = {full: best[full.removeprefix(f"{scored_model}/")] for full in names.values()}
        else:
            row = self.row_of(scored_model, scored_round if scored_model in SHARED else "last")
            found = self.row(row, names.values())
        return {own: np.array(found[full], np.float64) for own, full in names.items()}

    def _follow(self, scored_model: str) -> _Followed:
        """Update what is chosen of one model by all evaluations so far."""
        followed = self._followed.setdefault(scored_model, _Followed())
        first, prefix = followed.looked, f"{scored_model}/"
        if first == self._written + self._pending.count:
            return followed
        own = {name: x for name, x in self._pending.arrays.items() if name.startswith(prefix)}
        block = {name.removeprefix(prefix): x[first - self._written :] for name, x in own.items()}
        followed.looked += len(block["val/loss"])
        there = ~(np.isnan(block["val/loss"]) & np.isnan(block["test/loss"])).all(1)
        if scored_model in SHARED:  # an algorithm's last local phase makes no shared model
            there &= ~self._facts.arrays["finished"][first : followed.looked]
        else:
            followed.best.follow(block)
        if there.any():
            followed.last = first + int(np.flatnonzero(there)[-1])
        return followed

    def to_arrays(self) -> dict[str, dict[str, np.ndarray]]:
        """Return everything as a nested dict of arrays."""
        return {"rounds": self.rounds, "evaluations": dict(self.evaluations)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Mapping[str, np.ndarray]], files: HistoryFiles | None = None) -> History:
        """Make a history from the result of :meth:`to_arrays`, in memory or with files."""
        history = cls(files)
        history._rounds.append(arrays["rounds"])
        evaluations = arrays["evaluations"]
        history._facts.append({name: x for name, x in evaluations.items() if not _per_client(name)})
        history._pending.append({name: x for name, x in evaluations.items() if _per_client(name)})
        history.latest = {name: x[-1] for name, x in evaluations.items() if len(x)}
        return history


@dataclasses.dataclass
class _Followed:
    """The choices of one model: the number of evaluations compared, the last one with the model, each client's best."""

    looked: int = 0
    last: int = -1
    best: OwnBest = dataclasses.field(default_factory=OwnBest)


@dataclasses.dataclass(frozen=True)
class _Losses:
    """The losses of a shared model in blocks ``[n, C]``, without the evaluation after a last local phase."""

    history: History
    name: str

    def __iter__(self) -> Iterator[np.ndarray]:
        number, finished = 0, self.history._facts.arrays["finished"]
        for block in self.history._blocks(self.name):
            yield np.where(finished[number : number + len(block), None], np.nan, block)
            number += len(block)


def _per_client(name: str) -> bool:
    """Return whether an evaluation has a number for each client under this name."""
    return name == "examples" or name.split("/", maxsplit=1)[0] in SCORED
