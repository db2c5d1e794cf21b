"""Team formations by an order of the clients (by number, random, or by label), cut or distributed in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from fedjax_layers.data.partitions.checks import check_count, check_positive
from fedjax_layers.data.partitions.counting import round_sizes
from fedjax_layers.data.partitions.teams import consecutive_teams
from fedjax_layers.options import Mark


def team_sizes(num_clients: int, num_teams: int, size_ratio: float = 1.0) -> np.ndarray:
    """Compute the teams' sizes in geometric progression; each is at least 1, and they sum to C.

    Args:
      num_clients: C, the number of clients.
      num_teams: T, the number of teams, 1..C.
      size_ratio: size of each team as a multiple of the one before; 1 makes them equal up to one.

    Returns:
      ``[T]`` int64 that sum to C.

    Raises:
      ValueError: ``num_teams`` is out of range, or ``size_ratio`` not above 0.
    """
    check_count("num_teams", num_teams, num_clients, "the number of clients")
    check_positive("size_ratio", size_ratio)
    if size_ratio == 1:
        return np.bincount(consecutive_teams(num_clients, num_teams))
    steps = np.log(size_ratio) * np.arange(num_teams)
    sizes = round_sizes(np.exp(steps - steps.max()), num_clients)
    for empty in np.flatnonzero(sizes == 0):
        sizes[sizes.argmax()] -= 1
        sizes[empty] = 1
    return sizes


def sequential(features: np.ndarray, num_teams: int, seed: int = 0, *, size_ratio: float = 1.0) -> np.ndarray:
    """Put consecutive clients together; equal sizes give :func:`~fedjax_layers.data.partitions.consecutive_teams`.

    Args:
      features: ``[C, F]``; only C matters.
      num_teams: T, the number of teams.
      seed: not used.
      size_ratio: size of each team as a multiple of the one before; 1 makes them equal up to one.

    Returns:
      ``[C]`` int32.

    Raises:
      ValueError: ``num_teams`` or ``size_ratio`` is out of range.
    """
    del seed
    return np.repeat(np.arange(num_teams, dtype=np.int32), team_sizes(len(features), num_teams, size_ratio))


def random_teams(features: np.ndarray, num_teams: int, seed: int = 0, *, size_ratio: float = 1.0) -> np.ndarray:
    """Put clients together at random, in the sizes of :func:`sequential`; arguments as there, ``seed`` of the draw."""
    return np.random.default_rng(seed).permutation(sequential(features, num_teams, size_ratio=size_ratio))


def given(
    features: np.ndarray, num_teams: int, seed: int = 0, *, team_of: Annotated[Sequence[int] | np.ndarray, Mark.FIELD]
) -> np.ndarray:
    """Take the listed teams.

    Args:
      features: ``[C, F]``; only C matters.
      num_teams: T, the number of teams.
      seed: not used.
      team_of: ``[C]`` integers 0..T-1.

    Returns:
      ``[C]`` int32.

    Raises:
      ValueError: the number of clients differs, an id is out of range, or a team has no client.
    """
    del seed
    found = np.asarray(team_of)
    if found.shape != (len(features),) or not np.issubdtype(found.dtype, np.integer):
        kind = f"shape {found.shape} of {found.dtype}"
        raise ValueError(f"team_of: expected an integer for each of {len(features)} clients, got {kind}")
    wrong = np.flatnonzero((found < 0) | (found >= num_teams))
    if len(wrong):
        raise ValueError(f"team_of: expected ids 0 to {num_teams - 1}, got {found[wrong[0]]} for client {wrong[0]}")
    empty = np.flatnonzero(np.bincount(found, minlength=num_teams) == 0)
    if len(empty):
        raise ValueError(f"team_of: expected a client in each of {num_teams} teams, got none in team {empty[0]}")
    return found.astype(np.int32)


def worst_case(counts: np.ndarray, num_teams: int, seed: int = 0, *, size_ratio: float = 1.0) -> np.ndarray:
    """Make teams with labels as disjoint as the clients allow, by cutting the clients in label order into pieces.

    The order is that of the label of which a client has most, then that of its second. Clients of one or two
    neighbouring labels make the worst case of PerMFL's Table 2: ten labels and two teams give 0-4 and 5-9.

    Args:
      counts: ``[C, S]`` examples of each client and label.
      num_teams: T, the number of teams.
      seed: not used.
      size_ratio: size of each team as a multiple of the one before; 1 makes them equal up to one.

    Returns:
      ``[C]`` int32.

    Raises:
      ValueError: an argument is out of range.
    """
    del seed
    team_of = np.empty(len(counts), np.int32)
    team_of[_label_order(counts)] = sequential(counts, num_teams, size_ratio=size_ratio)
    return team_of


def average_case(
    counts: np.ndarray, num_teams: int, seed: int = 0, *, overlap: float = 0.4, size_ratio: float = 1.0
) -> np.ndarray:
    """Make teams as in the worst case, but neighbouring teams share labels, while distant ones do not.

    The label order is a circle. Around each border between two teams lies a zone, half of it in either team;
    its clients go to the two teams by turns. With ten labels and two teams the default gives two teams of
    seven labels that share four, as PerMFL's Table 2 has it.

    Args:
      counts: ``[C, S]`` examples of each client and label.
      num_teams: T, the number of teams.
      seed: not used.
      overlap: share of a team's clients that are in a zone, 0 (the worst case) to 1.
      size_ratio: size of each team as a multiple of the one before; 1 makes them equal up to one.

    Returns:
      ``[C]`` int32; teams have the sizes of the worst case.

    Raises:
      ValueError: an argument is out of range.
    """
    del seed
    if not 0 <= overlap <= 1:
        raise ValueError(f"overlap: expected a share in [0, 1], got {overlap}")
    sizes = team_sizes(len(counts), num_teams, size_ratio)
    places = np.repeat(np.arange(num_teams, dtype=np.int32), sizes)
    half = np.minimum(np.floor(overlap * sizes / 2 + 0.5).astype(int), sizes // 2)
    starts = np.cumsum(sizes) - sizes
    for left in range(num_teams if num_teams > 1 else 0):
        right = (left + 1) % num_teams
        before = starts[left] + sizes[left] - half[left] + np.arange(half[left])
        zone = np.concatenate([before, starts[right] + np.arange(half[right])])
        places[zone] = np.array([left, right])[_interleaved(half[[left, right]])]
    team_of = np.empty(len(counts), np.int32)
    team_of[_label_order(counts)] = places
    return team_of


def mixed_labels(counts: np.ndarray, num_teams: int, seed: int = 0, *, size_ratio: float = 1.0) -> np.ndarray:
    """Make teams as diverse within and as similar as the clients allow: clients in label order go to teams in turn.

    It is the opposite of :func:`worst_case` and :func:`by_labels`; arguments as :func:`worst_case`.
    """
    del seed
    team_of = np.empty(len(counts), np.int32)
    team_of[_label_order(counts)] = _interleaved(team_sizes(len(counts), num_teams, size_ratio))
    return team_of


def _label_order(counts: np.ndarray) -> np.ndarray:
    """Order clients ``[C]`` by their most frequent label, then the second (the first again, if there is no other)."""
    if counts.ndim != 2 or counts.shape[1] < 1:
        raise ValueError(f"counts: expected examples by client and label [C, S], got shape {counts.shape}")
    ranked = np.argsort(-counts, axis=1, kind="stable")
    first, second = ranked[:, 0], ranked[:, min(1, counts.shape[1] - 1)]
    rows = np.arange(len(counts))
    second = np.where(counts[rows, second] > 0, second, first)
    return np.lexsort((second, first))


def _interleaved(sizes: np.ndarray) -> np.ndarray:
    """Spread each team's places evenly over all, ``[sum of sizes]`` team ids: 0 1 0 1 0 for sizes 3 and 2."""
    team = np.repeat(np.arange(len(sizes)), sizes)
    within = np.arange(len(team)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return team[np.lexsort((team, (within + 0.5) / sizes[team]))].astype(np.int32)
