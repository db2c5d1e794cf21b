"""Label skew of the common kind: each label is cut up among the clients in Dirichlet proportions."""

from __future__ import annotations

import numpy as np

from fedjax_layers.data.partitions.checks import check_labels, check_min_size, check_positive
from fedjax_layers.data.partitions.counting import by_label
from fedjax_layers.data.partitions.repair import ensure_min_size


def dirichlet(
    labels: np.ndarray, num_clients: int, seed: int = 0, *, alpha: float = 0.5, min_size: int = 10
) -> np.ndarray:
    """Label skew: each label is cut up among the clients in proportions ``Dir(alpha * 1_C)``.

    Yurochkin et al. 2019 (arXiv 1905.12022), but no draw is thrown away: clients under ``min_size``
    are topped up from the largest ones, see :func:`ensure_min_size`. A label's examples are shuffled first and
    cut at the floor of the cumulated proportions, so that rounding remainders are not all the last client's;
    :func:`playerfl` keeps PLayer-FL's own way of cutting.

    For text, FedTLU's setting is this partition with alpha 0.1 or 0.5 over a latent label (source or topic of
    a document): pass that as ``labels``.

    Args:
      labels: ``[N]`` integers.
      num_clients: C.
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


def cut_labels(labels: np.ndarray, parts: int, alpha: float, rng: np.random.Generator) -> np.ndarray:
    """Part ``0 .. parts-1`` of each example, ``[N]`` int32: labels shuffled, cut up in ``Dir(alpha * 1)``."""
    owner = np.empty(len(labels), np.int32)
    for examples in by_label(labels):
        proportions = rng.dirichlet(np.full(parts, alpha))
        # Part c ends before example floor(n * (p_0 + ... + p_c)) of the label; the last part at its end.
        ends = np.floor(len(examples) * np.cumsum(proportions))[:-1]
        rank = np.arange(len(examples))
        owner[rng.permutation(examples)] = np.searchsorted(ends, rank, side="right")
    return owner
