"""Running an algorithm: periods of rounds in one jitted loop, an evaluation after each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.data.client_data import ClientData
from fedjax_layers.ops import ClientAxis
from fedjax_layers.simulation.federation import Federation, federation
from fedjax_layers.simulation.history import History
from fedjax_layers.simulation.periods import Build, Inputs, Plan, finish_period, models_of, run_period, start
from fedjax_layers.simulation.recording import add_finish, add_period
from fedjax_layers.simulation.sampling import Sampling, everyone
from fedjax_layers.simulation.sharding import replicate
from fedjax_layers.types import Models, Task


class Result(NamedTuple):
    """What a run returns.

    Attributes:
      state: the algorithm's, after the last round.
      models: those of that state.
      history: of all rounds and evaluations.
    """

    state: Any
    models: Models
    history: History


def simulate(
    build: Build,
    task: Task,
    data: ClientData | Federation,
    *,
    rounds: int,
    hyper: Any = None,
    seed: int = 0,
    sampling: Sampling | None = None,
    weights: np.ndarray | None = None,
    eval_every: int = 1,
    axis: ClientAxis = ClientAxis(),
    moments: Sequence[str] = ("trained", "served"),
    on_period: Callable[[int, Any, History], bool | None] | None = None,
) -> Result:
    """Run ``rounds`` rounds and evaluate every client along the way.

    The program is compiled for ``build`` (the same function object), ``task``, the shapes of the data and the static
    arguments. Other values of ``hyper``, ``seed``, ``weights`` or cohort members compile nothing new.

    Args:
      build: ``hyper -> Algorithm``; called while tracing, so that all of ``hyper`` may be used as plain numbers.
      task: the model and loss.
      data: the clients, on the host or already on the device (:func:`federation`).
      rounds: rounds to run.
      hyper: a pytree of numbers.
      seed: seeds initialisation, cohorts and local training.
      sampling: cohort rule; ``None`` is full participation.
      weights: ``[C]`` aggregation weights; ``None`` takes the number of training examples.
      eval_every: rounds between evaluations; the last round is always evaluated.
      axis: client axis of the evaluation (that of training belongs to the trainer).
      moments: when to evaluate, see :class:`Plan`.
      on_period: called after each evaluation with (rounds done, state, history); returning True ends the run
        early. The state is given up to the next period: copy what is to be kept.

    Returns:
      Final state, models and history.

    Raises:
      ValueError: rounds below 1, weights that are negative, not finite or all 0, or of another length.
    """
    if rounds < 1:
        raise ValueError(f"rounds: expected at least 1, got {rounds}")
    source = data if isinstance(data, Federation) else federation(data)
    plan = Plan(task, eval_every, axis, tuple(moments))
    inputs = make_inputs(source, hyper=hyper, seed=seed, sampling=sampling, weights=weights, axis=axis)
    state, history = start_state(build, plan, inputs), History()
    for done, state, history in run_periods(build, plan, inputs, state, history, rounds):  # noqa: B020
        if on_period is not None and on_period(done, state, history):
            break
    state = finish_run(build, plan, inputs, state, history)
    return Result(state, models_of(build, inputs.hyper, state), history)


def make_inputs(
    source: Federation,
    *,
    hyper: Any,
    seed: int,
    sampling: Sampling | None,
    weights: np.ndarray | None,
    axis: ClientAxis = ClientAxis(),
) -> Inputs:
    """Check the traced part of a run, and put it on the devices of ``axis``."""
    num_clients = source.num_clients
    if weights is not None:
        weights = check_weights(weights, num_clients)
    inputs = Inputs(
        hyper=jax.tree.map(jnp.asarray, hyper),
        federation=source,
        sampling=sampling or everyone(num_clients),
        weights=None if weights is None else jnp.asarray(weights, jnp.float32),
        key=jax.random.key(seed),
    )
    return replicate(inputs, axis)


def check_weights(weights: np.ndarray, num_clients: int) -> np.ndarray:
    """Aggregation weights ``[C]``: finite, not negative, not all 0; else ``ValueError``."""
    weights = np.asarray(weights, float)
    if weights.shape != (num_clients,):
        raise ValueError(f"weights: expected shape ({num_clients},), got {weights.shape}")
    if not np.isfinite(weights).all():
        raise ValueError(f"weights: expected finite numbers, got {weights[~np.isfinite(weights)][0]}")
    if (weights < 0).any():
        raise ValueError(f"weights: expected none below 0, got {weights.min()}")
    if weights.sum() == 0:
        raise ValueError("weights: expected a positive sum, got 0")
    return weights


def start_state(build: Build, plan: Plan, inputs: Inputs) -> Any:
    """The state before the first round; every model is the same random start."""
    return start(build, plan, inputs)


def run_periods(
    build: Build, plan: Plan, inputs: Inputs, state: Any, history: History, rounds: int
) -> Iterator[tuple[int, Any, History]]:
    """Go on from ``state`` to ``rounds`` rounds, yielding (rounds done, state, history) after each evaluation.

    The state handed in, and each one yielded, is donated to the next period.
    """
    done = history.rounds_done
    while done < rounds:
        count = min(plan.eval_every - done % plan.eval_every, rounds - done)
        state, log, scores = run_period(build, plan, state, inputs, jnp.int32(done), jnp.int32(count))
        done += count
        add_period(history, log, scores, count, inputs.federation.num_clients)
        yield done, state, history


def finish_run(build: Build, plan: Plan, inputs: Inputs, state: Any, history: History) -> Any:
    """The algorithm's last local phase, if it has one: adds one evaluation of each client's final model."""
    if build(inputs.hyper).finish is None:
        return state
    scores = finish_period(build, plan, state, inputs, jnp.int32(history.rounds_done))
    add_finish(history, scores, plan.moments)
    return state
