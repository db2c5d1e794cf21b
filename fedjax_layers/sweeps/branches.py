"""Runs that are the same until a setting matters are computed once: branches of one tree.

A run is a branch from its start; runs that differ only in a number that one decision reads (a threshold, say) begin as
one branch. After each interval the decision is made for every member from what the branch has recorded. Members that it
would have led elsewhere in some round go back to the state before the interval, and on from there as a branch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fedjax_layers.algorithms.report import Decide
from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.history.recording import add_finish, add_interval
from fedjax_layers.engine.intervals import Build, Inputs
from fedjax_layers.engine.plan import Plan
from fedjax_layers.ops import ClientAxis
from fedjax_layers.sweeps.programs import Log, Program, Vectorised


def never(*_: Any) -> bool:
    """No reason to end a run, or to stop."""
    return False


class Run(NamedTuple):
    """One run of a sweep.

    Attributes:
      number: its place in the sweep.
      inputs: its traced part.
      rounds: how many.
      family: runs of one family differ in ``decided`` alone.
      stream: runs of one stream may be computed at once; others are kept apart.
      setting: the setting that it is a run of; where settings are compared, all runs of one count together.
      scored: which model is scored, and in which round.
      decided: the value that the decision reads; ``None`` where there is none.
      out_of_patience: ``history -> whether the run ends for want of patience``.
    """

    number: int
    inputs: Inputs
    rounds: int
    family: Hashable
    stream: Hashable
    setting: Hashable
    scored: tuple[str, str]
    decided: Any = None
    out_of_patience: Callable[[History], bool] = never


class Outcome(NamedTuple):
    """Why a run ended (``finished``, ``patience``, ``diverged`` or, behind at a rung, ``stopped``), and its history."""

    why: str
    history: History


OnEnd = Callable[[list[Run], Outcome], None]
Tick = Callable[[int, int], bool | None]
"""``(rounds done, by how many branches) -> whether to stop at once``, called after each interval."""


class Group(NamedTuple):
    """Runs of one program on the same data.

    Attributes:
      kind: runs of one kind have one width.
      build: of each run.
      plan: likewise.
      axis: of vectorised runs; their number is decided later.
      runs: in the order of the sweep. Where rounds are no multiple of the plan's interval, all have as many.
      number: runs of this kind in all.
      on_end: called with runs that have ended, all of the same history, at once.
      vectorised_plan: the plan inside vectorised runs; ``None`` is ``plan``.
      decide: ``(values [M], what rounds recorded, [n, ...] each, number of the first of them) -> [M, n]``, or
        ``[M, n, ...]``: what each value would have decided in each round. ``None``: families have one member.
      exact: whether one run after another is preferred, for the numbers of a single run to the last bit.
      facts: what the record of the kind holds beside its width.
    """

    kind: str
    build: Build
    plan: Plan
    axis: ClientAxis
    runs: list[Run]
    number: int
    on_end: OnEnd
    vectorised_plan: Plan | None = None
    decide: Decide | None = None
    exact: bool = False
    facts: Mapping[str, Any] = {}

    @property
    def static(self) -> Hashable:
        """What its programs are made of, by value."""
        return self.build, self.plan

    def program(self, width: int, same_seed: bool) -> Program:
        """One run after another for a width of 1, else so many runs at once on each device; see :class:`Vectorised`."""
        if width == 1:
            return Program(self.build, self.plan)
        axis = dataclasses.replace(self.axis, width=width)
        return Vectorised(self.build, self.vectorised_plan or self.plan, axis, same_seed=same_seed)


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
    """The runs of a group.

    Args:
      program: how they are computed.
      group: the runs.
      stored: numbers of runs whose rows are there already. Those that are computed at once with a missing one are
        computed again, since the last bits of a run may depend on its place among the others.
      why: ``(run, history) -> why it ends before its rounds are done``, or ``None``.
      on_end: called with runs that have ended, all of the same history, at once.
      tick: called after each interval.
    """

    def __init__(
        self,
        program: Program,
        group: Group,
        *,
        stored: Collection[int],
        why: Callable[[Run, History], str | None],
        on_end: OnEnd,
        tick: Tick,
    ) -> None:
        self.program, self._decide, self._why, self._on_end, self._tick = program, group.decide, why, on_end, tick
        families: dict[Hashable, Branch] = {}
        for run in group.runs:
            if program.size > 1 or run.number not in stored:
                families.setdefault(run.family, Branch([])).members.append(run)
        chunks = _chunks_of(list(families.values()), program.size)
        self._chunks = [chunk for chunk in chunks if any(r.number not in stored for b in chunk for r in b.members)]

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
                together = [b for b in left if b.history.rounds_done == done][: self.program.size]
                left = [b for b in left if not any(b is one for one in together)]
                left = self._compute(together, until) + left
            self._chunks[i] = held

    def drop(self, numbers: set[int], why: str) -> None:
        """End these runs where they are, and fill up the chunks with what is left."""
        for branch in self.waiting:
            gone = [run for run in branch.members if run.number in numbers]
            branch.members = [run for run in branch.members if run.number not in numbers]
            if gone:
                self._on_end(gone, Outcome(why, branch.history))
        left = [branch for branch in self.waiting if branch.members]
        self._chunks = _chunks_of(left, self.program.size)

    def _compute(self, batch: list[Branch], until: int | None) -> list[Branch]:
        """Continue branches of the same round until one of them changes; return those that are left."""
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
        decisions = self._decide([run.decided for run in branch.members], recorded, first)
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
            why = self._why(run, branch.history) or ("finished" if done else None)
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


def _chunks_of(branches: Sequence[Branch], size: int) -> list[list[Branch]]:
    """Branches in groups of ``size``, each of one stream."""
    streams: dict[Hashable, list[Branch]] = {}
    for branch in branches:
        streams.setdefault(branch.members[0].stream, []).append(branch)
    return [own[i : i + size] for own in streams.values() for i in range(0, len(own), size)]


def _rounds_ahead(batch: list[Branch], done: int, interval: int, until: int | None) -> int:
    """Rounds to the next evaluation of all branches."""
    last = min(run.rounds for branch in batch for run in branch.members)
    count = min(interval - done % interval, last - done)
    return count if until is None else min(count, until - done)
