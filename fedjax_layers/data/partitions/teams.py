"""Partitions for clients in teams: a team's clients are consecutive, and teams differ in their labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from fedjax_layers.data.partitions.checks import (
    check_count,
    check_labels,
    check_min_size,
    check_natural,
    check_positive,
    check_sizes,
    is_integer,
)
from fedjax_layers.data.partitions.counting import by_label, top_up
from fedjax_layers.data.partitions.few_classes import check_window, owners_of, sliding, spread
from fedjax_layers.data.partitions.label_skew import cut_labels
from fedjax_layers.options import Mark


def consecutive_teams(num_clients: int, teams: int) -> np.ndarray:
    """Return team ``c * teams // C`` of each client c: teams are consecutive and of equal size up to one.

    Args:
      num_clients: C, the number of clients.
      teams: number of teams, 1..C.

    Returns:
      ``[C]`` int32.

    Raises:
      ValueError: there are no clients, or ``teams`` is out of range.
    """
    if not is_integer(num_clients) or num_clients < 1:
        raise ValueError(f"num_clients: expected an integer of at least 1, got {num_clients}")
    check_count("teams", teams, num_clients, "the number of clients")
    return (np.arange(num_clients) * teams // num_clients).astype(np.int32)


def two_level(
    labels: np.ndarray,
    num_clients: int,
    seed: int = 0,
    *,
    teams: int = 4,
    team_alpha: float = 0.5,
    client_alpha: float = 0.5,
    min_size: int = 10,
) -> np.ndarray:
    """Divide labels among teams, then each team's examples among its clients (label skew on two levels).

    Both divisions are those of :func:`dirichlet`. With ``team_alpha`` small and ``client_alpha`` large, clients of a
    team are alike and teams differ; in the opposite case teams are interchangeable, as PerMFL's published ones.
    Teams are those of :func:`consecutive_teams`.

    Args:
      labels: ``[N]`` integers.
      num_clients: C, the number of clients.
      seed: seed of proportions, shuffles and repairs.
      teams: number of teams, 1..C.
      team_alpha: concentration between teams, above 0.
      client_alpha: concentration between the clients of a team, above 0.
      min_size: fewest examples that a client may have. Teams are topped up first, then clients from their own team, so
        that no client gets examples that its team does not have.

    Returns:
      ``[N]`` int32, each example's client.

    Raises:
      ValueError: as :func:`dirichlet`; or ``teams`` is out of range.
    """
    labels, num_clients = check_labels(labels, num_clients)
    team_sizes = np.bincount(consecutive_teams(num_clients, teams))
    check_positive("team_alpha", team_alpha)
    check_positive("client_alpha", client_alpha)
    check_min_size(min_size, num_clients, len(labels))
    rng, repairs = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    team_of = top_up(cut_labels(labels, teams, team_alpha, rng), team_sizes * min_size, repairs)
    return _within_teams(labels, team_of, team_sizes, client_alpha, min_size, rng, repairs)


def natural_teams(
    labels: np.ndarray,
    num_clients: int,
    seed: int = 0,
    *,
    clients: Annotated[np.ndarray, Mark.FIELD],
    client_alpha: float = 0.5,
    min_size: int = 10,
) -> np.ndarray:
    """Make each natural client a team, and divide its examples among the team's clients.

    This suits hospitals with several wards, or sites with several users. Differences between teams are those of the
    data, and ``client_alpha`` decides how labels differ within a team (:func:`dirichlet`). Teams are those of
    :func:`consecutive_teams`, in the order of the natural clients that have examples.

    Args:
      labels: ``[N]`` integers.
      num_clients: C, at least the number of natural clients.
      seed: seed of proportions, shuffles and repairs.
      clients: ``[N]`` integers, each example's natural client, -1 for none.
      client_alpha: concentration between the clients of a team, above 0.
      min_size: fewest examples that a client may have, topped up from its own team.

    Returns:
      ``[N]`` int32, each example's client, -1 where ``clients`` is.

    Raises:
      ValueError: as :func:`dirichlet`; ``clients`` does not fit the labels; there are more natural clients than
        ``num_clients``; or a natural client has too few examples for ``min_size`` in each of its team.
    """
    labels, num_clients = check_labels(labels, num_clients)
    natural = check_natural(labels, clients)
    check_positive("client_alpha", client_alpha)
    check_min_size(min_size, num_clients, len(labels))
    owned = natural >= 0
    teams, team_of = np.unique(natural[owned], return_inverse=True)
    if len(teams) > num_clients:
        expected = f"at least {len(teams)}, the natural clients of the data"
        raise ValueError(f"num_clients: expected {expected}, got {num_clients}")
    team_sizes = np.bincount(consecutive_teams(num_clients, len(teams)))
    examples = np.bincount(team_of)
    short = np.flatnonzero(examples < team_sizes * max(min_size, 1))
    if len(short):
        found = f"{examples[short[0]]} for {team_sizes[short[0]]} in team {short[0]}"
        raise ValueError(f"min_size: expected natural clients with {max(min_size, 1)} examples a client, got {found}")
    rng, repairs = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    owner = np.full(len(labels), -1, np.int32)
    owner[owned] = _within_teams(labels[owned], team_of, team_sizes, client_alpha, min_size, rng, repairs)
    return owner


def _within_teams(
    labels: np.ndarray,
    team_of: np.ndarray,
    team_sizes: np.ndarray,
    alpha: float,
    min_size: int,
    rng: np.random.Generator,
    repairs: np.random.Generator,
) -> np.ndarray:
    """Divide each team's labels among its clients, top these up, and return each example's client ``[N]``."""
    order = np.argsort(team_of, kind="stable")
    owner = np.empty(len(labels), np.int32)
    first_client = 0
    parts = np.split(order, np.cumsum(np.bincount(team_of, minlength=len(team_sizes)))[:-1])
    for clients, examples in zip(team_sizes, parts, strict=True):
        within = cut_labels(labels[examples], int(clients), alpha, rng)
        owner[examples] = first_client + top_up(within, np.full(clients, min_size), repairs)
        first_client += clients
    return owner


def classes_per_team(
    labels: np.ndarray,
    num_clients: int,
    seed: int = 0,
    *,
    team_classes: tuple[tuple[int, ...], ...] | tuple[str, ...] | str = ("0-4", "5-9"),
    classes: int = 2,
    min_size: int = 10,
) -> np.ndarray:
    """Give each team its listed classes, and each client ``classes`` of these, in a sliding window.

    PerMFL's ablation of team formation has two teams, given here as ``team_classes``: the worst case
    ``("0-4", "5-9")`` shares no class, the average case ``("0-6", "5-9+0-1")`` shares four. How its devices
    divide a team's classes is not stated; this is the window of its main setting: the u-th client of a team of n
    classes holds those numbered ``(u + j) mod n``, j < classes. A class's shuffled examples are spread evenly
    over all its owners, of whichever team.

    Args:
      labels: ``[N]`` integers.
      num_clients: C; teams are those of :func:`consecutive_teams`.
      seed: seed of the shuffles.
      team_classes: for each team its labels, as numbers or as text: ``"5-9+0-1"`` is 5, 6, 7, 8, 9, 0, 1. Labels
        of no team get no client.
      classes: number of classes per client.
      min_size: fewest examples that a client may have; fewer are an error.

    Returns:
      ``[N]`` int32, each example's client, -1 for examples of no team's labels.

    Raises:
      ValueError: as :func:`classes_per_client`; or ``team_classes`` is not as described, or names a label twice
        in a team or one that does not occur.
    """
    labels, num_clients = check_labels(labels, num_clients)
    groups = by_label(labels)
    present = np.array([labels[examples[0]] for examples in groups])
    lists = [_numbers(item) for item in ([team_classes] if isinstance(team_classes, str) else team_classes)]
    if not 1 <= len(lists) <= num_clients:
        raise ValueError(f"team_classes: expected 1..{num_clients} teams, the number of clients, got {len(lists)}")
    for numbers in lists:
        _check_team(numbers, present)
        check_count("classes", classes, len(numbers), "the classes of the smallest team")
    check_min_size(min_size, num_clients, len(labels))
    hands = []
    for numbers, clients in zip(lists, np.bincount(consecutive_teams(num_clients, len(lists))), strict=True):
        check_window(int(clients), classes, len(numbers))
        hands.append(np.searchsorted(present, numbers)[sliding(int(clients), classes, len(numbers))])
    owners = owners_of(np.concatenate(hands), len(groups))
    owner = spread(labels, groups, owners, np.random.default_rng(seed))
    check_sizes(owner, num_clients, min_size)
    return owner


def _numbers(item: str | Sequence[int]) -> list[int]:
    """Read labels as numbers; a text has parts joined by +, each a number or a range ``first-last``."""
    try:
        if not isinstance(item, str):
            return [int(number) for number in item]
        bounds = [part.split("-") for part in item.split("+")]
        return [n for ends in bounds for n in range(int(ends[0]), int(ends[-1]) + 1)]
    except (TypeError, ValueError):
        raise ValueError(f"team_classes: expected labels as in (0, 1, 2) or '0-2', got {item!r}") from None


def _check_team(numbers: list[int], present: np.ndarray) -> None:
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"team_classes: expected some labels in each team, each once, got {numbers}")
    absent = sorted(set(numbers) - set(present.tolist()))
    if absent:
        raise ValueError(f"team_classes: expected labels that occur in the data, got {absent[0]}")
