"""All runs of a sweep to their ends, group by group, or from rung to rung where settings are stopped."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping

from fedjax_layers.engine.history.history import History
from fedjax_layers.sweeps.branches import Branches
from fedjax_layers.sweeps.stopping import BEHIND, Stopping, fall_behind


class Contest:
    """Who is compared with whom at the rungs.

    Args:
      setting_of: run's number -> its setting; runs of one setting differ in their seed.
      merit: ``(number, history) -> score so far``, higher is better.
      rule: the rungs.
    """

    def __init__(
        self, setting_of: Mapping[int, Hashable], merit: Callable[[int, History], float], rule: Stopping
    ) -> None:
        self._setting_of, self._merit, self._rule = setting_of, merit, rule
        self._ended: dict[int, float] = {}

    def note_end(self, number: int, history: History) -> None:
        """Remember the score of a run that has ended; it still counts for its setting."""
        self._ended[number] = self._merit(number, history)

    def losers(self, running: Mapping[int, History]) -> set[int]:
        """The running runs whose setting does not go on."""
        there = {number: self._merit(number, history) for number, history in running.items()}
        compete = {self._setting_of[number] for number in there}
        merits: dict[Hashable, list[float]] = {}
        for number, found in (self._ended | there).items():
            if self._setting_of[number] in compete:
                merits.setdefault(self._setting_of[number], []).append(found)
        behind = fall_behind(merits, self._rule.keep)
        return {number for number in there if self._setting_of[number] in behind}


def run_all(groups: Iterable[Branches], rungs: tuple[int, ...], contest: Contest) -> None:
    """Compute every run to its end.

    Without rungs one group is finished before the next is made, so that one group's data are on the devices at a time.
    With rungs all groups are there, and halt at each rung until all have reached it.
    """
    if not rungs:
        for group in groups:
            group.advance()
        return
    everyone = list(groups)
    for rung in rungs:
        for group in everyone:
            interval = group.program.plan.eval_every
            group.advance(-(-rung // interval) * interval)
        running = {run.number: b.history for group in everyone for b in group.waiting for run in b.members}
        losers = contest.losers(running)
        for group in everyone:
            group.drop(losers, BEHIND)
    for group in everyone:
        group.advance()
