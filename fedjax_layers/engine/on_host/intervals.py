"""Rounds, evaluations and the last local phase of a run whose data or state stay on the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.clients import keys
from fedjax_layers.data import SPLITS
from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.history.recording import add_finish, add_interval
from fedjax_layers.engine.intervals import Build, Inputs
from fedjax_layers.engine.on_host import programs
from fedjax_layers.engine.on_host.programs import Those
from fedjax_layers.engine.on_host.run import Gathered, HostRun
from fedjax_layers.engine.plan import Plan
from fedjax_layers.engine.sampling import Select, all_clients, selected
from fedjax_layers.types import Params


def run_intervals(
    build: Build,
    plan: Plan,
    inputs: Inputs,
    state: Any,
    history: History,
    rounds: int,
    select: Select | None = None,
    looked_at: Callable[[int], bool] | None = None,
    part_seconds: float | None = None,
) -> Iterator[tuple[int, Any, History]]:
    """Do the same as :func:`fedjax_layers.engine.run_loop.run_intervals`, round by round; always yield the state.

    The rows of a state on the host are changed in place.
    """
    run = HostRun(build, plan, inputs)
    slots, ahead = None, None
    while (done := history.rounds_done) < rounds:
        if select is not None:
            sampling = selected(select, history, run.clients, slots)
            run.use(sampling)
            slots = sampling.size
        count = min(plan.eval_every - done % plan.eval_every, rounds - done)
        log: list[dict[str, Any]] = []
        scores: dict[str, Any] = {}
        for t in range(done, done + count):
            last = t == done + count - 1
            # A cohort chosen by scores is not known before the scores are.
            following = t + 1 if t + 1 < rounds and not (last and select is not None) else None
            state, row, scores, ahead = play_round(run, state, t, ahead, following, due=last)
            log.append(row)
            if not last and part_seconds is not None and looked_at is not None and looked_at(t + 1):
                history.add(_stacked(log), None)
                log = []
                yield t + 1, state, history
        scores |= evaluate(run, state, done + count - 1)
        add_interval(history, _stacked(log), scores, len(log), run.clients)
        if looked_at is not None and history.rounds_done < rounds:
            looked_at(history.rounds_done)
        yield history.rounds_done, state, history


def _stacked(log: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Stack the records of rounds."""
    return {name: np.stack([np.asarray(row[name]) for row in log]) for name in log[0]}


def play_round(
    run: HostRun, state: Any, t: int, ahead: Those | None, following: int | None, *, due: bool
) -> tuple[Any, dict[str, Any], dict[str, Any], Those | None]:
    """Run round ``t``; while it runs, the examples of the next round are copied.

    Args:
      run: the run.
      state: the state before the round.
      t: the number of the round.
      ahead: the round's cohort if it was copied earlier, else ``None``.
      following: the number of the round whose cohort is to be copied; ``None`` copies none.
      due: whether the trained models are scored.

    Returns:
      The state, the round's record, the scores, and the cohort of the next round.
    """
    those = run.bring(run.draw(t), t) if ahead is None else ahead
    ids, counted = np.asarray(those.ids), np.asarray(those.weight) > 0
    # The draw is queued first, since the device works in the order of the queue.
    drawn = None if following is None else run.draw(following)
    given = run.hyper, run.key, those, jnp.int32(t), jnp.bool_(due)
    after, row, scores = programs.play_round(run.build, run.plan, run.frame, run.with_rows_of(state, ids), *given)
    brought = None if drawn is None or following is None else run.bring(drawn, following)
    jax.block_until_ready(row)  # without waiting, rounds with their examples could pile up on the device
    return run.keep(state, after, ids, counted), row, scores, brought


def evaluate(run: HostRun, state: Any, t: int) -> dict[str, Any]:
    """Score the served models after round ``t``, with the names and shapes of an evaluation on the device."""
    examples = run.examples.sizes(t, "train").copy()
    examples[run.unseen] = 0
    scores: dict[str, Any] = {"examples": examples}
    if "served" not in run.plan.evaluated_models:
        return scores
    total = run.overview(state)
    found: list[Any] = []
    waiting: list[Any] = []
    parts = Gathered(run.clients)
    for part in run.parts(state, SPLITS[1:]):
        rows, those = run.with_rows_of(state, part.ids), run.audience(part, t)
        some, sums = programs.score_part(run.build, run.plan, run.frame, rows, run.hyper, those, total)
        found.append(sums)
        waiting.append((part.ids, some))
        if len(waiting) > 1:  # one part is computed while the next is copied
            parts.add(*waiting.pop(0))
    for ids, some in waiting:
        parts.add(ids, some)
    scores |= parts.found
    if jax.tree.leaves(found[0]):
        scores |= programs.pool_parts(run.build, run.plan, found)
    if run.test_size:
        pool, test = run.examples.global_test()
        rest = run.with_rows_of(state, np.zeros(1, np.int32))
        scores |= programs.score_global_test(run.build, run.plan, run.frame, run.test_size, rest, run.hyper, pool, test)
    return scores


def finish_run(build: Build, plan: Plan, inputs: Inputs, state: Any, history: History, *, keep: bool) -> Params | None:
    """Do the same as :func:`fedjax_layers.engine.run_loop.finish_run`, in parts; the models stay on the host."""
    run = HostRun(build, plan, inputs)
    rounds = history.rounds_done
    key = jax.random.fold_in(jax.random.fold_in(inputs.key, rounds), keys.FINISH)
    run.use(all_clients(run.clients))
    weight = np.asarray(run.draw(rounds - 1)[1])
    scores, models = Gathered(run.clients), Gathered(run.clients)
    tree = None
    for part in run.parts(state):
        pool, ranges = run.examples.bring(part.ids, rounds - 1, SPLITS)
        those = run.those(part.ids, weight[part.ids], pool, ranges)
        rows = run.with_rows_of(state, part.ids)
        some, final = programs.finish_part(build, plan, run.frame, keep, rows, run.hyper, key, those)
        scores.add(part.ids, some)
        leaves, tree = jax.tree.flatten(final)
        models.add(part.ids, dict(enumerate(leaves)))
    add_finish(history, scores.found, plan.evaluated_models)
    return jax.tree.unflatten(tree, list(models.found.values())) if keep and tree is not None else None


def adapt_scores(build: Build, plan: Plan, inputs: Inputs, state: Any, ids: np.ndarray, rounds: int) -> dict[str, Any]:
    """Do the same as :func:`fedjax_layers.engine.intervals.adapt_interval`, with clients ``ids [n]`` as one cohort."""
    run = HostRun(build, plan, inputs)
    pool, ranges = run.examples.bring(ids, rounds - 1, SPLITS)
    those = run.those(ids, np.maximum(ranges[0].count, 1).astype(np.float32), pool, ranges)
    key = jax.random.fold_in(inputs.key, keys.UNSEEN)
    total = run.overview(state)
    found: dict[str, Any] = programs.adapt_part(
        build, plan, run.frame, run.with_rows_of(state, ids), run.hyper, key, those, total
    )
    return found
