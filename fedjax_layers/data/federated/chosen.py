"""The choice of natural clients by name, size or number, and the reserve for central training."""

from __future__ import annotations

import dataclasses

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.federated.splits import drawn
from fedjax_layers.options import unknown_name

_CHOICE, _RESERVE = 11, 7  # numbers of random streams that differ from those of the splits


@dataclasses.dataclass(frozen=True)
class NaturalChoice:
    """The choice of natural clients that take part; the defaults leave out none.

    Attributes:
      names: names of the clients to take; empty takes all.
      smallest: least number of examples of a client.
      number: number of clients to draw from those that names and size leave; ``None`` takes them all.
      seed: seed of that draw.
    """

    names: tuple[str, ...] = ()
    smallest: int = 0
    number: int | None = None
    seed: int = 0


def chosen_clients(owner: np.ndarray, names: tuple[str, ...], choice: NaturalChoice, source: str) -> np.ndarray:
    """Return the numbers of the chosen natural clients in rising order.

    The draw depends only on the clients' numbers and the seed: of two draws with one seed, the smaller is a subset of
    the larger.

    Args:
      owner: ``[N]`` natural client of each example, -1 for those that do not count.
      names: names of all natural clients.
      choice: the choice among them.
      source: name of the data set, for messages.

    Raises:
      ValueError: the data lack a name (the nearest is suggested), a number is out of range, or no client is left.
    """
    there = np.unique(owner[owner >= 0])
    if choice.names:
        known = {names[client]: client for client in there.tolist()}
        for name in choice.names:
            if name not in known:
                raise unknown_name("natural_clients", name, known)
        there = np.unique([known[name] for name in choice.names])
    if choice.smallest < 0:
        raise ValueError(f"smallest_client: expected at least 0 examples, got {choice.smallest}")
    sizes = np.bincount(owner[owner >= 0], minlength=len(names))
    large = there[sizes[there] >= choice.smallest]
    if not len(large):
        largest = int(sizes[there].max(initial=0))
        raise ValueError(
            f"smallest_client: expected at most {largest}, the examples of the largest natural client of {source}, "
            f"got {choice.smallest}"
        )
    if choice.number is None:
        return large
    if not 1 <= choice.number <= len(large):
        some = "natural clients that are left" if len(large) < np.count_nonzero(sizes) else "the natural clients"
        raise ValueError(f"clients: expected 1..{len(large)}, {some} of {source}, got {choice.number}")
    return np.sort(drawn(large, choice.number, choice.seed + _CHOICE))


def withheld_rows(dataset: Dataset, reserve: float, reserved: bool, seed: int) -> np.ndarray:
    """Flag the examples ``[N]`` that a load leaves out: the reserve, or everything else.

    Args:
      dataset: N examples.
      reserve: see :func:`reserved_rows`.
      reserved: whether the reserve is loaded.
      seed: seed of the choice.

    Raises:
      ValueError: the reserve is to be loaded and there is none, or as :func:`reserved_rows`.
    """
    if reserved and reserve == 0:
        raise ValueError("reserve: expected a share above 0 with reserved=True, got 0")
    return reserved_rows(dataset, reserve, seed) != reserved


def reserved_rows(dataset: Dataset, reserve: float, seed: int) -> np.ndarray:
    """Flag the reserve ``[N]``: whole natural clients (documents, speakers), or examples where there are none.

    It has no example of an official test part. The choice depends only on the ids and the seed, so that two loads agree
    on it whatever their other arguments are.

    Args:
      dataset: N examples.
      reserve: share in [0, 1) of the clients, or examples, rounded up.
      seed: seed of the choice.

    Raises:
      ValueError: ``reserve`` is out of range, or leaves no client.
    """
    if not 0 <= reserve < 1:
        raise ValueError(f"reserve: expected a share in [0, 1), got {reserve}")
    free = np.ones(len(dataset), bool) if dataset.official_test is None else ~dataset.official_test
    if reserve == 0:
        return np.zeros(len(dataset), bool)
    if dataset.clients is None:
        ids = np.arange(len(dataset)) if dataset.example_ids is None else dataset.example_ids
        units = ids[free]
    else:
        ids = dataset.clients
        units = np.unique(ids[free & (ids >= 0)])
    number = int(np.ceil(len(units) * reserve - 1e-9))
    if dataset.clients is not None and number >= len(units):
        raise ValueError(f"reserve: expected a share that leaves one of {len(units)} clients, got {reserve}")
    return np.isin(ids, drawn(units, number, seed + _RESERVE)) & free
