"""Runs that are the same until a setting matters are computed once: branches of one tree.

A run is a branch from its start; runs that differ only in a number that one decision reads (a threshold, say)
begin as one branch. After each interval the decision is made for every member from what the branch has recorded; those
for whom it would have been another one in some round go back to the state before the interval and on as a branch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fedjax_layers.algorithms.report import Decide
from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.history.recording import add_finish, add_interval
from fedjax_layers.sweeps.programs import Log, Program
from fedjax_layers.sweeps.runs import Outcome, Run, chunks_of, families_of

OnEnd = Callable[[list[Run], Outcome], None]
Tick = Callable[[int, int], bool | None]  # (rounds done, by how many branches) -> whether to stop at once


@dataclasses.dataclass
class Branch:
    """Runs that have been the same so far; the first one is computed.

    Attributes:
      members: the runs.
      history: of each of them.
      state: of each, as :meth:`Program.split` gives it; ``None`` before the first round.
    """

    members: list[Run]
    history: History = dataclasses.field(default_factory=History)
    state: Any = None


class StoppedError(Exception):
    """The caller has asked to stop; what has ended was reported."""


class Branches:
    """The runs of one program on the same data.

    Args:
      program: how they are computed.
      runs: in the order of the sweep. Numbers of rounds that are no multiple of the plan's interval are all alike.
      decide: ``(settings [M], what rounds recorded, [n, ...] each, number of the first of them) -> [M, n]``, or
        ``[M, n, ...]``: what each setting would have decided in each round. ``None``: families have one member.
      on_end: called with runs that have ended, all of the same history, at once.
      tick: called after each interval.
    """

    def __init__(
        self, program: Program, runs: Sequence[Run], *, decide: Decide | None, on_end: OnEnd, tick: Tick
    ) -> None:
        self.program, self._decide, self._on_end, self._tick = program, decide, on_end, tick
        families = [Branch(members) for members in families_of(runs)]
        self._chunks = chunks_of(families, program.size, lambda branch: branch.members[0].stream)

    @property
    def waiting(self) -> list[Branch]:
        """Branches that have not ended."""
        return [branch for chunk in self._chunks for branch in chunk]

    def advance(self, until: int | None = None) -> None:
        """Compute all runs to this round (a multiple of the interval), or to their end.

        Each chunk, as many branches as the program computes at once, for itself: what has become of others changes
        nothing in how it is computed. Within it depth first, so that few states are kept.
        """
        for i, chunk in enumerate(self._chunks):
            held = []
            left = list(chunk)
            while left:
                done = left[0].history.rounds_done
                if until is not None and done >= until:
                    held.append(left.pop(0))
                    continue
                alike = [b for b in left if b.history.rounds_done == done][: self.program.size]
                left = [b for b in left if not any(b is one for one in alike)]
                left = self._compute(alike, until) + left
            self._chunks[i] = held

    def drop(self, numbers: set[int], why: str) -> None:
        """End these runs where they are, and fill up the chunks with what is left."""
        for branch in self.waiting:
            gone = [run for run in branch.members if run.number in numbers]
            branch.members = [run for run in branch.members if run.number not in numbers]
            if gone:
                self._on_end(gone, Outcome(why, branch.history))
        left = [branch for branch in self.waiting if branch.members]
        self._chunks = chunks_of(left, self.program.size, lambda branch: branch.members[0].stream)

    def _compute(self, batch: list[Branch], until: int | None) -> list[Branch]:
        """Go on with branches of the same round until one of them changes; those that are left."""
        size = self.program.size
        filled = [batch[i % len(batch)] for i in range(size)]  # places left over repeat a branch
        stack = self.program.put([branch.members[0].inputs for branch in filled])
        fresh = batch[0].state is None
        state = self.program.start(stack) if fresh else self.program.join([branch.state for branch in filled])
        while True:
            before = self._before(batch, state)
            first = batch[0].history.rounds_done
            count = _rounds_ahead(batch, first, self.program.plan.eval_every, until)
            state, logs, scores = self.program.interval(stack, state, first, count)
            for branch, log, found in zip(batch, logs, scores, strict=False):
                add_interval(branch.history, log, found, count, branch.members[0].inputs.device_data.num_clients)
            others = [other for branch, old in before for other in self._parted(branch, old, first)]
            ended = [self._ended(branch) for branch in batch]
            if any(ended):
                self._finish(batch, ended, stack, state)
            if self._tick(first + count, len(batch)):
                raise StoppedError
            reached = until is not None and first + count >= until
            if others or any(ended) or reached:
                left = [branch for branch in batch if branch.members]
                for branch, own in zip(batch, self.program.split(state) if left else (), strict=False):
                    branch.state = own
                return [*left, *others]

    def _before(self, batch: list[Branch], state: Any) -> list[tuple[Branch, Branch]]:
        """Branches that may part in the coming interval, each with a copy to go back to."""
        if self._decide is None or all(len(branch.members) == 1 for branch in batch):
            return []
        states = self.program.split(state) if batch[0].history.rounds_done else [None] * len(batch)
        pairs = zip(batch, states, strict=False)
        return [(b, Branch([], b.history.copy(), own)) for b, own in pairs if len(b.members) > 1]

    def _parted(self, branch: Branch, old: Branch, first: int) -> Iterator[Branch]:
        """Members that would have decided otherwise than the first one leave for a branch of their own."""
        assert self._decide is not None
        recorded = {name: x[first:] for name, x in branch.history.rounds.items()}
        decisions = self._decide([run.setting for run in branch.members], recorded, first)
        same = (decisions == decisions[0]).reshape(len(branch.members), -1).all(1)
        if not same.all():
            old.members = [run for run, stays in zip(branch.members, same, strict=True) if not stays]
            branch.members = [run for run, stays in zip(branch.members, same, strict=True) if stays]
            yield old

    def _ended(self, branch: Branch) -> dict[str, list[Run]]:
        """Members that end here, by why; they leave the branch."""
        ended: dict[str, list[Run]] = {}
        for run in branch.members:
            done = branch.history.rounds_done >= run.rounds
            why = run.over(branch.history) or ("finished" if done else None)
            if why is not None:
                ended.setdefault(why, []).append(run)
        gone = {run.number for runs in ended.values() for run in runs}
        branch.members = [run for run in branch.members if run.number not in gone]
        return ended

    def _finish(self, batch: list[Branch], ended: list[dict[str, list[Run]]], stack: Any, state: Any) -> None:
        last: list[Log] | list[None] = [None] * len(batch)
        last = self.program.finish(stack, state, batch[0].history.rounds_done) or last
        for branch, runs, scores in zip(batch, ended, last, strict=False):
            if not runs:
                continue
            history = branch.history.copy() if branch.members else branch.history
            if scores is not None:
                add_finish(history, scores, self.program.plan.evaluated_models)
            for why, some in runs.items():
                self._on_end(some, Outcome(why, history))


def _rounds_ahead(batch: list[Branch], done: int, interval: int, until: int | None) -> int:
    """Rounds to the next evaluation of all branches."""
    last = min(run.rounds for branch in batch for run in branch.members)
    count = min(interval - done % interval, last - done)
    return count if until is None else min(count, until - done)
