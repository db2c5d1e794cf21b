"""Changes of data during a run: label shift, class swap, covariate shift, clients that join late or leave early.

A change starts a new :class:`Phase` at a round. A training example never becomes a validation or test example of any
client, nor the reverse.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fedjax_layers.data.feature_shift import FEATURE_SHIFTS
from fedjax_layers.data.federated.client_data import ClientData
from fedjax_layers.options import unknown_name

_SPEC = re.compile(r"(?P<name>\w+)@(?P<round>\d+)(:(?P<share>\d*\.?\d+))?")


class Phase(NamedTuple):
    """The data from a round on.

    Attributes:
      since: the first round, counted from 0, in which they hold.
      data: the clients' data; all phases of a run have the same clients.
    """

    since: int
    data: ClientData


def exchange_data(data: ClientData, clients: np.ndarray, seed: int = 0) -> ClientData:
    """Shift labels: each given client passes all its data to the next one in a random circle.

    Training examples stay training examples with their new owner, so that no client is tested on examples that any
    client trained on.

    Args:
      data: the federated data.
      clients: ``[n]`` different ids, at least two.
      seed: seed of the circle.

    Raises:
      ValueError: fewer than two clients, who would keep their data.
    """
    if len(clients) < 2:
        raise ValueError(f"drift: expected at least 2 clients for label_shift, got {len(clients)}")
    circle = np.random.default_rng(seed).permutation(clients)
    source = np.arange(data.num_clients)
    source[circle] = np.roll(circle, 1)
    ranges = {split: (start[source], count[source]) for split, (start, count) in data.ranges.items()}
    return dataclasses.replace(data, ranges=ranges)


def swap_classes(data: ClientData, clients: np.ndarray, seed: int = 0) -> ClientData:
    """Shift concepts: swap classes 0 and 1, 2 and 3, and so on, in all splits of the given clients.

    With an odd number of classes the last one keeps its place. Strata that are not the classes stay as they are.
    ``seed`` is not used.

    Raises:
      ValueError: the data are no classification.
    """
    del seed
    if data.task != "classification":
        raise ValueError(f"drift: expected a classification for class_swap, got {data.name} ({data.task})")
    partner = np.arange(data.num_classes, dtype=np.int32)
    paired = data.num_classes - data.num_classes % 2
    partner[:paired] ^= 1
    labels = data.labels.copy()
    rows = np.isin(data.places[0], clients)
    labels[rows] = partner[labels[rows]]
    by_class = np.array_equal(data.strata, data.labels)
    return dataclasses.replace(data, labels=labels, strata=labels if by_class else data.strata)


def shift_inputs(data: ClientData, clients: np.ndarray, seed: int = 0, *, kind: str) -> ClientData:
    """Shift covariates: change the inputs of the given clients, each in its own way; see ``feature_shift``.

    Args:
      data: the federated data.
      clients: ``[n]`` different ids.
      seed: seed of the shift's draws.
      kind: a key of ``FEATURE_SHIFTS``.
    """
    owner = data.places[0]
    number = np.full(data.num_clients, -1, np.int32)
    # Clients are numbered from 1, since most shifts leave client 0 unchanged.
    number[clients] = np.arange(1, len(clients) + 1)
    client_of = np.where(owner < 0, -1, number[owner])
    inputs = FEATURE_SHIFTS[kind](data.inputs, client_of, len(clients) + 1, seed)
    return dataclasses.replace(data, inputs=inputs)


def without_clients(data: ClientData, clients: np.ndarray) -> ClientData:
    """Remove the examples of the given clients, which then neither train nor count in any average."""
    ranges = {}
    for split, (start, count) in data.ranges.items():
        left = count.copy()
        left[clients] = 0
        ranges[split] = (start, left)
    return dataclasses.replace(data, ranges=ranges)


CHANGES: dict[str, Callable[[ClientData, np.ndarray, int], ClientData]] = {
    "label_shift": exchange_data,
    "class_swap": swap_classes,
}


def drift_phases(data: ClientData, changes: Sequence[str], seed: int = 0) -> list[Phase]:
    """Make the phases of a run.

    Args:
      data: the clients' data before any change.
      changes: each ``name@round`` or ``name@round:share``, in the order of their rounds: at that round (counted from 0)
        a share of the clients (default a half, at least one; ``label_shift`` needs two) is changed. Names:
        ``label_shift``, ``class_swap``, the keys of ``FEATURE_SHIFTS``, ``new_clients``, who are without data before
        that round, and ``leaving_clients``, who are without data from that round on.
      seed: seed of the choice of clients and of the changes' draws.

    Returns:
      The phases, the first from round 0 on.

    Raises:
      ValueError: a change cannot be read, is unknown, or does not come after the one before.
    """
    rng = np.random.default_rng(seed)
    phases: list[Phase] = []
    late: list[tuple[int, np.ndarray]] = []  # the first round, and the clients that join then
    early: list[tuple[int, np.ndarray]] = []  # the first round without them, and the clients that leave then
    current, since = data, 0
    for name, at, share in parse_changes(changes):
        some = max(1, round(share * data.num_clients))
        clients = np.sort(rng.permutation(data.num_clients)[:some])
        phases.append(Phase(since, current))
        since = at
        if name == "new_clients":
            late.append((at, clients))
        elif name == "leaving_clients":
            early.append((at, clients))
        elif name in CHANGES:
            current = CHANGES[name](current, clients, seed)
        else:
            current = shift_inputs(current, clients, seed, kind=name)
    phases.append(Phase(since, current))
    return [_present(phase, late, early) for phase in phases]


def _present(phase: Phase, late: list[tuple[int, np.ndarray]], early: list[tuple[int, np.ndarray]]) -> Phase:
    """Take away the clients that have not joined yet, and those that have left."""
    absent = [clients for at, clients in late if phase.since < at]
    absent += [clients for at, clients in early if phase.since >= at]
    if not absent:
        return phase
    clients = np.unique(np.concatenate(absent))
    if len(clients) == phase.data.num_clients:
        raise ValueError(f"drift: expected some clients with data from round {phase.since} on, got none")
    return Phase(phase.since, without_clients(phase.data, clients))


class Change(NamedTuple):
    """A change by name, its round, counted from 0, and the share of the clients that it affects."""

    name: str
    at: int
    share: float


def parse_changes(changes: Sequence[str]) -> list[Change]:
    """Parse the changes of :func:`drift_phases`.

    Raises:
      ValueError: one cannot be read, is unknown, or does not come after the one before.
    """
    known = ["new_clients", "leaving_clients", *CHANGES, *FEATURE_SHIFTS]
    found: list[Change] = []
    for change in changes:
        match, since = _SPEC.fullmatch(change), found[-1].at if found else 0
        if match is None:
            raise ValueError(f"drift: expected name@round or name@round:share, got {change!r}")
        if match["name"] not in known:
            raise unknown_name("drift", match["name"], known)
        one = Change(match["name"], int(match["round"]), float(match["share"] or 0.5))
        if not 0 < one.share <= 1:
            raise ValueError(f"drift: expected a share of clients in (0, 1], got {change!r}")
        if one.at <= since:
            raise ValueError(f"drift: expected rounds that go up from 1, got {change!r} after round {since}")
        found.append(one)
    return found
