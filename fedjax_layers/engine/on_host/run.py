"""A run on the host, whose rounds and parts of evaluations get only some clients' rows and examples."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from fedjax_layers.clients import Setting
from fedjax_layers.data import SPLITS
from fedjax_layers.engine.evaluation.interval_scores import Audience
from fedjax_layers.engine.intervals import Build, Inputs, bound, common_start, setting_of, without_examples
from fedjax_layers.engine.on_host import programs
from fedjax_layers.engine.on_host.examples import Examples, draw, ranges_of, side_by_side
from fedjax_layers.engine.on_host.programs import Frame, Those
from fedjax_layers.engine.on_host.rows import empty_rows, lies_on_host, put, rows_of, take, with_rows
from fedjax_layers.engine.placement.sharding import replicate
from fedjax_layers.engine.plan import Plan
from fedjax_layers.engine.sampling import Sampling
from fedjax_layers.ops import ClientAxis
from fedjax_layers.types import Pool, Ranges

_PART_BYTES = 2**26  # of rows and examples that are copied to the device at a time in an evaluation


class Part(NamedTuple):
    """Some clients in a pass over all of them.

    Attributes:
      ids: ``[n]`` int32; n is the same for all parts, so that the last part repeats some clients.
      fresh: ``[n]`` bool, False for clients that an earlier part had.
    """

    ids: np.ndarray
    fresh: np.ndarray


class HostRun:
    """What the rounds and evaluations of one run share.

    Args:
      build: the run's ``build``.
      plan: the run's plan, in which ``on_host`` says what stays there.
      inputs: the run's inputs.
    """

    def __init__(self, build: Build, plan: Plan, inputs: Inputs) -> None:
        source = inputs.device_data
        self.build, self.plan, self.hyper, self.key = build, plan, inputs.hyper, inputs.key
        self.examples = Examples(source, plan.axis)
        self.clients, self.largest = source.num_clients, source.largest[1:3]
        self.test_size = source.largest[-1]
        self.unseen = np.asarray(source.unseen, np.int32)
        self.inputs = without_examples(inputs)
        self.frame = Frame(self.clients, self.largest, setting_of(plan, source), inputs.sampling.scheme == "all")
        self.splits = SPLITS if "trained" in plan.evaluated_models else SPLITS[:1]
        self._known: Any = None  # the overview's sums once they no longer change

    def use(self, sampling: Sampling) -> None:
        """Draw cohorts by this rule from now on."""
        self.inputs = self.inputs._replace(sampling=replicate(sampling, self.plan.axis))
        self.frame = dataclasses.replace(self.frame, in_order=sampling.scheme == "all")

    def draw(self, t: int) -> tuple[Any, Any]:
        """Start to draw the cohort of round ``t``."""
        found: tuple[Any, Any] = draw(self.inputs, jnp.int32(t))
        return found

    def bring(self, drawn: tuple[Any, Any], t: int) -> Those:
        """Copy the examples of the drawn cohort of round ``t`` to the device."""
        ids, weight = map(np.asarray, drawn)
        pool, ranges = self.examples.bring(ids, t, self.splits, weight > 0)
        return self.those(ids, weight, pool, ranges)

    def those(self, ids: np.ndarray, weight: np.ndarray, pool: Pool, ranges: list[Ranges]) -> Those:
        """Put clients and their ranges together: train, and validation and test if they are given."""
        zero = np.zeros(len(ids), np.int32)
        scored = side_by_side(ranges[1:] or [ranges_of(zero, zero)] * 2)
        facts = jax.tree.map(jnp.asarray, (ids, weight, ranges[0], scored))
        ids, weight, train, scored = replicate(facts, self.plan.axis)
        return Those(ids, weight, train, scored, pool)  # type: ignore[arg-type]  # jit puts the arrays on the device

    def with_rows_of(self, state: Any, ids: np.ndarray) -> Any:
        """Return the state with only these clients' rows on the device; unchanged if it is on the device already."""
        return rows_to_device(state, ids, self.plan.axis)

    def keep(self, state: Any, after: Any, ids: np.ndarray, counted: np.ndarray) -> Any:
        """Return the state after a round; on the host, the rows of counted clients are written back to ``state``."""
        if not lies_on_host(state):
            return after
        put(rows_of(state), ids, rows_of(after), counted)
        return with_rows(after, rows_of(state))

    def parts(self, state: Any, splits: tuple[str, ...] = SPLITS) -> Iterator[Part]:
        """Split all clients into parts of one size, as large as allowed."""
        rows = sum(x.nbytes // max(len(x), 1) for x in rows_of(state)) if "state" in self.plan.on_host else 0
        bytes_each = rows + self.examples.bytes_each(splits)
        devices = self.plan.axis.num_devices
        number = max((self.plan.axis.width or 1) * devices, _PART_BYTES // max(bytes_each, 1) // devices * devices)
        return parts_of(self.clients, number)

    def overview(self, state: Any) -> Any:
        """Return the sums over all clients' rows that served models need; ``()`` where they need none."""
        if self._known is None:
            whole = parts_of(self.clients, self.clients)
            parts = self.parts(state, ()) if "state" in self.plan.on_host else whole
            total, wanted = overview_of(self.build, self.frame.setting, self.hyper, state, parts, self.plan.axis)
            if wanted:
                return total
            self._known = total  # sums that no row wants now are not wanted later either
        return self._known

    def audience(self, part: Part, t: int) -> Audience:
        """Copy the examples on which a part's clients are scored in round ``t`` to the device."""
        pool, ranges = self.examples.bring(part.ids, t, SPLITS[1:])
        facts = part.ids, side_by_side(ranges), part.fresh & ~np.isin(part.ids, self.unseen)
        ids, scored, counted = replicate(jax.tree.map(jnp.asarray, facts), self.plan.axis)
        return Audience(ids, scored, pool, counted)


def parts_of(clients: int, number: int) -> Iterator[Part]:
    """Split all clients into parts of ``number`` clients."""
    number = min(number, clients)
    for i in range(-(-clients // number)):
        first = min(i * number, clients - number)
        ids = np.arange(first, first + number, dtype=np.int32)
        yield Part(ids, ids >= i * number)


def rows_to_device(state: Any, ids: np.ndarray, axis: ClientAxis) -> Any:
    """Return the state with only the rows of clients ``ids [n]`` on the device; unchanged if it is there already."""
    if not lies_on_host(state):
        return state
    return with_rows(state, [on_device(x, axis) for x in take(rows_of(state), ids)])


def overview_of(
    build: Build, setting: Setting, hyper: Any, state: Any, parts: Iterable[Part], axis: ClientAxis
) -> tuple[Any, bool]:
    """Return the sums that served models need over all parts (zeros if unwanted), and whether any part wants them."""
    total, wanted = None, False
    for part in parts:
        which = jnp.asarray(part.ids), jnp.asarray(part.fresh)
        lacks, sums = programs.overview(build, setting, rows_to_device(state, part.ids, axis), hyper, *which)
        total = sums if total is None else jax.tree.map(jnp.add, total, sums)
        wanted = wanted or bool(lacks)
        if not jax.tree.leaves(sums):
            break
    return total if wanted else jax.tree.map(jnp.zeros_like, total), wanted


class Gathered:
    """Arrays ``[C, ...]`` by name, filled for some clients at a time."""

    def __init__(self, clients: int) -> None:
        self._clients = clients
        self.found: dict[Any, np.ndarray] = {}

    def add(self, ids: np.ndarray, some: dict[Any, Any]) -> None:
        """Fill in the arrays ``[n, ...]`` of clients ``ids [n]``."""
        for name, x in some.items():
            values = np.asarray(x)
            if name not in self.found:
                self.found[name] = np.empty((self._clients, *values.shape[1:]), values.dtype)
            self.found[name][ids] = values


def on_device(rows: np.ndarray, axis: ClientAxis) -> Any:
    """Put rows ``[n, ...]`` on the devices, spread over them if n is a multiple of their number, as in a state."""
    if axis.mesh is None:
        return jax.device_put(rows, may_alias=True)
    spread = len(rows) % axis.num_devices == 0
    return jax.device_put(rows, NamedSharding(axis.mesh, P(axis.name) if spread else P()))


def first_state(build: Build, plan: Plan, inputs: Inputs, store: str | os.PathLike[str] | None = None) -> Any:
    """Make the state before the first round with the clients' rows on the host, never all on the device at once.

    Raises:
      StorageError: ``store``, the folder for these rows, is full or cannot be written.
    """
    params = common_start(plan.task, inputs)
    given = inputs.hyper, inputs.key, params
    setting = setting_of(plan, inputs.device_data)
    shapes = jax.eval_shape(lambda *x: rows_of(bound(build, setting, x[0]).init(x[1], x[2])), *given)
    rows = empty_rows(shapes, store)
    each = sum(math.prod(x.shape[1:]) * x.dtype.itemsize for x in shapes)
    clients = inputs.device_data.num_clients
    number = min(clients, max(1, _PART_BYTES // max(each, 1)))
    rest = None
    for part in parts_of(clients, number):
        rest, some = programs.first_rows(build, plan, setting, number, *given, jnp.int32(part.ids[0]))
        put(rows, part.ids, some, part.fresh)
    return with_rows(rest, rows)


def moved_to_host(state: Any, store: str | os.PathLike[str] | None = None) -> Any:
    """Copy the clients' rows of a state to the host."""
    rows = empty_rows(rows_of(state), store)
    for new, old in zip(rows, rows_of(state), strict=True):
        new[...] = np.asarray(old)
    return with_rows(state, rows)
