"""One compiled program for many runs: it computes one run after another, or several at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from fedjax_layers.engine.intervals import Build, Inputs, algorithm_of, finish_interval, run_interval, start
from fedjax_layers.engine.memory.program import planned_bytes, refuse_too_large_rounds
from fedjax_layers.engine.placement.sharding import replicate
from fedjax_layers.engine.plan import Plan
from fedjax_layers.engine.programs.build import build_program
from fedjax_layers.ops import ClientAxis, map_clients
from fedjax_layers.types import Array

Log = dict[str, np.ndarray]


class Program:
    """One run after another, by the very program of a single run: the same numbers to the last bit.

    The methods of :class:`Vectorised` do the same for S runs in one call; here S is 1. All states of a call have the
    same round.

    Attributes:
      size: S, runs per call.
      build: of each run.
      plan: of each run.
      compiled: the programs of an interval compiled so far, by the shapes of their arguments.
    """

    size = 1

    def __init__(self, build: Build, plan: Plan) -> None:
        self.build, self.plan = build, plan
        self.compiled: dict[Any, Any] = {}

    def put(self, runs: Sequence[Inputs]) -> Any:
        """What S runs are made of, on the devices; their data are the same arrays."""
        (one,) = runs
        return one

    def start(self, stack: Any) -> Any:
        """Their states before the first round."""
        return start(self.build, self.plan, stack)

    def planned_bytes(self, stack: Any, state: Any) -> int:
        """Bytes that an interval takes on one device, as the compiler tells; it is compiled here, and not run."""
        return planned_bytes(self._compiled(stack, state)) or 0

    def interval(self, stack: Any, state: Any, first: int, count: int) -> tuple[Any, list[Log], list[Log]]:
        """The states after ``count`` rounds, and per run its log and scores; the states given are used up."""
        compiled = self._compiled(stack, state)
        state, log, scores = compiled(state, stack, jnp.int32(first), jnp.int32(count), jnp.int32(first + count))
        log, scores = jax.device_get((log, scores))
        return state, [log], [scores]

    def finish(self, stack: Any, state: Any, done: int) -> list[Log] | None:
        """Per run the scores after the last local phase; ``None`` for an algorithm without one."""
        if algorithm_of(self.build, self.plan, stack).finish is None:
            return None
        return [jax.device_get(finish_interval(self.build, self.plan, state, stack, jnp.int32(done)))]

    def split(self, state: Any) -> list[Any]:
        """Copies of the states, one per run; they outlive what becomes of the given ones."""
        return [jax.tree.map(jnp.copy, state)]  # of the same layout over the devices, and on them

    def join(self, states: Sequence[Any]) -> Any:
        """The inverse of :meth:`split`."""
        return jax.tree.map(jnp.copy, states[0])

    def _compiled(self, stack: Any, state: Any) -> Any:
        """The program of an interval for arguments of these shapes, compiled at their first coming."""
        leaves, tree = jax.tree.flatten((state, stack))
        key = (tree, tuple((x.shape, x.dtype, x.sharding) for x in leaves))
        if key not in self.compiled:
            self.compiled[key] = self._compile(stack, state)
        return self.compiled[key]

    def _compile(self, stack: Any, state: Any) -> Any:
        zero = jnp.int32(0)
        refuse_too_large_rounds(self.build, self.plan, state, stack)
        return run_interval.compiled(self.build, self.plan, state, stack, zero, zero, zero)


class _Stack(NamedTuple):
    rows: Any  # leaves [S, ...]
    shared: Any


class Vectorised(Program):
    """Several runs at once along an axis of their own, clients inside each as ``build`` and ``plan`` have them.

    Args:
      build: as of a single run, its clients on no mesh.
      plan: likewise.
      axis: width and devices of the axis of runs, the same knob as that of clients.
      same_seed: whether the runs of one call have the same key and start. They then see the same batches, which are
        drawn and read once, and one matrix product serves them all.
    """

    def __init__(self, build: Build, plan: Plan, axis: ClientAxis, *, same_seed: bool = False) -> None:
        super().__init__(build, plan)
        self.axis, self.same_seed = axis, same_seed
        self.size = (axis.width or 1) * axis.num_devices
        self._own: tuple[Any, Any] = (None, None)  # the last data, as given and on all devices of the axis

    def put(self, runs: Sequence[Inputs]) -> _Stack:
        """See :class:`Program`."""
        first = runs[0]
        same_start = self.same_seed or all(run.start is first.start for run in runs)
        rows = [(run.hyper, None if self.same_seed else run.key, None if same_start else run.start) for run in runs]
        stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *rows)
        if self._own[0] is not first.device_data:
            self._own = first.device_data, replicate(first.device_data, self.axis)
        common = (first.key if self.same_seed else None, first.start if same_start else None)
        few = replicate((first.sampling, first.weights, *common), self.axis)
        return _Stack(self._spread(stacked), (self._own[1], *few))

    def _spread(self, rows: Any) -> Any:
        mesh = self.axis.mesh
        return rows if mesh is None else jax.device_put(rows, NamedSharding(mesh, P(self.axis.name)))

    def start(self, stack: _Stack) -> Any:
        """See :class:`Program`."""
        return self._spread(_start_many(self.build, self.plan, self.axis, stack))

    def _compile(self, stack: _Stack, state: Any) -> Any:
        return _interval_many.compiled(self.build, self.plan, self.axis, state, stack, *self._rounds(0, 0))

    def _rounds(self, first: int, count: int) -> tuple[Array, Array]:
        found: tuple[Array, Array] = replicate((jnp.int32(first), jnp.int32(count)), self.axis)
        return found

    def interval(self, stack: _Stack, state: Any, first: int, count: int) -> tuple[Any, list[Log], list[Log]]:
        """See :class:`Program`."""
        state, log, scores = self._compiled(stack, state)(state, stack, *self._rounds(first, count))
        return state, _rows(log, self.size), _rows(scores, self.size)

    def finish(self, stack: _Stack, state: Any, done: int) -> list[Log] | None:
        """See :class:`Program`."""
        one = _inputs_of(jax.tree.map(lambda x: x[0], jax.device_get(stack.rows)), stack.shared)
        if algorithm_of(self.build, self.plan, one).finish is None:
            return None
        return _rows(_finish_many(self.build, self.plan, self.axis, state, stack, jnp.int32(done)), self.size)

    def split(self, state: Any) -> list[Any]:
        """See :class:`Program`."""
        # Through the host: picking a run out of arrays spread over devices would be an exchange between these.
        return _rows(state, self.size)

    def join(self, states: Sequence[Any]) -> Any:
        """See :class:`Program`."""
        return self._spread(jax.tree.map(lambda *xs: jnp.asarray(np.stack(xs)), *states))


def _inputs_of(row: Any, shared: Any) -> Inputs:
    hyper, own_key, own_start = row
    device_data, sampling, weights, key, start_ = shared
    own = (key if own_key is None else own_key, start_ if own_start is None else own_start)
    return Inputs(hyper, device_data, sampling, weights, *own)


@build_program(static=(1, 2))
def _start_many(build: Build, plan: Plan, axis: ClientAxis, stack: _Stack) -> Any:
    return map_clients(
        lambda row, shared: start(build, plan, _inputs_of(row, shared)), stack.rows, shared=(stack.shared,), axis=axis
    )


@build_program(static=(1, 2), donated=(3,))
def _interval_many(
    build: Build, plan: Plan, axis: ClientAxis, state: Any, stack: _Stack, first: Array, count: Array
) -> Any:
    def one(state: Any, row: Any, shared: Any, first: Array, count: Array) -> Any:
        return run_interval(build, plan, state, _inputs_of(row, shared), first, count, first + count)

    return map_clients(one, state, stack.rows, shared=(stack.shared, first, count), axis=axis)


@build_program(static=(1, 2))
def _finish_many(build: Build, plan: Plan, axis: ClientAxis, state: Any, stack: _Stack, done: Array) -> Any:
    def one(state: Any, row: Any, shared: Any, done: Array) -> Any:
        return finish_interval(build, plan, state, _inputs_of(row, shared), done)

    return map_clients(one, state, stack.rows, shared=(stack.shared, done), axis=axis)


def _rows(tree: Any, size: int) -> list[Any]:
    host = jax.device_get(tree)
    return [jax.tree.map(lambda x: x[i], host) for i in range(size)]  # noqa: B023  (used at once)
