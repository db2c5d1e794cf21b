"""The loop of a run: the first state, intervals of rounds with an evaluation after each, and a last local phase."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.engine import on_host as host
from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.history.recording import add_finish, add_interval
from fedjax_layers.engine.intervals import (
    Build,
    Inputs,
    algorithm_of,
    finish_and_keep,
    finish_interval,
    run_interval,
    start,
)
from fedjax_layers.engine.memory.program import refuse_too_large_rounds
from fedjax_layers.engine.parts import Parts
from fedjax_layers.engine.placement.sharding import replicate
from fedjax_layers.engine.plan import Plan
from fedjax_layers.engine.sampling import Select, selected
from fedjax_layers.types import Params

LookedAt = Callable[[int], bool]


def always(_: int) -> bool:
    """Return True: the caller uses every state."""
    return True


def start_state(build: Build, plan: Plan, inputs: Inputs, store: str | os.PathLike[str] | None = None) -> Any:
    """Make the state before the first round, with the same start for every model; ``store`` as in :func:`simulate`."""
    if "state" in plan.on_host:
        return host.first_state(build, plan, inputs, store)
    return start(build, plan, inputs)


def run_intervals(
    build: Build,
    plan: Plan,
    inputs: Inputs,
    state: Any,
    history: History,
    rounds: int,
    select: Select | None = None,
    looked_at: LookedAt | None = always,
    part_seconds: float | None = None,
) -> Iterator[tuple[int, Any, History]]:
    """Continue from ``state`` to ``rounds`` rounds, and yield (rounds done, state, history) after each evaluation.

    Args:
      build: the run's ``build``.
      plan: the run's plan.
      inputs: the run's inputs.
      state: the state to start from; it, and each state yielded, is donated to the next interval.
      history: the history of the rounds before, to which the new ones are added.
      rounds: number of rounds of the whole run, including those before.
      select: see :func:`simulate`.
      looked_at: ``rounds done -> bool``, whether the caller uses the state then, or may end the run by the scores;
        called at the end of every interval but the last. Where it returns False, the next interval starts before the
        scores are fetched, so that the host works while it runs, and ``None`` is yielded in place of the state.
        ``None`` means always False.
      part_seconds: if an interval takes longer, ``looked_at`` is asked about every so many seconds within it too, and
        where it returns True, (rounds done, state, history) is yielded before the evaluation. No number depends on it.
        ``None`` never asks within an interval.
    """
    if plan.on_host:
        yield from host.run_intervals(build, plan, inputs, state, history, rounds, select, looked_at, part_seconds)
        return
    before = done = history.rounds_done
    parts = Parts(None if select is not None else part_seconds)
    slots, num_clients = None, inputs.device_data.num_clients
    left: list[tuple[Any, Any, int]] = []  # results of the interval before, if its state was not used
    while done < rounds:
        if select is not None:
            sampling = selected(select, history, num_clients, slots)
            inputs, slots = inputs._replace(sampling=replicate(sampling, plan.axis)), sampling.size
        left_over = min(plan.eval_every - done % plan.eval_every, rounds - done)
        if done == before:
            refuse_too_large_rounds(build, plan, state, inputs)
        count, end = parts.begin(left_over), done + left_over
        state, log, scores = run_interval(build, plan, state, inputs, *map(jnp.int32, (done, count, end)))
        _send_to_host((log, scores))
        if left:
            add_interval(history, *left.pop(), num_clients)
            yield done, None, history
        done += count
        if done < end:
            _add_part(history, log, count)
            parts.end(count)
            if looked_at is not None and looked_at(done):
                yield done, state, history
            continue
        if select is not None or done == rounds or (looked_at is not None and _ended(scores) and looked_at(done)):
            add_interval(history, log, scores, count, num_clients)
            yield done, state, history
        else:
            left = [(log, scores, count)]


def _send_to_host(results: Any) -> None:
    """Start to copy arrays to the host, except those of a CPU, which are read in place."""
    if jax.default_backend() != "cpu":
        for array in jax.tree.leaves(results):
            array.copy_to_host_async()


def _add_part(history: History, log: Any, count: int) -> None:
    """Wait until rounds within an interval have ended, and add them."""
    history.add({name: np.asarray(x)[:count] for name, x in log.items()}, None)


def _ended(scores: Any) -> bool:
    """Wait until an interval has ended and return True, so that a callback asked next knows all that happened."""
    jax.block_until_ready(scores)
    return True


def finish_run(
    build: Build, plan: Plan, inputs: Inputs, state: Any, history: History, *, keep: bool = False
) -> Params | None:
    """Run the algorithm's last local phase, if it has one, and add one evaluation of each client's final model.

    Returns:
      These models, leaves ``[C, ...]``, if ``keep`` is True; otherwise, and without such a phase, ``None``.
    """
    if algorithm_of(build, plan, inputs).finish is None:
        return None
    if plan.on_host:
        return host.finish_run(build, plan, inputs, state, history, keep=keep)
    rounds, final = jnp.int32(history.rounds_done), None
    if keep:
        scores, final = finish_and_keep(build, plan, state, inputs, rounds)
    else:
        scores = finish_interval(build, plan, state, inputs, rounds)
    add_finish(history, scores, plan.evaluated_models)
    return final
