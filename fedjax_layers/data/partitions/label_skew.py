"""Partitions with label skew by Dirichlet draws, of each label's clients or of each client's labels."""

from __future__ import annotations

import numpy as np

from fedjax_layers.data.partitions.checks import check_labels, check_min_size, check_positive
from fedjax_layers.data.partitions.counting import by_label, ensure_min_size, hand_out, round_sizes
from fedjax_layers.data.partitions.quantity import lognormal_sizes


def dirichlet(
    labels: np.ndarray, num_clients: int, seed: int = 0, *, alpha: float = 0.5, min_size: int = 10
) -> np.ndarray:
    """Divide each label among the clients in proportions ``Dir(alpha * 1_C)`` (label skew).

    This follows Yurochkin et al. 2019 (arXiv 1905.12022), but no draw is thrown away: clients below ``min_size`` get
    examples of the largest ones, see :func:`ensure_min_size`. A label's examples are shuffled first and cut at the
    floor of the cumulated proportions, so that rounding remainders do not all go to the last client;
    :func:`playerfl` keeps PLayer-FL's own way of cutting.

    For text, FedTLU's setting is this partition with alpha 0.1 or 0.5 over a latent label (source or topic of
    a document): pass that as ``labels``.

    Args:
      labels: ``[N]`` integers.
      num_clients: C, the number of clients.
      seed: of the proportions and the shuffles.
      alpha: concentration, above 0: towards 0 one client owns a label, towards infinity all clients are
        alike.
      min_size: fewest examples that a client may have; 0 allows empty clients.

    Returns:
      ``[N]`` int32, each example's client.

    Raises:
      ValueError: as :func:`iid`; or alpha is not positive and finite, or there are not ``min_size`` examples
        for each client.
    """
    labels, num_clients = check_labels(labels, num_clients)
    check_positive("alpha", alpha)
    check_min_size(min_size, num_clients, len(labels))
    owner = cut_labels(labels, num_clients, alpha, np.random.default_rng(seed))
    return ensure_min_size(owner, num_clients, min_size, seed)


def dirichlet_balanced(labels: np.ndarray, num_clients: int, seed: int = 0, *, alpha: float = 0.5) -> np.ndarray:
    """Give clients equal sizes (up to one), and each a Dirichlet mix of the K labels (label skew).

    This is FedLab's balanced Dirichlet partition and Flower's ``InnerDirichletPartitioner``, after Acar et al. 2021
    (FedDyn, arXiv 2111.04263). Mixes are ``Dir(alpha * K * q)``, where q are the labels' shares of the data: for
    balanced labels that is the symmetric ``Dir(alpha * 1_K)`` of these, and otherwise the demand meets the supply on
    average. FedLab fills clients one example at a time; here all are filled at once. Where a label is wanted more often
    than it occurs, every client gets the same share of what it wants, and the rest of the clients is filled at random
    with the remaining examples.

    Args:
      labels: ``[N]`` integers.
      num_clients: C, the number of clients.
      seed: seed of mixes and shuffles.
      alpha: concentration, above 0: towards 0 each client has one label, towards infinity all clients are alike.

    Returns:
      ``[N]`` int32, each example's client.

    Raises:
      ValueError: as :func:`iid`; or alpha is not positive and finite.
    """
    labels, num_clients = check_labels(labels, num_clients)
    check_positive("alpha", alpha)
    return _filled(labels, round_sizes(np.ones(num_clients), len(labels)), alpha, np.random.default_rng(seed))


def dirichlet_lognormal(
    labels: np.ndarray, num_clients: int, seed: int = 0, *, alpha: float = 0.5, sigma: float = 1.0, min_size: int = 10
) -> np.ndarray:
    """Give clients sizes as :func:`quantity_lognormal` and mixes of labels as :func:`dirichlet_balanced`.

    This is FedLab's unbalanced Dirichlet partition (``unbalance_sgm``), with label and quantity skew.

    Args:
      labels: ``[N]`` integers.
      num_clients: C, the number of clients.
      seed: seed of sizes, mixes and shuffles.
      alpha: concentration of the mixes, above 0.
      sigma: standard deviation of the log size; 0 makes sizes equal up to one.
      min_size: fewest examples that a client may have; smaller ones are topped up from the largest.

    Returns:
      ``[N]`` int32, each example's client.

    Raises:
      ValueError: as :func:`quantity_lognormal` and :func:`dirichlet_balanced`.
    """
    labels, num_clients = check_labels(labels, num_clients)
    check_positive("alpha", alpha)
    rng = np.random.default_rng(seed)
    return _filled(labels, lognormal_sizes(rng, num_clients, len(labels), sigma, min_size), alpha, rng)


def cut_labels(labels: np.ndarray, parts: int, alpha: float, rng: np.random.Generator) -> np.ndarray:
    """Divide each label's shuffled examples into parts by ``Dir(alpha * 1)``; return each example's part, ``[N]``."""
    owner = np.empty(len(labels), np.int32)
    for examples in by_label(labels):
        proportions = rng.dirichlet(np.full(parts, alpha))
        # Part c ends before example floor(n * (p_0 + ... + p_c)) of the label; the last part at its end.
        ends = np.floor(len(examples) * np.cumsum(proportions))[:-1]
        rank = np.arange(len(examples))
        owner[rng.permutation(examples)] = np.searchsorted(ends, rank, side="right")
    return owner


def _filled(labels: np.ndarray, sizes: np.ndarray, alpha: float, rng: np.random.Generator) -> np.ndarray:
    """Fill clients of these sizes ``[C]``, which sum to N, by a mix of labels drawn for each."""
    groups = [rng.permutation(examples) for examples in by_label(labels)]
    supply = np.array([len(examples) for examples in groups])
    mixes = rng.dirichlet(alpha * len(groups) * supply / supply.sum(), size=len(sizes))
    wanted = _whole(sizes, mixes, rng)
    demand = wanted.sum(axis=0)
    # Of a label in short supply, clients 0 to c together get floor(their demand * supply / total demand).
    ends = np.cumsum(wanted, axis=0) * np.minimum(supply, demand) // np.maximum(demand, 1)
    granted = np.diff(ends, axis=0, prepend=0)
    clients = np.arange(len(sizes))
    owner = hand_out(groups, [clients] * len(groups), list(granted.T), len(labels))
    left = rng.permutation(np.flatnonzero(owner < 0))
    owner[left] = np.repeat(clients, sizes - granted.sum(axis=1))
    return owner


def _whole(sizes: np.ndarray, mixes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw whole numbers ``[C, K]`` whose rows sum to ``sizes``, each within one of its share and right on average."""
    shift = rng.random((len(sizes), 1))  # one shift per row, as in systematic sampling
    ends = np.floor(sizes[:, None] * np.cumsum(mixes, axis=1) + shift).astype(np.int64)
    ends = np.minimum(ends, sizes[:, None])
    ends[:, -1] = sizes
    return np.diff(ends, axis=1, prepend=0)
