"""The split of each client's examples into training, validation and test."""

from __future__ import annotations

import numpy as np

SPLITS = ("train", "val", "test")


def split_counts(sizes: np.ndarray, test_fraction: float, val_fraction: float) -> np.ndarray:
    """Compute the number of examples of each client and split.

    Of a client's n examples ``ceil(test_fraction * n)`` are test, then ``ceil(val_fraction * rest)`` validation, the
    rest training. Where none would be left for training, one example is moved there from validation, or else from test,
    so that n = 1, 2, 3 give 1/0/0, 1/0/1 and 1/1/1 with a fifth for each.

    Args:
      sizes: ``[C]`` integers, each client's number of examples.
      test_fraction: share of a client's examples, in [0, 1).
      val_fraction: share of what the test split leaves, in [0, 1).

    Returns:
      ``[C, 3]`` int64: train, validation, test.

    Raises:
      ValueError: a fraction is out of range.
    """
    for argument, value in {"test_fraction": test_fraction, "val_fraction": val_fraction}.items():
        if not 0 <= value < 1:
            raise ValueError(f"{argument}: expected a number in [0, 1), got {value}")
    slack = 1e-9  # 0.2 * 35 is a little more than 7 in binary
    test = np.ceil(sizes * test_fraction - slack).astype(np.int64)
    val = np.ceil((sizes - test) * val_fraction - slack).astype(np.int64)
    starved = (test + val == sizes) & (sizes > 0)
    from_val = starved & (val > 0)
    val -= from_val
    test -= starved & ~from_val
    return np.stack([sizes - test - val, val, test], axis=1)


def assign_splits(
    client_of: np.ndarray,
    ids: np.ndarray,
    strata: np.ndarray | None,
    counts: np.ndarray,
    seed: int,
    in_order: bool = False,
) -> np.ndarray:
    """Choose each client's training, validation and test examples.

    The choice depends only on ``seed`` and the example ids: an example's random key is the same in every
    partition, and a client's split does not depend on the other clients.

    Args:
      client_of: ``[n]`` integers in ``0 .. C-1``.
      ids: ``[n]`` example ids.
      strata: ``[n]`` integers whose shares are kept: of a client's examples of one stratum, each split gets its
        proportional number, rounded up or down. ``None`` ignores classes.
      counts: ``[C, 3]`` as :func:`split_counts` gives them.
      seed: seed of the random keys.
      in_order: whether a client's first examples by id are training and its last are test, whatever seed and strata
        are, for series, in which neighbours overlap or resemble each other.

    Returns:
      ``[n]`` int8: 0 train, 1 validation, 2 test.
    """
    keys = ids if in_order else random_keys(ids, seed)
    split = np.empty(len(ids), np.int8)
    if strata is None or in_order:
        # In the order of keys, a client's first rows are training, the next validation, the last test.
        order = np.lexsort((ids, keys, client_of))
        split[order] = np.repeat(np.tile(np.arange(3, dtype=np.int8), len(counts)), counts.ravel())
        return split
    order = np.lexsort((ids, keys, strata, client_of))
    test = _systematic(client_of[order], ids[order], counts.sum(1), counts[:, 2], seed, 2)
    split[order] = np.where(test, 2, 0)
    rest = order[~test]
    val = _systematic(client_of[rest], ids[rest], counts[:, 0] + counts[:, 1], counts[:, 1], seed, 1)
    split[rest[val]] = 1
    return split


def _systematic(
    client: np.ndarray, ids: np.ndarray, sizes: np.ndarray, wanted: np.ndarray, seed: int, step: int
) -> np.ndarray:
    """Flag ``wanted[c]`` evenly spaced rows of each client's ``sizes[c]``, from a random start in each client.

    On rows ordered by stratum this is stratified sampling without a loop: a run of m rows gets m * wanted / size
    flags, rounded up or down.
    """
    first = np.cumsum(sizes) - sizes
    position = np.arange(len(client)) - first[client]
    lowest = np.minimum.reduceat(ids, first[sizes > 0]) if len(ids) else ids
    start = np.zeros(len(sizes))
    start[sizes > 0] = random_keys(lowest, seed + step) / 2.0**64
    # Row p is flagged where (p * wanted + u) / size passes a whole number. Integers avoid errors of rounding.
    offset = np.floor(start * sizes).astype(np.int64)
    low = (position * wanted[client] + offset[client]) // np.maximum(sizes, 1)[client]
    high = ((position + 1) * wanted[client] + offset[client]) // np.maximum(sizes, 1)[client]
    return high > low


def random_keys(ids: np.ndarray, seed: int) -> np.ndarray:
    """Make a random 64-bit key for each example id, ``[n]`` uint64 (the splitmix64 mixer of Steele et al. 2014).

    It is a hash, and not a generator's stream, so that it is the same in every NumPy version and does not depend on
    other examples.

    Raises:
      ValueError: the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"seed: expected an integer of at least 0, got {seed}")
    start = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
    with np.errstate(over="ignore"):  # arithmetic is modulo 2^64
        x = start + ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def drawn(ids: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Draw ``number`` of the different ``ids [n]``; with one seed a smaller draw is a subset of a larger one."""
    return ids[np.argsort(random_keys(ids, seed))[:number]]


def set_apart(ids: np.ndarray, strata: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Flag a stratified share of all examples ``[N]``, for a global test set.

    Args:
      ids: ``[N]`` example ids.
      strata: ``[N]`` integers whose shares are kept.
      fraction: share in (0, 1), which gives ``ceil(fraction * N)`` examples.
      seed: seed of the choice.

    Raises:
      ValueError: the fraction is out of range.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"global_test: expected a share in (0, 1), got {fraction}")
    size = np.array([len(ids)])
    wanted = np.ceil(size * fraction - 1e-9).astype(np.int64)
    order = np.lexsort((ids, random_keys(ids, seed), strata))
    flags = np.zeros(len(ids), bool)
    flags[order] = _systematic(np.zeros(len(ids), np.int64), ids[order], size, wanted, seed, 3)
    return flags
