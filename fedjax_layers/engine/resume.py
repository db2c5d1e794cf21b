"""Other starts of a run than random parameters: given parameters, or the end of another run."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.engine.history.files import HistoryFiles
from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.intervals import Build, Inputs, start
from fedjax_layers.engine.plan import Plan
from fedjax_layers.ops.checks import leaf_path
from fedjax_layers.types import Params, Task


def check_start(task: Task, params: Params) -> Params:
    """Check and copy the parameters from which all models start, in the dtypes of the task's own.

    Args:
      task: the task with the model.
      params: one model, leaves ``[...]``.

    Raises:
      ValueError: the tree or a shape is not the task's; the first leaf that differs is named.
    """
    own = jax.eval_shape(task.init, jax.random.key(0))
    fitted = _fitted("start", "the model's", own, params)
    # A copy, since a state may hold these arrays, and the next interval donates the state.
    return jax.tree.map(lambda mine, x: jnp.array(x, mine.dtype), own, fitted)


def go_on(
    build: Build, plan: Plan, inputs: Inputs, state: Any, history: History, files: HistoryFiles | None = None
) -> tuple[Any, History]:
    """Copy the end of another run, from which a run of this program continues.

    Args:
      build: the ``build`` of the new run.
      plan: the new run's plan.
      inputs: the new run's inputs.
      state: the state of the run that has ended.
      history: the history of the run that has ended, of which the evaluation after a last local phase is left out.
      files: files for the copied history and what follows; ``None`` keeps it in memory.

    Raises:
      ValueError: the runs differ in algorithm, model, number of clients, or evaluated models.
    """
    own = jax.eval_shape(functools.partial(start, build, plan), inputs)
    if type(state) is not type(own):
        raise ValueError(f"resume: expected this run's state, {type(own).__name__}, got {type(state).__name__}")
    fitted = _fitted("resume", "this run's state", own, state)
    evaluated_models = tuple(
        scored_model for scored_model in ("trained", "served") if f"{scored_model}/val/loss" in history.latest
    )
    if set(evaluated_models) != set(plan.evaluated_models):
        raise ValueError(
            f"evaluated_models: expected those of the resumed run, {evaluated_models}, got {plan.evaluated_models}"
        )
    clients = len(history.latest["examples"])
    if clients != inputs.device_data.num_clients:
        raise ValueError(f"resume: expected a run of {inputs.device_data.num_clients} clients, got one of {clients}")
    copied = jax.tree.map(lambda x: x.copy() if isinstance(x, np.ndarray) else jnp.copy(x), fitted)
    return copied, history.unfinished(files)


def _fitted(name: str, whose: str, expected: Any, found: Any) -> Any:
    """Put the leaves found into the expected tree; ``ValueError`` names the first missing one or wrong shape."""
    wanted, there = _by_path(expected), _by_path(found)
    for path, leaf in wanted.items():
        if path not in there or np.shape(there[path]) != leaf.shape:
            has = f"one of shape {np.shape(there[path])}" if path in there else "none"
            raise ValueError(f"{name}: expected {whose} leaf {path!r} of shape {leaf.shape}, got {has}")
    more = sorted(there.keys() - wanted.keys())
    if more:
        raise ValueError(f"{name}: expected {whose} {len(wanted)} leaves, got {more[0]!r} as well")
    return jax.tree.unflatten(jax.tree.structure(expected), [there[path] for path in wanted])


def _by_path(tree: Any) -> dict[str, Any]:
    return {leaf_path(path): x for path, x in jax.tree_util.tree_flatten_with_path(tree)[0]}
