"""How many clients a team has."""

from __future__ import annotations

import numpy as np

from fedjax_layers.data.partitions.checks import check_count, check_positive
from fedjax_layers.data.partitions.counting import round_sizes
from fedjax_layers.data.partitions.teams import consecutive_teams


def team_sizes(num_clients: int, num_teams: int, size_ratio: float = 1.0) -> np.ndarray:
    """Sizes of the teams, in geometric progression; everybody has a team, every team has somebody.

    Args:
      num_clients: C.
      num_teams: T, 1..C.
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


def interleaved(sizes: np.ndarray) -> np.ndarray:
    """Team ids ``[sum of sizes]``, each team's places spread evenly over the whole: 0 1 0 1 0 for sizes 3 and 2."""
    team = np.repeat(np.arange(len(sizes)), sizes)
    within = np.arange(len(team)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return team[np.lexsort((team, (within + 0.5) / sizes[team]))].astype(np.int32)
