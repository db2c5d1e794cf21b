"""Helpers of partitions: whole numbers from proportions, examples by label, and least sizes of clients."""

from __future__ import annotations

import numpy as np

from fedjax_layers.data.partitions.checks import check_min_size


def by_label(labels: np.ndarray) -> list[np.ndarray]:
    """List the example numbers of each label that occurs, labels ascending, examples in the order of the data."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def round_sizes(weights: np.ndarray, total: int) -> np.ndarray:
    """Round shares to whole numbers ``[C]`` that sum to ``total``, each within one; the largest remainders round up.

    Args:
      weights: ``[C]``, at least 0, and not all 0.
      total: the number to share.

    Returns:
      ``[C]`` int64; a larger weight never gets less.
    """
    quotas = weights / weights.sum() * total
    sizes = np.floor(quotas).astype(np.int64)
    upward = np.argsort(sizes - quotas, kind="stable")[: total - sizes.sum()]
    sizes[upward] += 1
    return sizes


def hand_out(
    groups: list[np.ndarray], owners: list[np.ndarray], amounts: list[np.ndarray], num_examples: int
) -> np.ndarray:
    """Give each label's examples, from the first on, to its owners in turn; the rest gets no owner.

    Args:
      groups: for each label its example numbers.
      owners: for each label clients, repeated if need be.
      amounts: for each label the number of examples for each of these owners, together no more than there are.
      num_examples: N, the number of examples.

    Returns:
      ``[N]`` int32, each example's client, -1 for none.
    """
    owner = np.full(num_examples, -1, np.int32)
    for examples, clients, counts in zip(groups, owners, amounts, strict=True):
        given = np.repeat(clients, counts)
        owner[examples[: len(given)]] = given
    return owner


def ensure_min_size(owner: np.ndarray, num_clients: int, min_size: int, seed: int = 0) -> np.ndarray:
    """Top up each client that has fewer than ``min_size`` examples with random ones of the largest clients.

    The donors are reduced to one level, as if each example in turn were taken from the client that is largest then, so
    that no donor falls below ``min_size``. A receiver's examples come from as few donors as possible, which keeps label
    skew. This is one deterministic pass and no retry loop.

    Args:
      owner: ``[N]`` integers in ``0 .. C-1``.
      num_clients: C, the number of clients.
      min_size: fewest examples that a client may have.
      seed: seed of the choice among a donor's examples.

    Returns:
      ``[N]`` int32, a new array.

    Raises:
      ValueError: there are not ``min_size`` examples for each client.
    """
    check_min_size(min_size, num_clients, len(owner))
    rng = np.random.default_rng([seed, 1])  # a stream other than the caller's
    return top_up(owner, np.full(num_clients, min_size), rng)


def top_up(owner: np.ndarray, least: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Do the same as :func:`ensure_min_size` with a least size ``[C]`` per client; they must sum to at most N."""
    num_clients = len(least)
    sizes = np.bincount(owner, minlength=num_clients)
    missing = np.maximum(least - sizes, 0)
    owner = owner.astype(np.int32)
    if not missing.any():
        return owner
    given = _skim(np.maximum(sizes - least, 0), int(missing.sum()))
    order = rng.permutation(len(owner))
    order = order[np.argsort(owner[order], kind="stable")]  # grouped by client, random within each
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    moved = order[rank < np.repeat(given, sizes)]
    owner[moved] = np.repeat(np.arange(num_clients), missing)
    return owner


def raise_sizes(sizes: np.ndarray, min_size: int) -> np.ndarray:
    """Raise sizes ``[C]`` to at least ``min_size`` with the same sum, taken from the largest; C * min_size must fit."""
    missing = np.maximum(min_size - sizes, 0)
    return sizes + missing - _skim(np.maximum(sizes - min_size, 0), int(missing.sum()))


def _skim(excess: np.ndarray, total: int) -> np.ndarray:
    """Compute how many examples each client gives, ``[C]``, if ``total`` times the one with most to spare gives one."""
    # At all times, at least ``total`` examples are above level ``low`` and fewer above level ``high``.
    low, high = 0, int(excess.max()) + 1
    while high - low > 1:
        middle = (low + high) // 2
        enough = np.maximum(excess - middle, 0).sum() >= total
        low, high = (middle, high) if enough else (low, middle)
    given = np.maximum(excess - low, 0)
    spared = np.flatnonzero(given)[: int(given.sum()) - total]  # the surplus goes back, one example each
    given[spared] -= 1
    return given
