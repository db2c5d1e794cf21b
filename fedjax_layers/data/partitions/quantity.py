"""Partitions without label skew: examples are given to clients at random, in equal or skewed sizes."""

from __future__ import annotations

import numpy as np

from fedjax_layers.data.partitions.checks import check_labels, check_min_size, check_not_negative, check_positive
from fedjax_layers.data.partitions.counting import raise_sizes, round_sizes


def iid(labels: np.ndarray, num_clients: int, seed: int = 0) -> np.ndarray:
    """Give the shuffled examples to clients in turn, in equal sizes up to one.

    Args:
      labels: ``[N]`` integers.
      num_clients: C, the number of clients.
      seed: seed of the shuffle.

    Returns:
      ``[N]`` int32, each example's client.

    Raises:
      ValueError: labels are no 1-d integers, or ``num_clients`` is below 1 or above N.
    """
    labels, num_clients = check_labels(labels, num_clients)
    owner = np.empty(len(labels), np.int32)
    owner[np.random.default_rng(seed).permutation(len(labels))] = np.arange(len(labels)) % num_clients
    return owner


def quantity_lognormal(
    labels: np.ndarray, num_clients: int, seed: int = 0, *, sigma: float = 1.0, min_size: int = 10
) -> np.ndarray:
    """Give clients sizes in proportion to ``exp(sigma * z)``, z standard normal, and random examples (quantity skew).

    This is FedLab's unbalanced iid partition (``unbalance_sgm``; Zeng et al. 2023).

    Args:
      labels: ``[N]`` integers.
      num_clients: C, the number of clients.
      seed: seed of the sizes and the assignment.
      sigma: standard deviation of the log size; 0 makes sizes equal up to one.
      min_size: fewest examples that a client may have; smaller ones are topped up from the largest.

    Returns:
      ``[N]`` int32, each example's client.

    Raises:
      ValueError: as :func:`iid`; or sigma is negative or not finite, or there are not ``min_size`` examples
        for each client.
    """
    labels, num_clients = check_labels(labels, num_clients)
    rng = np.random.default_rng(seed)
    return _dealt(lognormal_sizes(rng, num_clients, len(labels), sigma, min_size), rng)


def quantity_zipf(
    labels: np.ndarray, num_clients: int, seed: int = 0, *, exponent: float = 1.0, min_size: int = 10
) -> np.ndarray:
    """Give client c a share in proportion to ``(c + 1) ** -exponent``, and random examples (quantity skew).

    Client 0 is the largest; sizes are the same for every seed. It is the power law of client sizes of Li et al. 2020
    (FedProx, experiments), by rank and not drawn; Flower's ``LinearPartitioner`` and its relatives fix sizes by client
    number in the same way.

    Args:
      labels: ``[N]`` integers.
      num_clients: C, the number of clients.
      seed: seed of the assignment.
      exponent: exponent of the power law, at least 0; 0 makes sizes equal up to one, 1 is Zipf's law.
      min_size: fewest examples that a client may have; smaller ones are topped up from the largest.

    Returns:
      ``[N]`` int32, each example's client.

    Raises:
      ValueError: as :func:`iid`; or exponent is negative or not finite, or there are not ``min_size`` examples
        for each client.
    """
    labels, num_clients = check_labels(labels, num_clients)
    check_not_negative("exponent", exponent)
    check_min_size(min_size, num_clients, len(labels))
    weights = np.arange(1, num_clients + 1) ** -float(exponent)
    return _dealt(raise_sizes(round_sizes(weights, len(labels)), min_size), np.random.default_rng(seed))


def quantity_dirichlet(
    labels: np.ndarray, num_clients: int, seed: int = 0, *, alpha: float = 0.5, min_size: int = 10
) -> np.ndarray:
    """Give clients sizes in proportions ``Dir(alpha * 1_C)``, and random examples (quantity skew).

    This is the quantity skew of NIID-Bench (Li et al. 2022, arXiv 2102.02079, where alpha is beta), FedLab's
    ``unbalance``.

    Args:
      labels: ``[N]`` integers.
      num_clients: C, the number of clients.
      seed: seed of the sizes and the assignment.
      alpha: concentration, above 0: towards 0 one client owns everything, towards infinity sizes are equal.
      min_size: fewest examples that a client may have; smaller ones are topped up from the largest.

    Returns:
      ``[N]`` int32, each example's client.

    Raises:
      ValueError: as :func:`iid`; or alpha is not positive and finite, or there are not ``min_size`` examples
        for each client.
    """
    labels, num_clients = check_labels(labels, num_clients)
    check_positive("alpha", alpha)
    check_min_size(min_size, num_clients, len(labels))
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(num_clients, alpha))
    return _dealt(raise_sizes(round_sizes(weights, len(labels)), min_size), rng)


def lognormal_sizes(
    rng: np.random.Generator, num_clients: int, num_examples: int, sigma: float, min_size: int
) -> np.ndarray:
    """Draw sizes ``[C]`` of sum N in proportion to ``exp(sigma * z)``, at least ``min_size`` each.

    Raises:
      ValueError: sigma or ``min_size`` is out of range.
    """
    check_not_negative("sigma", sigma)
    check_min_size(min_size, num_clients, num_examples)
    logs = sigma * rng.standard_normal(num_clients)
    return raise_sizes(round_sizes(np.exp(logs - logs.max()), num_examples), min_size)


def _dealt(sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give shuffled examples to clients of these sizes ``[C]``, which sum to N."""
    owner = np.empty(sizes.sum(), np.int32)
    owner[rng.permutation(len(owner))] = np.repeat(np.arange(len(sizes)), sizes)
    return owner
