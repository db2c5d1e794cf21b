"""Per-FedAvg (Fallah et al. 2020): FedAvg on the loss after a step of adaptation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from annotated_types import Ge, Gt

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.sharing.fedavg import fedavg
from fedjax_layers.algorithms.sharing.round import last_phase, round_info, server_phase, sharing_pass
from fedjax_layers.algorithms.sharing.state import Own, SharingState
from fedjax_layers.clients import (
    Client,
    ClientVisit,
    Epochs,
    LocalOptions,
    StepGradient,
    Steps,
    Trainer,
    keys,
    refuse_own_steps,
    train,
)
from fedjax_layers.ops import Term
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm, Array, Batch, Cohort, Key, Params, RoundInfo, RoundMemory, Task


@factory()
def per_fedavg(
    trainer: Trainer,
    *,
    adaptation_rate: Annotated[Traced[float], Ge(0)] = 0.01,
    variant: Literal["fo", "hf"] = "fo",
    delta: Annotated[Traced[float], Ge(0)] = 1e-3,
    finish_epochs: Annotated[Epochs, Gt(0)] = 1,
    finish_steps: Steps | None = None,
    server_optimizer: ServerOptimizer = None,
) -> Algorithm:
    """Learn the start from which one step on a client's own examples gives its best model.

    It minimises the mean of ``F_c(w) = f_c(w - a * grad f_c(w))``. A local step draws batches D, D', D'' independently,
    adapts ``v = w - a * grad f(w; D)``, and hands the optimiser of the trainer (plain SGD in the paper, its rate the
    paper's beta) the gradient ``g = grad f(v; D')``; with ``"hf"`` it is ``g - a * H g``, where
    ``H g = [grad f(w + delta*g; D'') - grad f(w - delta*g; D'')] / (2 * delta)`` stands for the Hessian product.
    An epoch goes over the examples once for each of the batches. The loss reported is ``f(v; D')``.

    No client keeps a model between rounds. During the run each is evaluated with the unadapted global model, and
    ``trained`` scores are of its copy before averaging. ``finish`` makes the personal model by plain SGD at rate ``a``
    from the global model, on batches of the client's *training* examples. The code behind published tables adapts on
    test batches instead, which leaks test data; no switch repeats that.

    Args:
      trainer: how each client trains.
      adaptation_rate: step size of the adaptation, the paper's alpha; 0 is FedAvg. May be traced.
      variant: ``"fo"`` drops the term with the Hessian, ``"hf"`` approximates it by two further gradients.
      delta: step of the finite difference that ``"hf"`` takes. May be traced.
      finish_epochs: local epochs of the adaptation after the last round.
      finish_steps: local steps of the adaptation after the last round, in place of epochs; 1 is the single step of the
        objective.
      server_optimizer: as in :func:`fedavg`.

    Returns:
      The algorithm; ``finish`` gives the personal models.

    Raises:
      ValueError: a model with batch normalisation; an unknown variant, or epochs or steps below 1.
    """
    everything = np.ones(trainer.task.layers.num_layers, bool)
    refuse_own_steps(trainer, "per_fedavg")
    meta = meta_gradient(trainer.task, adaptation_rate, delta if variant == "hf" else None)
    once = optax.sgd(adaptation_rate)
    tuner = trainer.phase("finish", epochs=finish_epochs, steps=finish_steps, optimizer=once, keep_optimizer=False)

    def round_(key: Key, state: SharingState, cohort: Cohort) -> tuple[SharingState, RoundInfo]:
        options = LocalOptions(scale=trainer.scale_of(state.round), step_gradient=meta)

        def visit(client: Client, own: Own) -> ClientVisit:
            result = train(trainer, key, client, client.shared, opt_state=own.opt_state, options=options)
            return ClientVisit(result.params, result.loss, Term(result.sent, client.share), Own(None, result.opt_state))

        phase = sharing_pass(trainer, key, state, cohort, visit)
        state = server_phase(trainer, key, state, phase, everything, server_optimizer)
        return state, round_info(trainer, phase.passed, phase.cohort, everything)

    def finish(key: Key, state: SharingState, cohort: Cohort) -> Any:
        return last_phase(tuner, key, cohort, state.server, LocalOptions())

    carried = RoundMemory(visit=2, states=2)
    plain = fedavg(trainer, server_optimizer=server_optimizer)
    return plain._replace(round=round_, finish=finish, memory=carried)


def meta_gradient(task: Task, rate: float | Array, delta: float | Array | None) -> StepGradient:
    """Make the gradient of the loss after adaptation; with ``delta=None`` it leaves out the Hessian term.

    Args:
      task: the task with the loss.
      rate: step size of the adaptation.
      delta: step of the difference.

    Source: Fallah et al. 2020, Algorithm 1, and its approximations FO and HF.
    """

    def compute(params: Params, batches: tuple[Batch, ...], key: Key, carried: tuple[()]) -> tuple[Array, Params, Any]:
        later_key = jax.random.fold_in(key, keys.LATER_BATCHES)
        slope = jax.grad(task.loss)(params, batches[1], jax.random.fold_in(later_key, 1))
        # The outer gradient takes the plain step's batch, so that at rate 0 this equals plain training exactly.
        loss, grads = jax.value_and_grad(task.loss)(_plus(params, slope, -rate), batches[0], key)
        if delta is not None:
            ahead, behind = (
                jax.grad(task.loss)(_plus(params, grads, step), batches[2], jax.random.fold_in(later_key, 2))
                for step in (delta, -delta)
            )
            grads = _plus(grads, jax.tree.map(jnp.subtract, ahead, behind), -rate / (2 * delta))
        return loss, grads, carried

    return StepGradient(compute, batches=2 if delta is None else 3)


def _plus(params: Params, direction: Params, step: float | Array) -> Params:
    """Compute ``params + step * direction`` in the params' dtypes."""
    return jax.tree.map(lambda p, d: p + jnp.asarray(step, p.dtype) * d, params, direction)
