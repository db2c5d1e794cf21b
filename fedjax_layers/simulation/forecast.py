"""How much memory a run takes, from shapes alone, and a refusal in one line where there is not so much."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from fedjax_layers.data import ClientData
from fedjax_layers.memory import rounded_down, spoken
from fedjax_layers.scoring.classes import BY_CLASS
from fedjax_layers.simulation.evaluation import SPLITS, scorer_of
from fedjax_layers.types import Key, Params, Task

PROGRAMS = 400_000_000  # bytes that compiling holds on a CPU, at the least
_MODELS_OF_A_VISIT = 4  # the start, what is trained, its gradient and what the optimiser keeps
_BYTES_PER_CLIENT = 24  # of the ranges of three splits
_BYTES_PER_ID = 8
_EVALUATIONS_HELD = 3  # the last one, each client's best so far, and one on its way


class Forecast(NamedTuple):
    """Bytes in one memory: an accelerator's, or the host's, which all CPU devices share.

    Attributes:
      clients: C.
      data: the examples, and who owns which.
      held: of these what is in memory already.
      store: the algorithm's state.
      per_client: of the state, what each client has.
      width: clients visited at once on a device.
      devices: that share this memory.
      visit: of one client.
      evaluation: the scores of the evaluations that are held at a time.
      programs: compiled programs.
      model: one model.
    """

    clients: int
    data: int
    held: int
    store: int
    per_client: int
    width: int
    devices: int
    visit: int
    evaluation: int
    programs: int
    model: int

    @property
    def fixed(self) -> int:
        """What no width changes."""
        return self.data + self.store + self.evaluation + self.programs

    @property
    def visits(self) -> int:
        """All visits at a time."""
        return self.width * self.devices * self.visit

    @property
    def total(self) -> int:
        """All of it."""
        return self.fixed + self.visits


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
    init: Callable[[Key, Params], Any],
    place: Place,
    *,
    width: int | None,
    slots: int,
    batch_size: int,
    moments: Sequence[str],
    loaded: bool,
) -> Forecast:
    """The memory of a run.

    Args:
      task: the model.
      phases: the clients' data, of which only shapes and sizes are looked at.
      init: makes the algorithm's state from a key and a model.
      place: where.
      width: clients at once on a device; ``None`` is all.
      slots: K.
      batch_size: examples of a local step.
      moments: of the evaluations.
      loaded: whether the data are in the host's memory already.
    """
    key = jax.random.key(0)
    params = jax.eval_shape(task.init, key)
    own, shared = state_bytes(jax.eval_shape(init, key, params))
    clients, model = phases[0].num_clients, sum(task.layers.bytes)
    share = -(-slots // place.devices)
    data = data_bytes(phases, on_host=place.on_cpu)
    return Forecast(
        clients=clients,
        data=data,
        held=data if loaded and place.on_cpu and len(phases) == 1 else 0,
        store=own + shared * place.devices if place.on_cpu else own // place.devices + shared,
        per_client=own // clients,
        width=share if width is None else min(width, share),
        devices=min(place.devices, slots) if place.on_cpu else 1,
        visit=visit_bytes(model, batch_bytes(phases[0], batch_size)),
        evaluation=evaluation_bytes(task, clients, moments),
        programs=PROGRAMS if place.on_cpu else 0,
        model=model,
    )


def visit_bytes(model: int, batch: int) -> int:
    """Bytes of a visit to one client: a few models of so many bytes, and a batch."""
    return _MODELS_OF_A_VISIT * model + batch


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
        return 0, sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(state))
    own = shared = 0
    for field in dataclasses.fields(state):
        some, rest = state_bytes(getattr(state, field.name))
        own, shared = (own + some + rest, shared) if field.metadata.get("per_client") else (own + some, shared + rest)
    return own, shared


def evaluation_bytes(task: Task, clients: int, moments: Sequence[str]) -> int:
    """Bytes of scores: each client's, on validation and test, by each moment's models, of the evaluations held.

    Scores by class are left out, of which large runs keep none.
    """
    names = len(set(scorer_of(task).names) - set(BY_CLASS)) + len(task.metrics)
    models = ("trained" in moments) + 2 * ("served" in moments)
    return _EVALUATIONS_HELD * 4 * clients * (1 + models * len(SPLITS) * names)


def batch_bytes(clients: ClientData, batch_size: int) -> int:
    """Bytes of a batch as a model sees it."""
    return batch_size * math.prod(clients.inputs.shape[1:]) * 4


def fitting(forecast: Forecast, free: int | None) -> str | None:
    """What to do about a run that does not fit into so many free bytes, as ``argument: expected, got``.

    Returns:
      ``None`` if it fits, or nobody knows what is free.
    """
    if free is None or forecast.total - forecast.held <= free:
        return None
    room = free + forecast.held
    where = f"for the free {spoken(free)}"
    least = forecast.devices * forecast.visit
    if forecast.fixed + least <= room:
        width = (room - forecast.fixed) // least
        return f"client_width: expected at most {width} {where}, got {forecast.width} ({_parts(forecast)})"
    grows = forecast.data + forecast.evaluation + forecast.per_client * forecast.clients
    rest = forecast.fixed - grows + least
    number = rounded_down(forecast.clients * (room - rest) / grows)
    if number >= 1:
        return f"clients: expected at most {number:,} {where}, got {forecast.clients:,} ({_parts(forecast)})"
    return f"model: expected one that fits into the free {spoken(free)}, got {spoken(forecast.model)} of weights"


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
        "scores": spoken(forecast.evaluation),
    }
    return found | ({"programs": spoken(forecast.programs)} if forecast.programs else {})


def _parts(forecast: Forecast) -> str:
    return "; ".join(f"{name} {size}" for name, size in parts(forecast).items())


def _stored(array: np.ndarray) -> int:
    return array.size * jax.dtypes.canonicalize_dtype(array.dtype).itemsize
