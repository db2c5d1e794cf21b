"""Where a run in Python starts when not at a random start: given parameters, or the end of another run."""

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
    """A copy of the parameters that all models start from, in the dtypes of the task's own.

    Args:
      task: the model.
      params: one model, leaves ``[...]``.

    Raises:
      ValueError: another tree or shape than the task's; the first leaf that differs is named.
    """
    own = jax.eval_shape(task.init, jax.random.key(0))
    fitted = _fitted("start", "the model's", own, params)
    # A copy: a state may hold these very arrays, and a state is used up by the next interval.
    return jax.tree.map(lambda mine, x: jnp.array(x, mine.dtype), own, fitted)


def go_on(
    build: Build, plan: Plan, inputs: Inputs, state: Any, history: History, files: HistoryFiles | None = None
) -> tuple[Any, History]:
    """Copies of another run's end, from which a run of this program goes on.

    Args:
      build: of the run that goes on.
      plan: of it.
      inputs: of it.
      state: of the run that has ended.
      history: of the run that has ended; its last local phase is left out, as a longer run has it later.
      files: where its copy is written, and what follows.

    Raises:
      ValueError: a state of another algorithm, model or number of clients, or other models evaluated.
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
    """The leaves found in the expected tree; ``ValueError`` names the first that is missing or of another shape."""
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
