"""A sweep of configs into its folder, going on where an earlier start left off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedjax_layers.engine.history.history import History
from fedjax_layers.experiment.setup.prepare import Experiment
from fedjax_layers.sweeps.branches import Tick
from fedjax_layers.sweeps.computing import Computer
from fedjax_layers.sweeps.ranking import rank
from fedjax_layers.sweeps.rows import row_of
from fedjax_layers.sweeps.rungs import Contest, run_all
from fedjax_layers.sweeps.runs import Outcome
from fedjax_layers.sweeps.settings import SweptRun
from fedjax_layers.sweeps.stopping import Stopping, merit
from fedjax_layers.sweeps.store import SweepStore


def run_sweep(
    runs: Sequence[SweptRun],
    computer: Computer,
    *,
    store: SweepStore | None = None,
    stopping: Stopping = Stopping(),
    tick: Tick = lambda *_: None,
    on_rows: Any = lambda _: None,
) -> list[dict[str, Any]]:
    """Compute the runs that are not in the store yet.

    Where runs are vectorised, or compared at rungs, those that were computed together are computed together again if
    one of them is missing, so that the numbers do not depend on where an earlier start was cut off.

    Args:
      runs: of the sweep, or of its shard.
      computer: makes their programs.
      store: gets each run's row as soon as it has ended; ``None`` keeps them here only.
      stopping: which runs end early.
      tick: see :class:`Computer`; returning True raises :class:`fedjax_layers.sweeps.branches.StoppedError`.
      on_rows: called with the rows of runs that have just ended.

    Returns:
      Their rows, in order.
    """
    rows: dict[int, dict[str, Any]] = {} if store is None else dict(store.rows)
    settings = {run.number: repr(list(run.setting.items())) for run in runs}
    configs = {run.number: run.config for run in runs}

    def score(number: int, history: History) -> float:
        return merit(history, configs[number].scored_model, configs[number].scored_round)

    contest = Contest(settings, score, stopping)

    def ended(some: list[SweptRun], outcome: Outcome, experiment: Experiment) -> None:
        new = _rows(some, outcome, experiment)
        if stopping.rungs:
            for run in some:
                contest.note_end(run.number, outcome.history)
        if store is not None:
            store.append(new)
        rows.update({row["run"]: row for row in new if row["run"] not in rows})
        on_rows(new)

    there = set(rows)
    if stopping.rungs and not all(run.number in there for run in runs):
        there = set()  # whoever is still running is compared with all
    run_all(computer.groups(runs, ended, tick, there), stopping.rungs, contest)
    return [rows[run.number] for run in runs]


def finish_sweep(store: SweepStore, names: Sequence[str]) -> list[dict[str, Any]]:
    """Write the table of all rows and the ranking; returns the ranking, see :func:`rank`."""
    ranking = rank([store.rows[number] for number in sorted(store.rows)], names)
    store.finish({"varied": list(names), "ranking": ranking})
    return ranking


def _rows(some: list[SweptRun], outcome: Outcome, experiment: Experiment) -> list[dict[str, Any]]:
    """A row per run; what several have in common is computed once."""
    scores: dict[tuple[str, str], dict[str, Any]] = {}
    rows = []
    for run in some:
        how = (run.config.scored_model, run.config.scored_round)
        if how not in scores:
            data = experiment.data
            scores[how] = row_of(
                outcome.history,
                experiment.plan.task.layers,
                data.sizes["train"],
                scored_model=how[0],
                scored_round=how[1],
                unseen=data.unseen,
            )
        partition = experiment.data.partition_hash[:12]
        rows.append(
            {"run": run.number, **run.setting, "seed": run.seed, "why": outcome.why, "partition": partition}
            | scores[how]
        )
    return rows
