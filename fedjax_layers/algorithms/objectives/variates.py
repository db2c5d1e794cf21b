"""SCAFFOLD's objective (Karimireddy et al. 2020): local steps corrected by control variates against client drift."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.algorithms.objectives.declared import declared
from fedjax_layers.clients import (
    Begin,
    Client,
    LocalObjective,
    LocalOptions,
    LocalResult,
    StepGradient,
    Trained,
    Trainer,
    plain_gradient,
    train,
)
from fedjax_layers.ops import Term, select
from fedjax_layers.types import Array, Batch, Cohort, Key, Params, Task

_FIXED_STEP = {"EmptyState", "TraceState", "ScaleByScheduleState", "InjectStatefulHyperparamsState", "MaskedState"}


@declared
def variates(*, option: Literal["I", "II"] = "II") -> LocalObjective:
    """Correct every local step's gradient g to ``g - c_i + c``, with a variate c_i of the client and c of the server.

    After its steps the client replaces c_i by c_i+ and sends the difference beside its model; the server adds the sum
    of the differences over N, the number of all clients, so that c stays the mean of all c_i. With option II, c_i+ is
    the mean of the gradients of its local steps, which for plain SGD is the paper's
    ``c_i - c + (w - y_i) / (K * learning rate)``. With option I it is the mean gradient at the server's model, over the
    batches of as many steps: the paper asks for a large batch there.

    Variates concern the layers that the server sent. A layer that stays with its client drifts from nothing; it is
    trained on its plain gradient, and its variates do not change. A client without examples keeps c_i.

    Args:
      option: how the client's variate is renewed, ``"I"`` or ``"II"`` of the paper. Option I takes as many further
        gradients as there are local steps.

    Raises:
      ValueError: once it is bound, an optimiser without a fixed step (plain SGD and SGD with momentum have one), a rule
        of aggregation, or differential privacy.
    """

    def train_one(trainer: Trainer, key: Key, client: Client, begin: Begin, options: LocalOptions) -> Trained:
        own, common, layers = begin.row, begin.common, trainer.task.layers
        shift = _where_shared(begin.shared, layers, jax.tree.map(jnp.subtract, common, own))
        corrected = options._replace(with_gradient=True, step_gradient=shifted_gradient(trainer.task, shift))
        result = train(trainer, key, client, begin.params, opt_state=begin.opt_state, options=corrected)
        seen = jax.tree.map(jnp.subtract, result.gradient, shift)
        found = seen if option == "II" else _at_start(trainer, key, client, begin).gradient
        steps = trainer.num_steps(client.count, client.ident, client.faults.work)
        change = jax.tree.map(lambda new, old: jnp.where(steps > 0, new - old, 0), found, own)
        change = _where_shared(begin.shared, layers, change)
        told = jax.tree.map(lambda x: x / trainer.num_clients, change)
        result = result._replace(gradient=seen if options.with_gradient else ())
        return Trained(result, jax.tree.map(jnp.add, own, change), Term(told))

    def step(common: Params, told: Params) -> Params:
        return jax.tree.map(lambda c, change: c + change.astype(c.dtype), common, told)

    def more_steps(trainer: Trainer, cohort: Cohort) -> int | Array:
        return trainer.steps_of_slots(cohort).sum(dtype=jnp.int32) if option == "I" else 0

    return LocalObjective(
        "scaffold",
        train_one,
        row=lambda _, params: jax.tree.map(jnp.zeros_like, params),
        common=lambda params: jax.tree.map(jnp.zeros_like, params),
        step=step,
        more_steps=more_steps,
        copies=2,
        memory=(4, 0, 2),
        check=_check,
    )


def shifted_gradient(task: Task, shift: Params) -> StepGradient:
    """Make the gradient of the loss on the step's batch, plus ``shift``, a tree like the params."""
    plain = plain_gradient(task)

    def compute(params: Params, batches: tuple[Batch, ...], key: Key, carried: Any) -> tuple[Any, ...]:
        loss, grads, *rest = plain.compute(params, batches, key, carried)
        return loss, jax.tree.map(jnp.add, grads, shift), *rest

    def objective(params: Params, batches: tuple[Batch, ...], key: Key) -> Array:
        assert plain.objective is not None  # that of the plain loss
        products = jax.tree.map(lambda p, s: (p * s).sum(), params, shift)
        return plain.objective(params, batches, key) + sum(jax.tree.leaves(products))

    return StepGradient(compute, objective=objective)


def _at_start(trainer: Trainer, key: Key, client: Client, begin: Begin) -> LocalResult:
    """Return the mean gradient at the model of the round's start, over the batches of the local steps."""
    frozen = LocalOptions(jnp.zeros(trainer.task.layers.num_layers, bool), with_gradient=True)
    return train(trainer, key, client, begin.params, opt_state=begin.opt_state, options=frozen)


def _where_shared(shared: Array | np.ndarray | None, layers: Any, tree: Params) -> Params:
    """Set the layers that stay with their client to 0."""
    return tree if shared is None else select(shared, layers, tree, jax.tree.map(jnp.zeros_like, tree))


def _check(trainer: Trainer) -> None:
    refuse_varying_step(trainer, "scaffold")
    if trainer.aggregate is not None:
        raise ValueError("aggregate: expected none for scaffold, whose control variates are summed without a rule")
    if trainer.privacy is not None:
        raise ValueError("privacy: expected none for scaffold, whose clients send control variates beside updates")


def refuse_varying_step(trainer: Trainer, algorithm: str) -> None:
    """Raise ``ValueError`` for an optimiser without a fixed step; plain SGD and SGD with momentum have one."""
    shapes = jax.eval_shape(trainer.task.init, jax.random.key(0))
    state = jax.eval_shape(trainer.optimizer.init, shapes)
    others = sorted(_kinds(state) - _FIXED_STEP)
    if others:
        found = ", ".join(name.removesuffix("State") for name in others)
        raise ValueError(f"optimizer: expected one with a fixed step (SGD) for {algorithm}, got one with {found}")


def _kinds(state: Any) -> set[str]:
    """Name the kinds of states of which an optimiser's state is made."""
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        inner = set().union(*(_kinds(x) for x in state)) if type(state).__name__ in _FIXED_STEP else set()
        return {type(state).__name__} | inner
    if isinstance(state, tuple):
        return set().union(*(_kinds(x) for x in state))
    return set()
