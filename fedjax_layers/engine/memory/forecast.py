"""How much memory a run takes, from shapes alone, and a refusal in one line where there is not so much."""

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

PROGRAMS = 400_000_000  # bytes that compiling holds on a CPU, at the least
_BYTES_PER_CLIENT = 24  # of the ranges of three splits
_BYTES_PER_ID = 8
_BROUGHT = 1.5  # copies that each device has of a row which it brings from where it lies, and takes back
_EVALUATIONS_HELD = 3  # the last one, each client's best so far, and one on its way


class Forecast(NamedTuple):
    """Bytes in one memory: an accelerator's, or the host's, which all CPU devices share.

    Attributes:
      clients: C.
      slots: K.
      data: the examples, and who owns which.
      held: of these what is in memory already.
      store: the algorithm's state.
      per_client: of the state, what each client has.
      width: clients visited at once on a device.
      devices: that share this memory.
      round: what a round holds beside the state.
      evaluation: the scores of the evaluations that are held at a time.
      programs: compiled programs.
      model: one model.
      brought: for each slot of a cohort, what is brought from the host for its round and back.
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
        """All visits at a time."""
        return self.width * self.devices * self.round.visit

    @property
    def sums(self) -> int:
        """What the server has beside the state, on every device."""
        return self.devices * self.round.server

    @property
    def stacked(self) -> int:
        """What a round, or the evaluation after it, holds of all clients at once."""
        in_round = self.round.total(self.width, self.devices, self.slots, self.clients)
        return max(in_round, self.round.served * self.clients) - self.visits - self.sums

    @property
    def total(self) -> int:
        """All of it."""
        return self._kept + self._passing

    @property
    def least(self) -> int:
        """What it takes for certain: no algorithm declares more than twice what the compiler finds for its rounds."""
        return self._kept + self._passing // 2

    @property
    def _kept(self) -> int:
        return self.data + self.store + self.evaluation + self.programs + self.slots * self.brought

    @property
    def _passing(self) -> int:
        return self.visits + self.sums + self.stacked

    def of_clients(self, number: int) -> Forecast:
        """That of so many clients, one at a time."""
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
    """Where a run is computed.

    Attributes:
      devices: that clients are spread over.
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
    """The memory of a run.

    Args:
      task: the model.
      phases: the clients' data, of which only shapes and sizes are looked at.
      algorithm: of which the state's shapes are looked at, and what its rounds hold.
      place: where.
      width: clients at once on a device; ``None`` is all.
      slots: K.
      batch_size: examples of a local step.
      optimizer: of the clients.
      evaluated_models: what the evaluations look at.
      loaded: whether the data are in the host's memory already.
      on_host: what stays on the host: ``"data"``, ``"state"``, both or none.
      stored: whether a state there is in files.
    """
    key = jax.random.key(0)
    params = jax.eval_shape(task.init, key)
    own, shared = state_bytes(jax.eval_shape(algorithm.init, key, params))
    clients, model = phases[0].num_clients, sum(task.layers.bytes)
    share = -(-slots // place.devices)
    each, data = own // clients, data_bytes(phases, on_host=place.on_cpu)
    brought = 2 * each if "state" in on_host else 0  # the rows as they come and as they go
    if "state" in on_host and (stored or not place.on_cpu):
        own = 0
    if "data" in on_host:  # of this round and the next
        brought += 2 * _largest_clients(phases, slots)
        data = data if place.on_cpu else 0
    kept = tree_bytes(jax.eval_shape(optimizer.init, params))
    of_round = algorithm.memory.in_bytes(model, kept, batch_bytes(phases[0], batch_size))
    if not place.on_cpu:  # each has its share of what is stacked
        of_round = of_round._replace(**{f: getattr(of_round, f) // place.devices for f in ("slot", "client", "served")})
    if place.devices > 1 and slots < clients and not of_round.slot and "state" not in on_host:
        copies = _BROUGHT * (place.devices if place.on_cpu else 1)  # the cohort's rows lie on any of the devices
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
    """Bytes of the examples of the so many largest clients, for each of them."""
    rows = max(int(np.sort(sum(phase.sizes.values()))[-number:].sum()) for phase in phases)
    one = (phases[0].inputs[:1], phases[0].labels[:1])
    return -(-rows * sum(map(_stored, one)) // number)


def data_bytes(phases: Sequence[ClientData], *, on_host: bool) -> int:
    """Bytes of the examples of all phases, those that phases share counted once; on the host with their ids."""
    pools = {(id(phase.inputs), id(phase.labels)): phase for phase in phases}.values()
    per_example = _BYTES_PER_ID if on_host else 0
    return sum(
        _stored(phase.inputs) + _stored(phase.labels) + per_example * len(phase.inputs) for phase in pools
    ) + sum(_BYTES_PER_CLIENT * phase.num_clients for phase in phases)


def state_bytes(state: Any) -> tuple[int, int]:
    """Bytes of a state, of which only shapes are looked at: of fields that clients are in front of, and of others."""
    if not dataclasses.is_dataclass(state):
        return 0, tree_bytes(state)
    own = shared = 0
    for field in dataclasses.fields(state):
        some, rest = state_bytes(getattr(state, field.name))
        own, shared = (own + some + rest, shared) if field.metadata.get("per_client") else (own + some, shared + rest)
    return own, shared


def evaluation_bytes(task: Task, clients: int, evaluated_models: Sequence[str]) -> int:
    """Bytes of scores: each client's, on validation and test, by each evaluated model, of the evaluations held.

    Scores by class are left out, of which large runs keep none.
    """
    names = len(set(scorer_of(task).names) - set(BY_CLASS)) + len(task.metrics)
    models = ("trained" in evaluated_models) + 2 * ("served" in evaluated_models)
    return _EVALUATIONS_HELD * 4 * clients * (1 + models * len(SPLITS) * names)


def batch_bytes(clients: ClientData, batch_size: int) -> int:
    """Bytes of a batch as a model sees it."""
    return batch_size * math.prod(clients.inputs.shape[1:]) * 4


def fitting(forecast: Forecast, free: int | None) -> str | None:
    """What to do about a run that cannot fit into so many free bytes, as ``argument: expected, got``.

    Refused is what does not fit for certain, and advised is the most that is not refused. Of what is let pass the
    compiler has the last word, see :mod:`fedjax_layers.engine.memory.program`.

    Returns:
      ``None`` if it may fit, or nobody knows what is free.
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
    """The largest number below ``got`` whose run has room; 0 if none has."""
    return bisect.bisect_left(range(1, got), True, key=lambda number: smaller(number).least > room)


def told(forecast: Forecast, free: int | None) -> str:
    """A line on the memory of a run."""
    there = "" if free is None else f" of {spoken(free + forecast.held)}"
    return f"memory: {spoken(forecast.total)}{there} ({_parts(forecast)})"


def parts(forecast: Forecast) -> dict[str, str]:
    """What takes how much, by name."""
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
