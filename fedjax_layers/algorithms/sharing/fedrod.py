"""FedRoD (Chen and Chao 2022): a generic model on a balanced loss, and a head of each client's own beside its head."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from annotated_types import Ge
from flax import struct

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.novel import seen_or
from fedjax_layers.algorithms.sharing.round import init_sharing, round_info, server_phase, sharing_pass
from fedjax_layers.algorithms.sharing.state import Own, SharingState
from fedjax_layers.clients import Client, ClientVisit, LocalOptions, StepGradient, Trainer, refuse_own_steps, train
from fedjax_layers.clients.stacked import where_rows
from fedjax_layers.ops import Term, fill, layer_map, part
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import (
    Algorithm,
    Array,
    Batch,
    Cohort,
    Key,
    LayerMap,
    Params,
    Personal,
    Pool,
    RoundInfo,
    RoundMemory,
    Task,
)

_ABSENT = -1e9  # logarithm of the count 0, finite so that its product with a share of 0 is no NaN


@struct.dataclass
class Heads:
    """The params that a client trains: the generic model ``w``, and its own ``head``, ``None`` in all other layers."""

    w: Params
    head: Params


@factory()
def fedrod(
    trainer: Trainer,
    *,
    class_prior: Annotated[Traced[float], Ge(0)] = 1.0,
    head_start: Literal["generic", "zero"] = "generic",
    server_optimizer: ServerOptimizer = None,
) -> Algorithm:
    """Train a generic model by FedAvg on a balanced loss, and each client's own head beside its head on the plain loss.

    With body theta, generic head psi and own head phi_c, a local step takes one batch and does two things at once:
    ``(theta_c, psi_c) <- (theta_c, psi_c) - lr * grad b_c(theta_c, psi_c)``, where b_c is the loss at the logits
    ``z + class_prior * log n_c`` with the numbers n_c of the client's training examples in each class; and
    ``phi_c <- phi_c - lr * grad f_c`` at the logits ``z + phi_c(features)``, by phi_c alone. Both see the features and
    z from before the step, as in the authors' code. The clients' theta_c and psi_c are averaged; phi_c never leaves its
    client.

    Since a head is linear in its parameters, ``psi(features) + phi_c(features)`` is one head with the parameters
    ``psi + phi_c``: the personal model is an ordinary model of the task. The ``trained`` scores and the loss are of it,
    with the client's own theta_c and psi_c; the ``global`` scores are of the generic model. An absent client's phi_c
    stays, under the new theta and psi. A client that never took part gets the generic model, and would train a copy of
    its head. The paper's variant in which a hypernetwork makes phi_c is not offered.

    Args:
      trainer: how each client trains; the generic model and the own head have an optimiser state each, fresh or kept.
      class_prior: weight of the logarithms of the client's class counts in the generic loss; the paper's is 1. 0 is the
        plain loss, so that the generic model is FedAvg's. May be traced. A class of which a client has no example is
        left out of its generic loss, unless the weight is 0.
      head_start: what phi_c starts from: ``"generic"``, a copy of the generic head's start, as in the authors' code, or
        ``"zero"``, with which the personal model starts as the generic one.
      server_optimizer: of theta and psi, as in :func:`fedavg`.

    Returns:
      The algorithm; it offers personal models and the global one, which is the generic one.

    Raises:
      ValueError: a last layer that is no matrix with or without a bias, a model with batch normalisation, or labels
        that are not one class for each example.

    Source: Chen and Chao, arXiv 2107.00778, with the balanced softmax of Ren et al., arXiv 2007.10740.
    """
    task = trainer.task
    refuse_own_steps(trainer, "fedrod")
    _check_head(task)
    layers = task.layers
    everything = np.ones(layers.num_layers, bool)
    last = np.arange(layers.num_layers) == layers.num_layers - 1
    both = _train_both(trainer, last)

    def init(key: Key, params: Params) -> SharingState:
        del key
        sharing = init_sharing(trainer, params, personal=last, server_optimizer=server_optimizer)
        heads = sharing.clients
        if head_start == "zero":
            heads = jax.tree.map(jnp.zeros_like, heads)
        start = Heads(params, part(params, layers, last))
        return dataclasses.replace(sharing, clients=heads, client_opt=both.init_optimizer(start))

    def round_(key: Key, state: SharingState, cohort: Cohort) -> tuple[SharingState, RoundInfo]:
        scale = trainer.scale_of(state.round)

        def visit(client: Client, own: Own) -> ClientVisit:
            prior = class_prior * log_counts(client, client.pool, trainer.max_examples, task.num_classes)
            options = LocalOptions(scale=scale, step_gradient=both_gradients(task, prior))
            start = Heads(client.shared, own.model)
            result = train(both, key, client, start, opt_state=own.opt_state, options=options)
            trained = with_head(layers, result.params.w, result.params.head)
            row = Own(result.params.head, result.opt_state, ())
            return ClientVisit(trained, result.loss, Term(result.sent.w, client.share), row)

        phase = sharing_pass(trainer, key, state, cohort, visit)
        new = server_phase(trainer, key, state, phase, everything, server_optimizer)
        return new, round_info(trainer, phase.passed, phase.cohort, everything)

    def personal(state: SharingState) -> Personal:
        def build(row: Any, w: Params, _: Array) -> Params:
            head, seen = row
            return seen_or(seen, with_head(layers, w, head), w)

        return Personal((state.clients, state.seen), state.server, build)

    def welcome(state: SharingState, shared: Any, ids: Array) -> SharingState:
        del shared, ids
        head = jax.tree.map(lambda x: x[None], part(state.server, layers, last))
        if head_start == "zero":
            head = jax.tree.map(jnp.zeros_like, head)
        assert state.seen is not None  # clients keep heads
        return dataclasses.replace(state, clients=where_rows(state.seen, state.clients, head))

    memory = RoundMemory(visit=4)
    return Algorithm(init, round_, personal, lambda state: state.server, welcome=welcome, memory=memory)


def with_head(layers: LayerMap, w: Params, head: Params) -> Params:
    """Add a head, ``None`` in other layers, to the last layer of a model: its logits are then the sum of both."""
    flags = np.arange(layers.num_layers) == layers.num_layers - 1
    return fill(jax.tree.map(jnp.add, part(w, layers, flags), head), w)


def log_counts(client: Client, pool: Pool, most: int, num_classes: int) -> Array:
    """Return the logarithms of a client's numbers of training examples by class, ``[num_classes]``.

    Args:
      client: the client, with its range of the pool.
      pool: the examples.
      most: a bound on their number.
      num_classes: the number of classes.

    Raises:
      ValueError: the labels are not one class for each example.
    """
    if pool.labels.ndim != 1 or not jnp.issubdtype(pool.labels.dtype, jnp.integer):
        found = f"got {pool.labels.dtype} of shape {pool.labels.shape[1:]} each"
        raise ValueError(f"labels: expected one class for each example with fedrod, {found}")
    places = jnp.arange(most, dtype=jnp.int32)
    labels = jnp.take(pool.labels, client.start + places, mode="clip")
    counts = jnp.zeros(num_classes).at[labels].add((places < client.count).astype(float), mode="drop")
    return jnp.where(counts > 0, jnp.log(jnp.maximum(counts, 1)), _ABSENT)


def balanced_loss(task: Task, prior: Array, params: Params, batch: Batch, key: Key | None) -> Array:
    """Compute the mean loss of a batch's real rows with ``prior [num_classes]`` added to the logits."""
    inputs, labels = (_zero_outside(batch.mask, x) for x in (batch.inputs, batch.labels))
    outputs = task.apply(params, inputs, key)
    values = task.losses(outputs + prior.astype(outputs.dtype)[None], labels)
    return jnp.where(batch.mask, values, 0).sum() / jnp.maximum(batch.mask.sum(), 1).astype(values.dtype)


def both_gradients(task: Task, prior: Array) -> StepGradient:
    """Make the gradients of :class:`Heads`: of the balanced loss by w, and of the plain loss by the own head alone.

    Args:
      task: the task; the reported loss is the plain one.
      prior: ``[num_classes]``, which the balanced loss adds to the logits.
    """

    def compute(params: Heads, batches: tuple[Batch, ...], key: Key, carried: Any) -> tuple[Array, Heads, Any]:
        by_w = jax.grad(lambda w: balanced_loss(task, prior, w, batches[0], key))(params.w)

        def plain(head: Params) -> Array:
            return task.loss(with_head(task.layers, params.w, head), batches[0], key)

        loss, by_head = jax.value_and_grad(plain)(params.head)
        return loss, Heads(by_w, by_head), carried

    return StepGradient(compute)


def _zero_outside(mask: Array, x: Array) -> Array:
    """Put zeros into padding rows, whose values must reach no gradient."""
    return jnp.where(mask.reshape(mask.shape + (1,) * (x.ndim - 1)), x, jnp.zeros((), x.dtype))


def _check_head(task: Task) -> None:
    layers, classes = task.layers, task.num_classes
    own = zip(layers.leaf_layers, layers.leaf_shapes, strict=True)
    shapes = sorted((shape for layer, shape in own if layer == layers.num_layers - 1), key=len)
    if [len(shape) for shape in shapes] not in ([2], [1, 2]) or any(classes not in shape for shape in shapes):
        expected = f"a last layer of one matrix, with or without a bias, for {classes} classes"
        raise ValueError(f"model: expected {expected}, got {layers.names[-1]} with {shapes}")


def _train_both(trainer: Trainer, last: np.ndarray) -> Trainer:
    """Make the trainer of :class:`Heads`: its layers are the model and the head, with an optimiser each."""
    shapes = jax.eval_shape(trainer.task.init, jax.random.key(0))
    layers = layer_map(Heads(shapes, part(shapes, trainer.task.layers, last)), order=("w", "head"))
    parts = {"model": trainer.optimizer, "own": trainer.optimizer}
    optimizer = optax.partition(parts, Heads("model", "own"), mask_compatible_extra_args=True)
    return dataclasses.replace(trainer, task=trainer.task._replace(layers=layers), optimizer=optimizer)
