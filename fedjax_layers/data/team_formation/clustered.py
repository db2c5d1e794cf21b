"""Team formations of similar clients, by the shares of their labels or by their updates in local training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from fedjax_layers.data.team_formation.ordered import team_sizes
from fedjax_layers.options import unknown_name

Distance = Literal["hellinger", "total_variation"]
_MOST_PAIRED = 20_000  # largest number of clients whose pairwise distances are held at once: 3.2 GB
_REFINEMENTS = 20  # most passes in which given sizes are reached; three or four are usual


def by_labels(
    counts: np.ndarray,
    num_teams: int,
    seed: int = 0,
    *,
    method: Literal["agglomerative", "kmeans"] = "agglomerative",
    distance: Distance = "hellinger",
    size_ratio: float | None = None,
) -> np.ndarray:
    """Put clients with similar distributions of labels together.

    Args:
      counts: ``[C, S]`` examples of each client and label.
      num_teams: T, the number of teams.
      seed: seed of the starts of ``"kmeans"``; the other method draws nothing.
      method: how clients are clustered: ``"agglomerative"`` (average linkage; memory grows with C squared) or
        ``"kmeans"`` (for many clients).
      distance: distance between two clients' shares of labels p and q: ``"hellinger"``, the Euclidean distance of their
        square roots, or ``"total_variation"``, half the sum of ``|p - q|``, which k-means does not take.
      size_ratio: size of each team as a multiple of the one before; ``None`` leaves the sizes to the data. Sizes are
        those of :func:`~fedjax_layers.data.team_formation.team_sizes`, the largest for the largest cluster.

    Returns:
      ``[C]`` int32; team 0 is that of client 0 where sizes are free.

    Raises:
      ValueError: an argument is out of range, a client has no examples, or there are too many to compare in pairs.
    """
    points = _points(counts, distance)
    if method not in ("agglomerative", "kmeans"):
        raise unknown_name("method", method, ("agglomerative", "kmeans"))
    if method == "agglomerative":
        return _together(points, distance, num_teams, size_ratio)
    if distance != "hellinger":
        raise ValueError(f"distance: expected hellinger with method kmeans, got {distance}")
    sizes = team_sizes(len(points), num_teams, 1.0 if size_ratio is None else size_ratio)
    clusters = _kmeans(points, num_teams, seed)
    return clusters if size_ratio is None else _resized(points, distance, clusters, sizes)


def by_updates(updates: np.ndarray, num_teams: int, seed: int = 0, *, size_ratio: float | None = None) -> np.ndarray:
    """Put clients with updates of similar direction together, by cosine distance and average linkage.

    Args:
      updates: ``[C, P]``, each client's update of the common start in one local phase, all P parameters flattened.
      num_teams: T, the number of teams.
      seed: not used.
      size_ratio: size of each team as a multiple of the one before; ``None`` leaves the sizes to the data.

    Returns:
      ``[C]`` int32.

    Raises:
      ValueError: an argument is out of range, an update is not finite, or there are too many clients.
    """
    del seed
    wrong = np.flatnonzero(~np.isfinite(updates).all(axis=1))
    if len(wrong):
        raise ValueError(f"updates: expected finite numbers, got others from client {wrong[0]}; it diverged")
    return _together(_directions(updates), "cosine", num_teams, size_ratio)


def hierarchical(
    counts: np.ndarray,
    num_teams: int,
    seed: int = 0,
    *,
    branching: tuple[int, ...] | None = None,
    distance: Distance = "hellinger",
) -> np.ndarray:
    """Split clients by their labels into a few groups, and each of these again, level by level.

    Args:
      counts: ``[C, S]`` examples of each client and label.
      num_teams: T, the number of teams on the finest level; with n of these in each team of a coarser level, that one
        is
      seed: not used.
      branching: numbers of groups into which each level is split, from the coarsest on; their product is T. ``None``
        takes T's prime factors, the smallest first.
      distance: distance between two clients' shares of labels, ``"hellinger"`` or ``"total_variation"``; see
        :func:`by_labels`.

    Returns:
      ``[C]`` int32, teams of equal size up to one; teams of one parent have consecutive numbers.

    Raises:
      ValueError: ``branching`` does not make ``num_teams``, or as :func:`by_labels`.
    """
    del seed
    points = _points(counts, distance)
    branching = _check_branching(num_teams, branching)
    sizes = team_sizes(len(points), num_teams)
    team_of = np.zeros(len(points), np.int32)
    teams = 1
    for parts in branching:
        finer = sizes.reshape(teams, parts, -1).sum(-1)
        before = team_of.copy()
        for team in range(teams):
            members = np.flatnonzero(before == team)
            clusters = _agglomerated(points[members], distance, parts)
            team_of[members] = team * parts + _resized(points[members], distance, clusters, finer[team])
        teams *= parts
    return team_of


def nearest_team(features: np.ndarray, team_of: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Choose teams for further clients: the one whose mean direction is closest by the cosine.

    Args:
      features: ``[C, F]``.
      team_of: ``[C]``, each client's team; the entries of ``rest`` are not read.
      rest: ``[C]`` bool, the clients without a team; not all of them.

    Returns:
      ``[C]`` int32.
    """
    points = _directions(features)
    centres = _centres(points[~rest], team_of[~rest])
    found = np.array(team_of, np.int32)
    found[rest] = _distances(points[rest], centres, "cosine").argmin(1)
    return found


def _check_branching(num_teams: int, branching: Sequence[int] | None) -> tuple[int, ...]:
    if branching is None:
        factors, left = [], num_teams
        for factor in range(2, num_teams + 1):
            while left % factor == 0:
                factors.append(factor)
                left //= factor
        return tuple(factors) or (1,)
    if not branching or min(branching) < 1 or int(np.prod(branching)) != num_teams:
        raise ValueError(f"branching: expected numbers whose product is {num_teams}, the teams, got {branching}")
    return tuple(branching)


def _points(counts: np.ndarray, distance: str) -> np.ndarray:
    """Compute each client's shares of labels ``[C, S]``, or for Hellinger's distance their square roots."""
    if distance not in ("hellinger", "total_variation"):
        raise unknown_name("distance", distance, ("hellinger", "total_variation"))
    counts = np.asarray(counts, np.float64)
    if counts.ndim != 2 or counts.shape[1] < 1:
        raise ValueError(f"counts: expected examples by client and label [C, S], got shape {counts.shape}")
    totals = counts.sum(1, keepdims=True)
    empty = np.flatnonzero(~(totals[:, 0] > 0))
    if len(empty):
        raise ValueError(f"counts: expected examples of each client, got none of client {empty[0]}")
    return np.sqrt(counts / totals) if distance == "hellinger" else counts / totals


def _directions(rows: np.ndarray) -> np.ndarray:
    """Scale rows to length 1; rows of zeros stay."""
    rows = np.asarray(rows, np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)


def _distances(points: np.ndarray, others: np.ndarray, distance: str) -> np.ndarray:
    """Compute distances ``[n, m]``; a row of zeros has cosine distance 1 from every other."""
    if distance == "cosine":
        return np.clip(1 - _directions(points) @ _directions(others).T, 0, 2)
    from scipy.spatial.distance import cdist  # noqa: PLC0415  (slow to import)

    if distance == "total_variation":
        return cdist(points, others, "cityblock") / 2
    return cdist(points, others)


def _together(points: np.ndarray, distance: str, num_teams: int, size_ratio: float | None) -> np.ndarray:
    sizes = team_sizes(len(points), num_teams, 1.0 if size_ratio is None else size_ratio)
    clusters = _agglomerated(points, distance, num_teams)
    return clusters if size_ratio is None else _resized(points, distance, clusters, sizes)


def _agglomerated(points: np.ndarray, distance: str, num_teams: int) -> np.ndarray:
    """Cluster by average linkage until ``num_teams`` clusters are left."""
    if num_teams == 1:
        return np.zeros(len(points), np.int32)
    if len(points) > _MOST_PAIRED:
        expected = f"at most {_MOST_PAIRED} clients to compare in pairs"
        raise ValueError(f"team_formation: expected {expected}, got {len(points)}; by_labels has method kmeans")
    from sklearn.cluster import AgglomerativeClustering  # noqa: PLC0415

    model = AgglomerativeClustering(num_teams, metric="precomputed", linkage="average")
    return _renumbered(model.fit(_distances(points, points, distance)).labels_)


def _kmeans(points: np.ndarray, num_teams: int, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans  # noqa: PLC0415

    if len(np.unique(points, axis=0)) < num_teams:  # equal clients must be separated, so that no team is empty
        points = points + np.random.default_rng(seed).normal(scale=1e-6, size=points.shape)
    return _renumbered(KMeans(num_teams, n_init=10, random_state=seed).fit(points).labels_)


def _renumbered(clusters: np.ndarray) -> np.ndarray:
    """Number clusters in the order of their first clients."""
    _, first, inverse = np.unique(clusters, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int32)


def _centres(points: np.ndarray, team_of: np.ndarray) -> np.ndarray:
    """Compute the mean of each team's points, ``[T, F]``."""
    sums = np.zeros((team_of.max() + 1, points.shape[1]))
    np.add.at(sums, team_of, points)
    return sums / np.bincount(team_of)[:, None]


def _resized(points: np.ndarray, distance: str, clusters: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Give clusters the ``sizes [T]``: each client goes to the nearest centre with a free place.

    The largest cluster starts as the largest team; centres follow their clients until no client moves.
    """
    place = np.empty(len(sizes), np.int32)
    place[np.argsort(-np.bincount(clusters), kind="stable")] = np.argsort(-sizes, kind="stable")
    team_of = place[clusters]
    for _ in range(_REFINEMENTS):
        before = team_of
        team_of = _filled(_distances(points, _centres(points, team_of), distance), sizes)
        if (team_of == before).all():
            break
    return team_of


def _filled(cost: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Assign clients to the cheapest team with a free place; who would lose most by the second choice goes first."""
    ranked = np.argsort(cost, axis=1, kind="stable")
    best = np.take_along_axis(cost, ranked[:, :2], axis=1)
    left = sizes.tolist()
    team_of = np.empty(len(cost), np.int32)
    for client in np.argsort(best[:, 0] - best[:, -1], kind="stable"):
        team_of[client] = next(team for team in ranked[client] if left[team])
        left[team_of[client]] -= 1
    return team_of
