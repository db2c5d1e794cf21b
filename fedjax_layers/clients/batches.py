"""The examples that a client sees in each step: shuffled orders, and batches cut from them."""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp

from fedjax_layers.types import Array, Batch, Key, Pool


class Schedule(Protocol):
    """The part of a :class:`fedjax_layers.clients.Trainer` that decides its batches, under the same names."""

    @property
    def max_examples(self) -> int: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102
    @property
    def goes_by_steps(self) -> bool: ...  # noqa: D102
    @property
    def uniform(self) -> bool: ...  # noqa: D102
    @property
    def orders(self) -> int: ...  # noqa: D102
    @property
    def smallest_batch(self) -> int: ...  # noqa: D102


def batch_order(key: Key, count: Array, trainer: Schedule) -> Array:
    """Draw shuffled positions ``[orders, M]`` within a client's examples; the first ``count`` of each row are valid.

    ``M`` is ``max_examples``. This is one sort of random numbers with the invalid positions last: there is no loop over
    clients, and no shape depends on ``count``.
    """
    shape = (trainer.orders, trainer.max_examples)
    noise = jax.random.bits(key, shape, jnp.uint32)
    if not trainer.uniform:
        noise = jnp.where(jnp.arange(trainer.max_examples) < count, noise >> 1, jnp.uint32(2**32 - 1))
    return jnp.argsort(noise, axis=-1).astype(jnp.int32)


def batches_per_epoch(count: int | Array, trainer: Schedule) -> Any:
    """Count an epoch's batches: the full ones, and the remainder if it has ``smallest_batch`` examples or more.

    A client with fewer examples than that in all still has one batch.
    """
    full, rest = count // trainer.batch_size, count % trainer.batch_size
    return full + 1 * ((rest >= trainer.smallest_batch) | ((full == 0) & (rest > 0)))


def batch_rows(order: Array, step: Array, count: Array, trainer: Schedule) -> tuple[Array, Array]:
    """Return the positions ``[B]`` of one step's batch within the client's examples, and which of them are real."""
    slots = jnp.arange(trainer.batch_size, dtype=jnp.int32)
    safe = jnp.maximum(count, 1)
    if trainer.goes_by_steps:
        within = jnp.minimum(trainer.batch_size, safe)
        return order[0, (step * within + slots) % safe], slots < jnp.minimum(trainer.batch_size, count)
    if trainer.uniform and trainer.max_examples % trainer.batch_size == 0:  # every batch is full and needs no mask
        full = trainer.max_examples // trainer.batch_size
        place = (step % full) * trainer.batch_size + slots
        return order[step // full, place], jnp.ones(trainer.batch_size, bool)
    per_epoch = jnp.maximum(batches_per_epoch(count, trainer), 1)
    place = (step % per_epoch) * trainer.batch_size + slots
    return order[step // per_epoch, jnp.minimum(place, trainer.max_examples - 1)], place < count


def take_batch(pool: Pool, start: Array, rows: Array, mask: Array) -> Batch:
    """Gather a client's batch from the pool; padding rows repeat the client's first example."""
    index = start + jnp.where(mask, rows, 0)
    return Batch(
        pool.inputs.at[index].get(mode="promise_in_bounds"),
        pool.labels.at[index].get(mode="promise_in_bounds"),
        mask,
    )
