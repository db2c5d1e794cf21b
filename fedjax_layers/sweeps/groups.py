"""All runs of a sweep to their ends: group by group, or from rung to rung where settings are compared."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fedjax_layers.engine.evaluation.score_names import LOWER_IS_BETTER, headline
from fedjax_layers.engine.history.history import History
from fedjax_layers.experiment.records.soundness import nobody_heard
from fedjax_layers.sweeps.branches import Branches, Group, Outcome, Run, Tick, never
from fedjax_layers.sweeps.request import Stopping
from fedjax_layers.sweeps.widths import Programs

DIVERGED = "diverged"
BEHIND = "stopped"
_MANY_SETTINGS = 8  # with a seed, from which on runs are vectorised over settings and not over seeds


def run_groups(
    groups: Iterable[Group], programs: Programs, stopping: Stopping, *, tick: Tick = never, stored: Collection[int] = ()
) -> None:
    """Compute every run to its end.

    Without rungs one group is finished before the next is made, so that one group's data are on the devices at a time.
    With rungs all groups are there, and halt at each rung until all have reached it.

    Args:
      groups: each made when its turn comes.
      programs: of the sweep.
      stopping: which runs end early.
      tick: called after each interval with the rounds done and the number of branches.
      stored: numbers of runs whose rows are there already.

    Raises:
      StoppedError: ``tick`` returned True.
    """
    contest = _Contest(stopping)
    begun = (_begin(group, programs, contest, tick, stored) for group in groups)
    if not stopping.rungs:
        for branches in begun:
            branches.advance()
        return
    together = list(begun)
    for rung in stopping.rungs:
        for branches in together:
            interval = branches.program.plan.eval_every
            branches.advance(-(-rung // interval) * interval)
        losers = contest.losers([(run, b.history) for one in together for b in one.waiting for run in b.members])
        for branches in together:
            branches.drop(losers, BEHIND)
    for branches in together:
        branches.advance()


def _begin(group: Group, programs: Programs, contest: _Contest, tick: Tick, stored: Collection[int]) -> Branches:
    runs, same_seed = _share_seeds(group.runs)
    group = group._replace(runs=runs)

    def why(run: Run, history: History) -> str | None:
        if run.out_of_patience(history):
            return "patience"
        dead = contest.rule.diverged and _diverged(history, run.inputs.device_data.num_clients)
        return DIVERGED if dead else None

    def on_end(ended: list[Run], outcome: Outcome) -> None:
        contest.note_end(ended, outcome.history)
        group.on_end(ended, outcome)

    program = programs.choose(group, same_seed)
    return Branches(program, group, stored=stored, why=why, on_end=on_end, tick=tick)


def _share_seeds(runs: Sequence[Run]) -> tuple[list[Run], bool]:
    """Runs in streams of one seed each where there are many settings, so that a call's runs see the same batches.

    Returns:
      The runs, and whether they are in such streams; else they are in one.
    """
    families: dict[Hashable, set[Hashable]] = {}
    for run in runs:
        families.setdefault(run.stream, set()).add(run.family)
    shared = min(map(len, families.values())) >= _MANY_SETTINGS
    return [run if shared else run._replace(stream=None) for run in runs], shared


class _Contest:
    """Who is compared with whom at the rungs."""

    def __init__(self, rule: Stopping) -> None:
        self.rule = rule
        self._ended: list[tuple[Run, float]] = []

    def note_end(self, runs: Sequence[Run], history: History) -> None:
        """Remember the scores of runs that have ended; they still count for their settings."""
        if self.rule.rungs:
            self._ended += [(run, merit(history, *run.scored)) for run in runs]

    def losers(self, running: Sequence[tuple[Run, History]]) -> set[int]:
        """Return the numbers of the running runs whose setting stops here."""
        compete = {run.setting for run, _ in running}
        merits: dict[Hashable, list[float]] = {}
        for run, found in (*self._ended, *((run, merit(history, *run.scored)) for run, history in running)):
            if run.setting in compete:
                merits.setdefault(run.setting, []).append(found)
        behind = fall_behind(merits, self.rule.keep)
        return {run.number for run, _ in running if run.setting in behind}


def fall_behind(merits: Mapping[Any, Sequence[float]], keep: float) -> set[Any]:
    """Return the settings that stop: all but the best share by the mean over seeds, ties by their order.

    Args:
      merits: setting -> one number per run, higher is better.
      keep: share of the settings that continue, rounded up.
    """
    ordered = sorted(merits, key=lambda setting: -float(np.mean(merits[setting])))
    return set(ordered[math.ceil(keep * len(ordered)) :])


def merit(history: History, scored_model: str, scored_round: str) -> float:
    """A run's validation score so far, higher is better; minus infinity where it is no number.

    A client whose model has diverged counts: settings are compared over the same clients.
    """
    scores = history.scores(scored_model, scored_round, "val")
    assert scores is not None
    name = headline(scores)
    values = scores[name][~np.isnan(scores[name])]
    if not np.isfinite(values).all() or not values.size:
        return -math.inf
    return float(values.mean()) * (-1 if name in LOWER_IS_BETTER else 1)


def _diverged(history: History, num_clients: int) -> bool:
    """Whether nobody is heard any more, or no client's model has a finite loss."""
    latest, rounds = history.latest, history.rounds
    if nobody_heard(rounds):
        return True
    served = latest.get("served/val/loss")
    if served is not None and not np.isnan(served).all():  # NaN means that a client has no validation examples
        return not np.isfinite(served).any()
    if np.isfinite(rounds["loss"][-1]):
        return False
    all_there = rounds["participants"][-1] == num_clients  # who was not there may have a model that is sound
    return bool(served is not None or (all_there and not np.isfinite(latest["trained/val/loss"]).any()))
