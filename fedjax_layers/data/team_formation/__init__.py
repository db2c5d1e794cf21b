"""Team formation: which team each client belongs to, from its labels, its update, a list, or chance.

Every formation is a pure function ``(features [C, F], num_teams, seed, *, ...) -> team_of [C] int32`` in which every
team ``0 .. T-1`` has a client. ``features`` are the clients' :func:`label_counts`; for ``by_updates`` what one local
phase changes in the common start. A new formation is one more such function and one line in ``TEAM_FORMATIONS``; its
options are its keyword-only parameters.

================== ==================================================================================================
``ordered``        clients in order of their numbers, of chance or of their labels, cut or dealt into teams
``clustered``      clients put together that are alike, in one level or several
================== ==================================================================================================

``docs/teams.md`` tells when to use which.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fedjax_layers.data.federated.client_data import ClientData
from fedjax_layers.data.team_formation.clustered import by_labels, by_updates, hierarchical, nearest_team
from fedjax_layers.data.team_formation.ordered import (
    average_case,
    given,
    mixed_labels,
    random_teams,
    sequential,
    team_sizes,
    worst_case,
)
from fedjax_layers.options import check_options, options_of, unknown_name

__all__ = [
    "NEEDS_NO_DATA",
    "TEAM_FORMATIONS",
    "average_case",
    "by_labels",
    "by_updates",
    "form_teams",
    "given",
    "hierarchical",
    "label_counts",
    "mixed_labels",
    "nearest_team",
    "random_teams",
    "sequential",
    "team_sizes",
    "worst_case",
]

TEAM_FORMATIONS: dict[str, Callable[..., np.ndarray]] = {
    "average_case": average_case,
    "by_labels": by_labels,
    "by_updates": by_updates,
    "given": given,
    "hierarchical": hierarchical,
    "mixed_labels": mixed_labels,
    "random_teams": random_teams,
    "sequential": sequential,
    "worst_case": worst_case,
}
NEEDS_NO_DATA = ("given", "random_teams", "sequential")  # formations that look at no client's data


def label_counts(data: ClientData) -> np.ndarray:
    """Training examples of each client and class (stratum), ``[C, S]`` int64.

    Validation and test examples do not count: what is scored decides nothing.
    """
    return data.stratum_counts(("train",))


def form_teams(name: str, features: np.ndarray, num_teams: int, seed: int = 0, **options: Any) -> np.ndarray:
    """Team formation by name.

    Args:
      name: a key of ``TEAM_FORMATIONS``.
      features: ``[C, F]``, see above; a formation in ``NEEDS_NO_DATA`` asks for their number only.
      num_teams: T.
      seed: of everything drawn.
      **options: keyword-only parameters of that formation.

    Returns:
      ``[C]`` int32, each client's team.

    Raises:
      ValueError: an unknown name or option (the nearest is suggested), or one out of range.
    """
    if name not in TEAM_FORMATIONS:
        raise unknown_name("team_formation", name, TEAM_FORMATIONS)
    check_options(f"team formation {name!r}", options, options_of(TEAM_FORMATIONS[name]))
    return TEAM_FORMATIONS[name](features, num_teams, seed, **options)
