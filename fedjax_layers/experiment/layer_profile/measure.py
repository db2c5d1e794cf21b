"""The numbers of a layer profile, computed by one jitted function, one client at a time."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fedjax_layers import ops
from fedjax_layers.models.representations import layer_outputs
from fedjax_layers.ops.layer_metrics.similarity import rotated
from fedjax_layers.types import Array, Batch, Key, Params, Task

ONE = ops.ClientAxis(width=1)  # a convolution with weights of many clients at once is slow on a CPU


class Asked(NamedTuple):
    """What is computed; static."""

    metrics: tuple[str, ...]
    stacked: bool
    samples: int
    iterations: int


@functools.partial(jax.jit, static_argnums=(0, 1))
def measure(task: Task, asked: Asked, models: Params, batches: Batch, probe: Array, key: Key) -> dict[str, Array]:
    """Compute the metrics.

    Args:
      task: the task.
      asked: what is computed, and whether the models are stacked.
      models: one model, or one for each client ``[K, ...]``.
      batches: the examples of each client ``[K, n, ...]``.
      probe: ``[m, ...]``, the inputs on which representations are compared.
      key: of the random vectors; each client's is made from its number.

    Returns:
      ``[K, L]`` or ``[L]`` by name. A client without examples has NaN where its own examples are needed, and does not
      count where clients are compared by their gradients.
    """
    found: dict[str, Array] = {}
    if any(name in _OF_EXAMPLES for name in asked.metrics):
        found |= _by_examples(task, asked, models, batches, key)
    if "weight_divergence" in asked.metrics:
        found["weight_divergence"] = ops.weight_divergence(models, task.layers)
    if any(name in _OF_PAIRS for name in asked.metrics):
        compute = lambda model: [rotated(x) for x in layer_outputs(task, model, probe)]  # noqa: E731
        seen = ops.map_clients(compute, models, axis=ONE)
        for name in asked.metrics:
            if name in _OF_PAIRS:
                found[name] = jnp.stack([_with_others(_OF_PAIRS[name], x) for x in seen], axis=1)
    return found


_OF_EXAMPLES = ("gradient_variance", "signal_to_noise", "update_cosine", "hessian_trace", "top_eigenvalue")
_BETWEEN = ("signal_to_noise", "update_cosine")
_OF_PAIRS = {"linear_cka": ops.linear_cka, "procrustes": ops.procrustes}


def _by_examples(task: Task, asked: Asked, models: Params, batches: Batch, key: Key) -> dict[str, Array]:
    """Compute the metrics of each client's loss on its own examples."""
    num = batches.mask.shape[0]

    def of_client(model: Params, batch: Batch, client: Array) -> tuple[dict[str, Array], Params]:
        loss = lambda params: task.loss(_without_statistics(task, params), batch, None)  # noqa: E731
        own, there = jax.random.fold_in(key, client), batch.mask.any()
        found = {}
        if "hessian_trace" in asked.metrics:
            found["hessian_trace"] = ops.hessian_trace(loss, model, task.layers, own, samples=asked.samples)
        if "top_eigenvalue" in asked.metrics:
            iterations = asked.iterations
            found["top_eigenvalue"] = ops.top_eigenvalue(loss, model, task.layers, own, iterations=iterations)
        grads = jax.grad(loss)(model)
        if "gradient_variance" in asked.metrics:
            found["gradient_variance"] = ops.gradient_variance(grads, task.layers)
        kept = grads if any(name in _BETWEEN for name in asked.metrics) else ()
        return {name: jnp.where(there, x, jnp.nan) for name, x in found.items()}, kept

    ids = jnp.arange(num, dtype=jnp.int32)
    if asked.stacked:
        found, grads = ops.map_clients(of_client, models, batches, ids, axis=ONE)
    else:
        found, grads = ops.map_clients(functools.partial(of_client, models), batches, ids, axis=ONE)
    there = batches.mask.any(1).astype(jnp.float32)
    if "signal_to_noise" in asked.metrics:
        found["signal_to_noise"] = ops.signal_to_noise(grads, task.layers, there)
    if "update_cosine" in asked.metrics:
        found["update_cosine"] = ops.update_cosine(grads, task.layers, there)
    return found


def _without_statistics(task: Task, params: Params) -> Params:
    """Hold the running statistics of norms fixed, which no gradient moves."""
    if task.batch_norm is None:
        return params
    leaves = zip(jax.tree.leaves(params), task.batch_norm.statistics, strict=True)
    return jax.tree.unflatten(task.layers.treedef, [jax.lax.stop_gradient(x) if fixed else x for x, fixed in leaves])


def _with_others(compare: Any, seen: Array) -> Array:
    """Return each client's mean comparison with all other clients ``[K]``; NaN for a single client."""
    num = seen.shape[0]
    table = jax.lax.map(lambda one: jax.vmap(lambda other: compare(one, other))(seen), seen)
    others = jnp.where(jnp.eye(num, dtype=bool), 0, table).sum(1)
    return others / (num - 1) if num > 1 else jnp.full(1, jnp.nan, others.dtype)
