"""Team formation: functions that put clients into teams by labels, by updates, by a list, or at random.

Every formation is a pure function ``(features [C, F], num_teams, seed, *, ...) -> team_of [C] int32`` in which every
team ``0 .. T-1`` has a client. ``features`` are the clients' :func:`label_counts`; for ``by_updates`` they are the
updates of the common start in one local phase. A new formation is one more such function and one line in
``TEAM_FORMATIONS``; its options are its keyword-only parameters.

================== ==================================================================================================
``ordered``        clients in order of their numbers, at random or by labels, cut or distributed into teams
``clustered``      similar clients together, in one level or several
================== ==================================================================================================

``docs/teams.md`` says when to use which.
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
NEEDS_NO_DATA = ("given", "random_teams", "sequential")  # formations that do not depend on the clients' data


def label_counts(data: ClientData) -> np.ndarray:
    """Count the training examples of each client and class (stratum), ``[C, S]`` int64.

    Validation and test examples do not count, so that scored examples decide nothing.
    """
    return data.stratum_counts(("train",))


def form_teams(name: str, features: np.ndarray, num_teams: int, seed: int = 0, **options: Any) -> np.ndarray:
    """Form teams by a named formation.

    Args:
      name: a key of ``TEAM_FORMATIONS``.
      features: ``[C, F]``, see above; a formation in ``NEEDS_NO_DATA`` asks for their number only.
      num_teams: T, the number of teams.
      seed: seed of all draws.
      **options: keyword-only parameters of that formation.

    Returns:
      ``[C]`` int32, each client's team.

    Raises:
      ValueError: a name or option is unknown (the nearest is suggested), or an option is out of range.
    """
    if name not in TEAM_FORMATIONS:
        raise unknown_name("team_formation", name, TEAM_FORMATIONS)
    check_options(f"team formation {name!r}", options, options_of(TEAM_FORMATIONS[name]))
    return TEAM_FORMATIONS[name](features, num_teams, seed, **options)
