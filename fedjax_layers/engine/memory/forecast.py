"""A forecast of a run's memory from shapes alone, and an error in one line where it does not fit."""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from fedjax_layers.data import ClientData
from fedjax_layers.engine.evaluation.evaluate import SPLITS, scorer_of
from fedjax_layers.host_memory import rounded_down, spoken
from fedjax_layers.ops.metrics.classes import BY_CLASS
from fedjax_layers.types import Algorithm, Task
from fedjax_layers.types.round_memory import RoundBytes, tree_bytes

PROGRAMS = 400_000_000  # least number of bytes that compiling takes on a CPU
_BYTES_PER_CLIENT = 24  # for the ranges of three splits
_BYTES_PER_ID = 8
_BROUGHT = 1.5  # copies on each device of a row that is fetched from another device or the host, and sent back
_EVALUATIONS_HELD = 3  # the last one, each client's best so far, and one in transfer


class Forecast(NamedTuple):
    """Bytes in one memory: an accelerator's, or the host's, which all CPU devices share.

    Attributes:
      clients: C, the number of clients.
      slots: K, the number of slots of a cohort.
      data: bytes of the examples and the clients' ranges.
      held: the part of these that is in memory already.
      store: bytes of the algorithm's state.
      per_client: bytes of the state for each client.
      width: number of clients computed at once on a device.
      devices: number of devices that share this memory.
      round: what a round holds in addition to the state.
      evaluation: bytes of the scores of the evaluations that are held at a time.
      programs: bytes of compiled programs.
      model: bytes of one model.
      brought: bytes for each slot of a cohort that are copied from the host for its round, and back.
    """

    clients: int
    slots: int
    data: int
    held: int
    store: int
    per_client: int
    width: int
    devices: int
    round: RoundBytes
    evaluation: int
    programs: int
    model: int
    brought: int = 0

    @property
    def visits(self) -> int:
        """The bytes of all clients that are computed at once."""
        return self.width * self.devices * self.round.visit

    @property
    def sums(self) -> int:
        """The bytes that the server holds beside the state, on every device."""
        return self.devices * self.round.server

    @property
    def stacked(self) -> int:
        """The bytes that a round, or the evaluation after it, holds for all clients at once."""
        in_round = self.round.total(self.width, self.devices, self.slots, self.clients)
        return max(in_round, self.round.served * self.clients) - self.visits - self.sums

    @property
    def total(self) -> int:
        """The sum of all bytes."""
        return self._kept + self._passing

    @property
    def least(self) -> int:
        """A lower bound on the bytes: no algorithm declares more than twice what the compiler finds for its rounds."""
        return self._kept + self._passing // 2

    @property
    def _kept(self) -> int:
        return self.data + self.store + self.evaluation + self.programs + self.slots * self.brought

    @property
    def _passing(self) -> int:
        return self.visits + self.sums + self.stacked

    def of_clients(self, number: int) -> Forecast:
        """Forecast a run of ``number`` clients, computed one at a time."""
        share = number / self.clients
        return self._replace(
            clients=number,
            slots=min(self.slots, number),
            data=math.ceil(self.data * share),
            evaluation=math.ceil(self.evaluation * share),
            store=self.store - self.per_client * (self.clients - number),
            width=1,
        )


class Place(NamedTuple):
    """The devices on which a run is computed.

    Attributes:
      devices: number of devices over which clients are spread.
      on_cpu: whether all of them share the host's memory.
    """

    devices: int
    on_cpu: bool


def forecast(
    task: Task,
    phases: Sequence[ClientData],
    algorithm: Algorithm,
    place: Place,
    *,
    width: int | None,
    slots: int,
    batch_size: int,
    optimizer: optax.GradientTransformation,
    evaluated_models: Sequence[str],
    loaded: bool,
    on_host: Sequence[str] = (),
    stored: bool = False,
) -> Forecast:
    """Forecast the memory of a run.

    Args:
      task: the task with the model.
      phases: the clients' data, of which only shapes and sizes are read.
      algorithm: the algorithm, of which the state's shapes and ``memory`` are read.
      place: the devices.
      width: number of clients computed at once on a device; ``None`` means all.
      slots: K, the number of slots of a cohort.
      batch_size: number of examples of a local step.
      optimizer: the clients' optimiser.
      evaluated_models: the models that evaluations score.
      loaded: whether the data are in the host's memory already.
      on_host: what stays on the host: ``"data"``, ``"state"``, both or none.
      stored: whether a state on the host is in files.
    """
    key = jax.random.key(0)
    params = jax.eval_shape(task.init, key)
    own, shared = state_bytes(jax.eval_shape(algorithm.init, key, params))
    clients, model = phases[0].num_clients, sum(task.layers.bytes)
    share = -(-slots // place.devices)
    each, data = own // clients, data_bytes(phases, on_host=place.on_cpu)
    brought = 2 * each if "state" in on_host else 0  # rows on their way to the device and back
    if "state" in on_host and (stored or not place.on_cpu):
        own = 0
    if "data" in on_host:  # examples of this round and the next
        brought += 2 * _largest_clients(phases, slots)
        data = data if place.on_cpu else 0
    kept = tree_bytes(jax.eval_shape(optimizer.init, params))
    of_round = algorithm.memory.in_bytes(model, kept, batch_bytes(phases[0], batch_size))
    if not place.on_cpu:  # each device has its share of what is stacked
        of_round = of_round._replace(**{f: getattr(of_round, f) // place.devices for f in ("slot", "client", "served")})
    if place.devices > 1 and slots < clients and not of_round.slot and "state" not in on_host:
        copies = _BROUGHT * (place.devices if place.on_cpu else 1)  # the cohort's rows may lie on any device
        of_round = of_round._replace(slot=round(copies * each))
    return Forecast(
        clients=clients,
        slots=slots,
        data=data,
        held=data if loaded and place.on_cpu and len(phases) == 1 else 0,
        store=own + shared * place.devices if place.on_cpu else own // place.devices + shared,
        per_client=each if own else 0,
        width=share if width is None else min(width, share),
        devices=min(place.devices, slots) if place.on_cpu else 1,
        round=of_round if "served" in evaluated_models else of_round._replace(served=0),
        evaluation=evaluation_bytes(task, clients, evaluated_models),
        programs=PROGRAMS if place.on_cpu else 0,
        model=model,
        brought=brought,
    )


def _largest_clients(phases: Sequence[ClientData], number: int) -> int:
    """Return the mean bytes of the examples of the ``number`` largest clients."""
    rows = max(int(np.sort(sum(phase.sizes.values()))[-number:].sum()) for phase in phases)
    one = (phases[0].inputs[:1], phases[0].labels[:1])
    return -(-rows * sum(map(_stored, one)) // number)


def data_bytes(phases: Sequence[ClientData], *, on_host: bool) -> int:
    """Return the bytes of the examples of all phases, shared ones counted once, and with their ids if on the host."""
    pools = {(id(phase.inputs), id(phase.labels)): phase for phase in phases}.values()
    per_example = _BYTES_PER_ID if on_host else 0
    return sum(
        _stored(phase.inputs) + _stored(phase.labels) + per_example * len(phase.inputs) for phase in pools
    ) + sum(_BYTES_PER_CLIENT * phase.num_clients for phase in phases)


def state_bytes(state: Any) -> tuple[int, int]:
    """Return the bytes of a state's per-client fields, and of its other fields, from their shapes."""
    if not dataclasses.is_dataclass(state):
        return 0, tree_bytes(state)
    own = shared = 0
    for field in dataclasses.fields(state):
        some, rest = state_bytes(getattr(state, field.name))
        own, shared = (own + some + rest, shared) if field.metadata.get("per_client") else (own + some, shared + rest)
    return own, shared


def evaluation_bytes(task: Task, clients: int, evaluated_models: Sequence[str]) -> int:
    """Return the bytes of the clients' scores on validation and test, by each evaluated model, in the held evaluations.

    Scores by class are left out, since large runs keep none.
    """
    names = len(set(scorer_of(task).names) - set(BY_CLASS)) + len(task.metrics)
    models = ("trained" in evaluated_models) + 2 * ("served" in evaluated_models)
    return _EVALUATIONS_HELD * 4 * clients * (1 + models * len(SPLITS) * names)


def batch_bytes(clients: ClientData, batch_size: int) -> int:
    """Return the bytes of a batch of inputs in float32."""
    return batch_size * math.prod(clients.inputs.shape[1:]) * 4


def fitting(forecast: Forecast, free: int | None) -> str | None:
    """Advise on a run that cannot fit into ``free`` bytes, as ``argument: expected …, got …``.

    Only a run that certainly does not fit is refused, and the advice is the most that is not refused. For other runs
    the compiler decides, see :mod:`fedjax_layers.engine.memory.program`.

    Returns:
      The advice; ``None`` if the run may fit, or it is not known what is free.
    """
    if free is None or forecast.least - forecast.held <= free:
        return None
    room = free + forecast.held
    narrow = forecast._replace(width=1)
    remedies: tuple[tuple[str, int, Callable[[int], Forecast]], ...] = (
        ("client_width", forecast.width, lambda n: forecast._replace(width=n)),
        ("cohort", forecast.slots, lambda n: narrow._replace(slots=n)),
        ("clients", forecast.clients, forecast.of_clients),
    )
    for argument, got, smaller in remedies:
        most = _most(got, smaller, room)
        most = rounded_down(most) if argument == "clients" else most
        if most:
            return (
                f"{argument}: expected at most {most:,} for the free {spoken(free)}, got {got:,} ({_parts(forecast)})"
            )
    return f"model: expected one that fits into the free {spoken(free)}, got {spoken(forecast.model)} of weights"


def _most(got: int, smaller: Callable[[int], Forecast], room: int) -> int:
    """Find the largest number below ``got`` whose run fits; 0 if none does."""
    return bisect.bisect_left(range(1, got), True, key=lambda number: smaller(number).least > room)


def told(forecast: Forecast, free: int | None) -> str:
    """Describe the memory of a run in one line."""
    there = "" if free is None else f" of {spoken(free + forecast.held)}"
    return f"memory: {spoken(forecast.total)}{there} ({_parts(forecast)})"


def parts(forecast: Forecast) -> dict[str, str]:
    """Describe each part of the memory, by name."""
    each = f", {spoken(forecast.per_client)} a client" if forecast.per_client else ""
    number = forecast.width * forecast.devices
    found = {
        "data": spoken(forecast.data),
        "state": f"{spoken(forecast.store)}{each}",
        f"{number} client{'s' if number > 1 else ''} at once": spoken(forecast.visits),
        "sums": spoken(forecast.sums),
        "stacked models": spoken(forecast.stacked),
        "brought from the host": spoken(forecast.slots * forecast.brought),
        "scores": spoken(forecast.evaluation),
        "programs": spoken(forecast.programs),
    }
    return {name: size for name, size in found.items() if not size.startswith("0 ")}


def _parts(forecast: Forecast) -> str:
    return "; ".join(f"{name} {size}" for name, size in parts(forecast).items())


def _stored(array: np.ndarray) -> int:
    return array.size * jax.dtypes.canonicalize_dtype(array.dtype).itemsize
