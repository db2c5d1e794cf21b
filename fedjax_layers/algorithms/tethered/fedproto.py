"""FedProto (Tan et al. 2021): clients keep their models, and pull their features to common means for each class."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge
from flax import struct

from fedjax_layers.algorithms.factory import factory
from fedjax_layers.algorithms.sharing.round import round_info
from fedjax_layers.clients import Client, ClientVisit, LocalOptions, StepGradient, Trainer, one_pass, train
from fedjax_layers.clients.batches import take_batch
from fedjax_layers.clients.running_statistics import refuse_statistics
from fedjax_layers.clients.stacked import copies
from fedjax_layers.clients.store import take_note
from fedjax_layers.ops import Term
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm, Array, Batch, Cohort, Key, Params, Personal, RoundInfo, Task, per_client


@struct.dataclass
class FedProtoState:
    """State between rounds.

    Attributes:
      round: ``[]`` int32, the number of rounds done.
      prototypes: ``[classes, F]``, the mean features of each class; zeros where there is none yet.
      owned: ``[classes]`` bool, which classes have a prototype.
      clients: the clients' models, leaves ``[C, ...]``.
      client_opt: their optimiser states ``[C, ...]``, or ``()``.
      seen: ``[C]`` bool, who has taken part.
    """

    round: Array
    prototypes: Array
    owned: Array
    clients: Params = per_client()
    client_opt: Any = per_client()
    seen: Array = per_client()


@factory(averages=False, aggregates=False)
def fedproto(
    trainer: Trainer,
    *,
    lam: Annotated[Traced[float], Ge(0)] = 1.0,
    average: Literal["plain", "count"] = "plain",
) -> Algorithm:
    """Train every client's own model on ``f_c + lam * mean |h(x) - P^y|^2``, with the prototype P^y of the label y.

    ``h(x) [F]`` is what the model's last layer gets. After its training a client sends the mean of h over all its
    examples of each class, by the trained model without dropout, and their number; the server averages over the clients
    of the cohort that have the class. The authors' code takes the features of the last epoch's steps, while the model
    still moves; this one does not. A class without a prototype costs 0, but its examples count in the mean, as in
    the authors' code; in the first round no class has one. A class that nobody in the cohort has keeps its prototype.

    The personal model is the client's own, with its own last layer; classifying by the nearest prototype is not
    offered. The reported loss is f_c. A client that never took part has the common start.

    Args:
      trainer: how each client trains.
      lam: weight of the mean squared distance of features to prototypes, over examples and features; 0 is local
        training. May be traced.
      average: how the server averages: ``"plain"``, every client alike, as in the authors' code, or ``"count"``, by the
        clients' numbers of examples of the class.

    Returns:
      The algorithm; it offers personal models only. Every round reports ``classes``, the number of prototypes.

    Raises:
      ValueError: a task without features or whose labels are not one class for each example; a model with batch
        normalisation.

    Source: Tan et al., arXiv 2105.00243.
    """
    task = trainer.task
    refuse_statistics(task, "fedproto")
    _check(task)
    nothing = np.zeros(task.layers.num_layers, bool)

    def init(key: Key, params: Params) -> FedProtoState:
        del key
        one = jax.ShapeDtypeStruct((1, *task.example.shape), task.example.dtype)  # type: ignore[union-attr]  # checked
        found = jax.eval_shape(lambda own, x: task.features(own, x, None), params, one)  # type: ignore[misc]
        return FedProtoState(
            round=jnp.int32(0),
            prototypes=jnp.zeros((task.num_classes, found.shape[1]), found.dtype),
            owned=jnp.zeros(task.num_classes, bool),
            clients=copies(params, trainer.num_clients),
            client_opt=trainer.init_optimizer(params),
            seen=jnp.zeros(trainer.num_clients, bool),
        )

    def round_(key: Key, state: FedProtoState, cohort: Cohort) -> tuple[FedProtoState, RoundInfo]:
        def visit(client: Client, own: Any) -> ClientVisit:
            prototypes, owned = client.shared
            source = pulled_gradient(task, prototypes, owned, lam)
            options = LocalOptions(scale=trainer.scale_of(state.round), step_gradient=source)
            model, opt_state = own
            result = train(trainer, key, client, model, opt_state=opt_state, options=options)
            sums = client_term(*class_sums(trainer, result.sent, client), average)
            return ClientVisit(result.params, result.loss, Term(sums), (result.params, result.opt_state))

        known = (state.prototypes, state.owned)
        passed = one_pass(trainer, cohort, visit, store=(state.clients, state.client_opt), shared=known)
        heard = trainer.heard(cohort, passed.loss)
        prototypes, owned = next_prototypes(state.prototypes, state.owned, passed.sums)
        scalars = passed.sums[2].sum() * (state.prototypes.shape[1] + 1)  # each prototype comes with its count
        info = round_info(trainer, passed, heard, nothing, sent_scalars=scalars, classes=owned.sum(dtype=jnp.int32))
        clients, client_opt = passed.store
        seen = take_note(state.seen, heard)
        return FedProtoState(state.round + 1, prototypes, owned, clients, client_opt, seen), info

    return Algorithm(init, round_, lambda state: Personal(state.clients, (), lambda row, *_: row))


def _check(task: Task) -> None:
    if task.features is None or task.example is None:
        raise ValueError(
            "task: expected one with features, the input of the last layer, and an example; got one without"
        )
    if task.num_classes < 2 or task.predictions is not None:
        raise ValueError("task: expected one class for each example with fedproto, got another kind of labels")


def pull(task: Task, params: Params, batch: Batch, key: Key | None, prototypes: Array, owned: Array) -> Array:
    """Compute the mean squared distance of features to prototypes, over a batch's real rows and all F features.

    Args:
      task: the task with features.
      params: one model.
      batch: the examples.
      key: of dropout, that of the loss.
      prototypes: ``[classes, F]``.
      owned: ``[classes]`` bool; rows of other classes cost 0.
    """
    features = _features(task, params, batch, key)
    counted = batch.mask & owned[batch.labels]
    squares = jnp.square(jnp.where(counted[:, None], features - prototypes[batch.labels], 0))
    return squares.sum() / (jnp.maximum(batch.mask.sum(), 1) * features.shape[1]).astype(features.dtype)


def pulled_gradient(task: Task, prototypes: Array, owned: Array, lam: float | Array) -> StepGradient:
    """Make the gradient of the loss plus ``lam`` times :func:`pull`; the reported loss is the task's alone."""

    def objective(params: Params, batches: tuple[Batch, ...], key: Key) -> Array:
        loss = task.loss(params, batches[0], key)
        cost = pull(task, params, batches[0], key, prototypes, owned)
        return loss + (jnp.asarray(lam, cost.dtype) * cost).astype(loss.dtype)

    def compute(params: Params, batches: tuple[Batch, ...], key: Key, carried: Any) -> tuple[Array, Params, Any]:
        loss, grads = jax.value_and_grad(task.loss)(params, batches[0], key)
        pulls = jax.grad(lambda own: pull(task, own, batches[0], key, prototypes, owned))(params)
        return loss, jax.tree.map(lambda g, p: g + jnp.asarray(lam, g.dtype) * p, grads, pulls), carried

    return StepGradient(compute, objective=objective)


def class_sums(trainer: Trainer, params: Params, client: Client) -> tuple[Array, Array]:
    """Sum a client's features by class, ``[classes, F]``, and count its examples, ``[classes]``, batch by batch."""
    task, size = trainer.task, trainer.batch_size
    if client.pool.labels.ndim != 1 or not jnp.issubdtype(client.pool.labels.dtype, jnp.integer):
        found = f"got {client.pool.labels.dtype} of shape {client.pool.labels.shape[1:]} each"
        raise ValueError(f"labels: expected one class for each example with fedproto, {found}")

    def add(step: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        rows = step * size + jnp.arange(size, dtype=jnp.int32)
        batch = take_batch(client.pool, client.start, rows, rows < client.count)
        features = jnp.where(batch.mask[:, None], _features(task, params, batch, None), 0)
        return sums[0].at[batch.labels].add(features), sums[1].at[batch.labels].add(batch.mask.astype(jnp.int32))

    prototypes = client.shared[0]
    start = jnp.zeros_like(prototypes), jnp.zeros(task.num_classes, jnp.int32)
    return jax.lax.fori_loop(0, -(-client.count // size), add, start)


def client_term(sums: Array, counts: Array, average: str) -> tuple[Array, Array, Array]:
    """Return what the server adds up of one client: weighted means ``[classes, F]``, weights, and owners ``[classes]``.

    Args:
      sums: ``[classes, F]``, sums of features.
      counts: ``[classes]`` int32, numbers of examples.
      average: ``"plain"`` weights every owner 1, ``"count"`` by its number of examples.
    """
    if average == "plain":
        sums, weights = sums / jnp.maximum(counts, 1)[:, None].astype(sums.dtype), (counts > 0).astype(jnp.int32)
    else:
        weights = counts
    return sums, weights, (counts > 0).astype(jnp.int32)


def next_prototypes(prototypes: Array, owned: Array, sums: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    """Divide the sums of :func:`client_term` over clients; a class of nobody keeps its prototype, if it has one."""
    total, weight, _ = sums
    mean = total / jnp.maximum(weight, 1)[:, None].astype(total.dtype)
    some = weight > 0
    return jnp.where(some[:, None], mean, prototypes), owned | some


def _features(task: Task, params: Params, batch: Batch, key: Key | None) -> Array:
    """Compute features ``[B, F]``; padding rows get zeros as inputs, since NaN there would reach the gradient."""
    mask = batch.mask.reshape(batch.mask.shape + (1,) * (batch.inputs.ndim - 1))
    assert task.features is not None  # checked by the factory
    return task.features(params, jnp.where(mask, batch.inputs, jnp.zeros((), batch.inputs.dtype)), key)
