"""Clients under a least size are topped up from the largest ones, in one pass."""

from __future__ import annotations

import numpy as np

from fedjax_layers.data.partitions.checks import check_min_size


def ensure_min_size(owner: np.ndarray, num_clients: int, min_size: int, seed: int = 0) -> np.ndarray:
    """Top up each client that has fewer than ``min_size`` examples with random ones of the largest clients.

    The donors are cut down to one level, as if each example in turn were taken from whoever is largest then,
    so no donor falls under ``min_size``. A receiver's examples come from as few donors as possible, which
    keeps label skew. Not a retry loop: one pass, deterministic.

    Args:
      owner: ``[N]`` integers in ``0 .. C-1``.
      num_clients: C.
      min_size: fewest examples that a client may have.
      seed: of the choice among a donor's examples.

    Returns:
      ``[N]`` int32, a new array.

    Raises:
      ValueError: there are not ``min_size`` examples for each client.
    """
    check_min_size(min_size, num_clients, len(owner))
    rng = np.random.default_rng([seed, 1])  # [seed, 1]: not the caller's own stream
    return top_up(owner, np.full(num_clients, min_size), rng)


def top_up(owner: np.ndarray, least: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As :func:`ensure_min_size`, with a least size ``[C]`` for each client; they must not sum to more than N."""
    num_clients = len(least)
    sizes = np.bincount(owner, minlength=num_clients)
    missing = np.maximum(least - sizes, 0)
    owner = owner.astype(np.int32)
    if not missing.any():
        return owner
    given = _skim(np.maximum(sizes - least, 0), int(missing.sum()))
    order = rng.permutation(len(owner))
    order = order[np.argsort(owner[order], kind="stable")]  # grouped by client, random within
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    moved = order[rank < np.repeat(given, sizes)]
    owner[moved] = np.repeat(np.arange(num_clients), missing)
    return owner


def raise_sizes(sizes: np.ndarray, min_size: int) -> np.ndarray:
    """Sizes ``[C]`` of the same sum with at least ``min_size`` each, the largest giving; C * min_size must fit."""
    missing = np.maximum(min_size - sizes, 0)
    return sizes + missing - _skim(np.maximum(sizes - min_size, 0), int(missing.sum()))


def _skim(excess: np.ndarray, total: int) -> np.ndarray:
    """How many examples each client gives, ``[C]``, if ``total`` times whoever has most to spare gives one."""
    # Throughout, at least ``total`` examples lie above level ``low`` and fewer above level ``high``.
    low, high = 0, int(excess.max()) + 1
    while high - low > 1:
        middle = (low + high) // 2
        enough = np.maximum(excess - middle, 0).sum() >= total
        low, high = (middle, high) if enough else (low, middle)
    given = np.maximum(excess - low, 0)
    spared = np.flatnonzero(given)[: int(given.sum()) - total]  # what is too much goes back, one each
    given[spared] -= 1
    return given
