"""The examples that clients may own, those set apart for testing, and the owner of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.federated.chosen import NaturalChoice, chosen_clients
from fedjax_layers.data.federated.leaks import content_groups, later_copies
from fedjax_layers.data.federated.splits import set_apart
from fedjax_layers.data.partitions import PARTITIONS, consecutive_teams
from fedjax_layers.data.partitions import partition as make_partition
from fedjax_layers.options import options_of, unknown_name

DEFAULT_CLIENTS = 10  # number of clients where the data have no natural ones
OfficialTest = Literal["auto", "apart", "joined"]
_WHOLE = ("natural", "natural_grouped")  # partitions that keep a natural client's examples together


@dataclasses.dataclass(frozen=True, eq=False)
class Places:
    """Flags ``[N]`` on the places to which examples may go; an example without any flag belongs to no client.

    Attributes:
      free: examples given to clients, which split them.
      own_test: those of the free examples that are test examples of their client.
      global_test: examples of the global test set; ``None`` where there is none.
    """

    free: np.ndarray
    own_test: np.ndarray
    global_test: np.ndarray | None


def place_examples(
    dataset: Dataset,
    *,
    scheme: str,
    dropped: np.ndarray,
    duplicates: str,
    global_test: float | str | None,
    official_test: OfficialTest,
    own_data: bool,
    choice: NaturalChoice,
    seed: int,
) -> Places:
    """Set test examples apart, and leave out natural clients that are not chosen.

    Args:
      dataset: N examples.
      scheme: name of the partition.
      dropped: ``[N]`` flags on examples that are left out in any case: the reserve, or everything else.
      duplicates: see :func:`~fedjax_layers.data.load`.
      global_test: a share, ``"official"`` or ``None``.
      official_test: ``"auto"``, ``"apart"`` or ``"joined"``.
      own_data: whether the data are a user's own.
      choice: the choice of natural clients.
      seed: seed of the global test set.

    Raises:
      ValueError: a choice is unknown, a share is out of range, or the data lack an official part or natural clients.
    """
    if duplicates not in ("keep", "drop"):
        raise unknown_name("duplicates", duplicates, ("keep", "drop"))
    if official_test not in ("auto", "apart", "joined"):
        raise unknown_name("official_test", official_test, ("auto", "apart", "joined"))
    ids = np.arange(len(dataset)) if dataset.example_ids is None else dataset.example_ids
    if duplicates == "drop":
        dropped = dropped | later_copies(content_groups(dataset.inputs, dataset.labels), ids)
    official = np.zeros(len(dataset), bool) if dataset.official_test is None else dataset.official_test & ~dropped
    if isinstance(global_test, str):
        _check_official(dataset, official, global_test)
    whole = scheme in _WHOLE and dataset.clients is not None
    together = _trained_too(dataset, official, dropped)
    if official_test == "auto":
        official_test = "apart" if own_data or (whole and together.any()) else "joined"
    if global_test != "official" and official_test == "joined":
        official, together = np.zeros_like(official), np.zeros_like(official)
    dropped = dropped | _not_chosen(dataset, scheme, ~dropped & ~official, choice)
    official, together = official & ~dropped, together & ~dropped & (whole and global_test != "official")
    apart = official & ~together
    if isinstance(global_test, float | int):
        kept = np.flatnonzero(~dropped)
        apart[kept] |= set_apart(ids[kept], dataset.groups[kept], global_test, seed)
    free = ~dropped & ~apart
    return Places(free, together & free, apart if global_test is not None or apart.any() else None)


def _check_official(dataset: Dataset, official: np.ndarray, global_test: str) -> None:
    if global_test != "official":
        raise unknown_name("global_test", global_test, ("official",))
    if dataset.official_test is None:
        raise ValueError(
            f"global_test: expected data with an official test part, got {dataset.name} without one; "
            "where it has one, load it with split='all'"
        )
    if not official.any():
        raise ValueError(f"global_test: expected examples of the official test part, got none of {dataset.name}")


def _trained_too(dataset: Dataset, official: np.ndarray, dropped: np.ndarray) -> np.ndarray:
    """Flag official test examples ``[N]`` whose natural client has training examples as well."""
    if dataset.clients is None or not official.any():
        return np.zeros(len(dataset), bool)
    training = np.unique(dataset.clients[~dropped & ~official])
    return official & np.isin(dataset.clients, training[training >= 0])


def _not_chosen(dataset: Dataset, scheme: str, candidates: np.ndarray, choice: NaturalChoice) -> np.ndarray:
    """Flag all examples ``[N]`` of natural clients that the choice leaves out."""
    nobody = np.zeros(len(dataset), bool)
    natural = "clients" in options_of(PARTITIONS[scheme])
    if choice.names or choice.smallest:
        argument = "natural_clients" if choice.names else "smallest_client"
        if dataset.clients is None:
            raise ValueError(f"{argument}: expected data with natural clients, got {dataset.name}, which has none")
        if not natural:
            raise ValueError(f"{argument}: expected a partition of natural clients, got {scheme!r}")
    if not natural or dataset.clients is None:
        return nobody
    owner = np.where(candidates, dataset.clients, -1)
    there = np.unique(owner[owner >= 0])
    if scheme != "natural":  # other schemes make groups or parts of natural clients
        choice = dataclasses.replace(choice, number=None)
    if not (choice.names or choice.smallest or choice.number is not None):
        return nobody
    left = chosen_clients(owner, client_names(dataset), choice, dataset.name)
    return np.isin(dataset.clients, np.setdiff1d(there, left))


def owners(
    dataset: Dataset, free: np.ndarray, scheme: str, clients: int | None, seed: int, params: dict[str, Any]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the client of each of the rows ``free [n]``, and the clients' names."""
    labels = dataset.groups[free]
    if "clients" not in options_of(PARTITIONS[scheme]):
        num_clients = DEFAULT_CLIENTS if clients is None else clients
        return make_partition(scheme, labels, num_clients, seed, **params), ()
    if dataset.clients is None:
        others = " or ".join(sorted(k for k, v in PARTITIONS.items() if "clients" not in options_of(v)))
        raise ValueError(f"partition: expected {others} for {dataset.name}, got {scheme!r}, for natural clients")
    owner = dataset.clients[free]
    if scheme != "natural":
        return make_partition(scheme, labels, clients, seed, clients=owner, **params), ()
    left = np.unique(owner[owner >= 0])
    names = client_names(dataset)
    if len(left) == len(names):
        return make_partition(scheme, labels, None, seed, clients=owner, **params), dataset.client_names
    owner = np.where(owner < 0, -1, np.searchsorted(left, owner))
    return make_partition(scheme, labels, None, seed, clients=owner, **params), tuple(names[client] for client in left)


def client_names(dataset: Dataset) -> tuple[str, ...]:
    """Return the names of all natural clients: their own, or their numbers."""
    assert dataset.clients is not None  # checked by the caller
    return dataset.client_names or tuple(str(c) for c in range(int(dataset.clients.max(initial=-1)) + 1))


def teams_of(
    scheme: str, params: Mapping[str, Any], num_clients: int, natural: np.ndarray | None, free: np.ndarray
) -> np.ndarray | None:
    """Return the team of each client ``[C]``, for a scheme that makes teams."""
    teams = params.get("teams")
    if scheme == "natural_teams":
        assert natural is not None  # the partition requires them
        of_row = natural[free]
        teams = len(np.unique(of_row[of_row >= 0]))
    if "team_classes" in params:
        lists = params["team_classes"]
        teams = 1 if isinstance(lists, str) else len(lists)
    return None if teams is None else consecutive_teams(num_clients, teams)
