"""Whole numbers from proportions, and examples by their label."""

from __future__ import annotations

import numpy as np


def by_label(labels: np.ndarray) -> list[np.ndarray]:
    """Example numbers of each label that occurs, labels ascending, examples in the order of the data."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def round_sizes(weights: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers ``[C]`` that sum to ``total``, each within one of its share; the largest remainders round up.

    Args:
      weights: ``[C]``, at least 0, some above.
      total: what to share.

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
    """Give each label's examples, from the first on, to its owners in turn; what is left is nobody's.

    Args:
      groups: for each label its example numbers.
      owners: for each label clients, repeated if need be.
      amounts: for each label how many examples each of these owners gets, together no more than there are.
      num_examples: N.

    Returns:
      ``[N]`` int32, each example's client, -1 for nobody's.
    """
    owner = np.full(num_examples, -1, np.int32)
    for examples, clients, counts in zip(groups, owners, amounts, strict=True):
        given = np.repeat(clients, counts)
        owner[examples[: len(given)]] = given
    return owner
