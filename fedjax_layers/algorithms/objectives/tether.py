"""Ditto's objective (Li et al. 2021): beside the model that is shared, one of the client's own that is pulled to it."""

from __future__ import annotations

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt

from fedjax_layers.algorithms.objectives.declared import declared
from fedjax_layers.clients import (
    Begin,
    Client,
    Epochs,
    LocalObjective,
    LocalOptions,
    StepGradient,
    Steps,
    Trained,
    Trainer,
    train,
)
from fedjax_layers.clients.running_statistics import refuse_statistics
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Array, Batch, Cohort, Key, Params, Task


@declared
def tether(
    *,
    lam: Annotated[Traced[float], Ge(0)] = 0.1,
    personal_epochs: Annotated[Epochs | None, Gt(0)] = None,
    personal_steps: Steps | None = None,
    published_personal_mean: bool = False,
) -> LocalObjective:
    """Train the model w that the sharing rule gives, and a model of the client's own on ``f_c(v) + lam/2 ||v - w||^2``.

    w is that of the round's start. It is trained on the loss alone, and the rule shares, keeps and scores it. v never
    leaves its client, which uses v. Where all layers are shared this is Ditto. Where some are not, these layers of w
    are the client's own, and v is pulled to them as to the others.

    Args:
      lam: strength of the pull of the personal model to the global one, per unit of squared distance; 0 is local
        training beside FedAvg. PLayer-FL's tables have 0.1. May be traced.
      personal_epochs: local epochs of the personal model in a round, where they differ from the global model's.
      personal_steps: local steps of the personal model in a round, in place of epochs.
      published_personal_mean: repeat an error of PLayer-FL's code, which averages the personal models; the trained
        copies of the global model are dropped.

    Raises:
      ValueError: both personal epochs and steps; or, once it is bound, a model with batch normalisation.
    """
    if personal_epochs is not None and personal_steps is not None:
        found = f"{personal_epochs} and {personal_steps}"
        raise ValueError(f"personal_epochs, personal_steps: expected one of them, got {found}")

    def of_own(trainer: Trainer) -> Trainer:
        if personal_epochs is None and personal_steps is None:
            return trainer
        return trainer.phase("personal", epochs=personal_epochs, steps=personal_steps)

    def row(trainer: Trainer, params: Params) -> tuple[Params, Any]:
        return params, trainer.optimizer.init(params) if trainer.keep_optimizer else ()

    def train_one(trainer: Trainer, key: Key, client: Client, begin: Begin, options: LocalOptions) -> Trained:
        shared = train(trainer, key, client, begin.params, opt_state=begin.opt_state, options=options)
        tethered = LocalOptions(scale=options.scale, step_gradient=tethered_gradient(trainer.task, begin.params, lam))
        model, opt_state = begin.row
        own = train(of_own(trainer), key, client, model, opt_state=opt_state, options=tethered)
        if published_personal_mean:
            shared = shared._replace(params=own.params, poisoned=own.poisoned)
        return Trained(shared, (own.params, own.opt_state), own=(own.params, own.loss))

    def check(trainer: Trainer) -> None:
        refuse_statistics(trainer.task, "ditto")
        of_own(trainer)

    def more_steps(trainer: Trainer, cohort: Cohort) -> Array:
        return of_own(trainer).steps_of_slots(cohort).sum(dtype=jnp.int32)

    return LocalObjective(
        "ditto",
        train_one,
        row=row,
        own=lambda row: row[0],
        with_own=lambda row, params: (params, row[1]),
        more_steps=more_steps,
        memory=(1, 1.5, 0),
        check=check,
    )


def tethered_gradient(task: Task, centre: Params, lam: float | Array) -> StepGradient:
    """Make the gradient of ``f(v) + lam/2 * ||v - centre||^2``; the reported loss is f alone.

    Args:
      task: the task with the loss f.
      centre: params of one model.
      lam: strength of the pull.

    Source: Li et al. 2021, Algorithm 1.
    """

    def objective(params: Params, batches: tuple[Batch, ...], key: Key) -> Array:
        loss = task.loss(params, batches[0], key)
        squares = [jnp.square(gap).sum() for gap in jax.tree.leaves(jax.tree.map(jnp.subtract, params, centre))]
        return loss + (jnp.asarray(lam, squares[0].dtype) / 2 * sum(squares)).astype(loss.dtype)

    def compute(params: Params, batches: tuple[Batch, ...], key: Key, carried: Any) -> tuple[Array, Params, Any]:
        loss, grads = jax.value_and_grad(task.loss)(params, batches[0], key)
        pulled = jax.tree.map(lambda g, v, w: g + jnp.asarray(lam, g.dtype) * (v - w), grads, params, centre)
        return loss, pulled, carried

    return StepGradient(compute, objective=objective)
