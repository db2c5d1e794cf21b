"""The partitions of PLayer-FL and pFedLA as in their papers (PerMFL's is in ``permfl.py``)."""

from __future__ import annotations

import numpy as np

from fedjax_layers.data.partitions.checks import (
    check_count,
    check_labels,
    check_min_size,
    check_positive,
    is_integer,
)
from fedjax_layers.data.partitions.counting import by_label, ensure_min_size, hand_out
from fedjax_layers.data.partitions.few_classes import deal, owners_of, spread


def playerfl(
    labels: np.ndarray, num_clients: int, seed: int = 0, *, alpha: float = 0.5, min_size: int = 0
) -> np.ndarray:
    """Divide each label in the data's order by Dirichlet shares, with the remainder to the last client (PLayer-FL).

    Of a label's n examples client c gets ``floor(p_c * n)``, ``p ~ Dir(alpha * 1_C)``, and the last client the rest;
    slices are consecutive, not shuffled (PLayer-FL, arXiv 2502.08829, published code; 5 clients, alpha 0.5). The
    published code repairs nothing. The rule is the published one, but not the draws, whose place in which generator's
    stream is not known.

    Args:
      labels: ``[N]`` integers.
      num_clients: C, the number of clients.
      seed: seed of the proportions.
      alpha: concentration, above 0.
      min_size: fewest examples that a client may have; 0, as published, allows empty clients. Above, clients are
        topped up by :func:`ensure_min_size`.

    Returns:
      ``[N]`` int32, each example's client.

    Raises:
      ValueError: as :func:`dirichlet`.
    """
    labels, num_clients = check_labels(labels, num_clients)
    check_positive("alpha", alpha)
    check_min_size(min_size, num_clients, len(labels))
    rng = np.random.default_rng(seed)
    groups = by_label(labels)
    amounts = []
    for examples in groups:
        counts = np.floor(rng.dirichlet(np.full(num_clients, alpha)) * len(examples)).astype(np.int64)
        counts[-1] = len(examples) - counts[:-1].sum()
        amounts.append(counts)
    owner = hand_out(groups, [np.arange(num_clients)] * len(groups), amounts, len(labels))
    return ensure_min_size(owner, num_clients, min_size, seed)


def pfedla_1(
    labels: np.ndarray,
    num_clients: int,
    seed: int = 0,
    *,
    classes: int = 4,
    use_all: bool = False,
    client_size: int | None = None,
) -> np.ndarray:
    """Give each client ``classes`` random classes, with equally many examples of each (Non-IID_1 of pFedLA).

    In Ma et al. 2022 (CVPR, arXiv 2205.03993) these are 4 of 10 classes, or 12 for CIFAR-100. How classes are drawn,
    and how classes of unequal size are handled, is not known from the paper. Here, classes are assigned from
    shuffled packs, so that every class is used, as the re-implementation KarhouTam/pFedLA does; a class is divided
    equally among its owners; and a client takes of each of its classes as many examples as the smallest of these parts
    has.

    Args:
      labels: ``[N]`` integers.
      num_clients: C, the number of clients.
      seed: seed of the assignment and the shuffles.
      classes: number of classes per client.
      use_all: ``False`` keeps the amounts within a client equal and leaves the other examples without a client;
        ``True`` gives all examples to clients, as the re-implementation does, so that amounts differ where classes or
        their owners do.
      client_size: largest number of examples per client, with which clients of all seeds and data sets may have one
        size; ``None`` for no limit.

    Returns:
      ``[N]`` int32, each example's client, -1 for none.

    Raises:
      ValueError: as :func:`iid`; or ``classes`` is out of range, a class has fewer examples than owners, or
        ``client_size`` is below ``classes`` or given with ``use_all``.
    """
    labels, num_clients = check_labels(labels, num_clients)
    groups = by_label(labels)
    check_count("classes", classes, len(groups), "the classes that occur")
    _check_client_size(client_size, classes, use_all)
    rng = np.random.default_rng(seed)
    hands = deal(rng, num_clients, classes, len(groups))
    owners = owners_of(hands, len(groups))
    whole = spread(labels, groups, owners, rng)
    if use_all:
        return whole
    cuts = np.array([len(examples) // max(len(clients), 1) for examples, clients in zip(groups, owners, strict=True)])
    amount = np.minimum(cuts[hands].min(axis=1), len(labels) if client_size is None else client_size // classes)
    groups = [rng.permutation(examples) for examples in groups]
    return hand_out(groups, owners, [amount[clients] for clients in owners], len(labels))


def pfedla_2(
    labels: np.ndarray,
    num_clients: int,
    seed: int = 0,
    *,
    dominant: int = 2,
    share: float = 0.8,
    use_all: bool = False,
    client_size: int | None = None,
) -> np.ndarray:
    """Give each client all classes, of which ``dominant`` make up ``share`` of its examples (Non-IID_2 of pFedLA).

    Ma et al. 2022 (CVPR, arXiv 2205.03993), experiments: 2 of 10 classes with about 80 % of a client's data. The
    settings for CIFAR-100 (about 20 dominant classes?) and EMNIST are unclear, as are sizes and how dominant
    classes are drawn. Here, they are assigned from shuffled packs, so that each class dominates equally often up to
    one; they have equal shares, as do the others; and all clients have one size, the largest for which no class runs
    out.

    Args:
      labels: ``[N]`` integers.
      num_clients: C, the number of clients.
      seed: seed of the assignment and the shuffles.
      dominant: number of dominating classes per client, below the number of classes.
      share: share of the dominating classes in a client's examples, in (0, 1).
      use_all: ``False`` keeps the shares (each amount within one) and leaves the other examples without a client;
        ``True`` divides all of each class in proportion, so that shares differ where classes are of unequal size or do
        not dominate equally often.
      client_size: largest number of examples per client, as in :func:`pfedla_1`; ``None`` for no limit.

    Returns:
      ``[N]`` int32, each example's client, -1 for none.

    Raises:
      ValueError: as :func:`iid`; or ``dominant`` or ``share`` is out of range, or a client would not get an
        example of each class, or ``client_size`` is below the number of classes or given with ``use_all``.
    """
    labels, num_clients = check_labels(labels, num_clients)
    groups = by_label(labels)
    supply = np.array([len(examples) for examples in groups])
    check_count("dominant", dominant, len(groups) - 1, "fewer than the classes that occur")
    if not 0 < share < 1:
        raise ValueError(f"share: expected a number between 0 and 1, got {share}")
    _check_client_size(client_size, len(groups), use_all)
    rng = np.random.default_rng(seed)
    weights = np.full((num_clients, len(groups)), (1 - share) / (len(groups) - dominant))
    np.put_along_axis(weights, deal(rng, num_clients, dominant, len(groups)), share / dominant, axis=1)
    sums = np.cumsum(weights, axis=0)
    sizes = supply / sums[-1]
    size = sizes if use_all else sizes.min()
    slack = 0.0
    if client_size is not None and client_size <= sizes.min():
        size, slack = client_size, 1e-9  # keeps amounts that are whole numbers
    ends = np.floor(size * sums + slack).astype(np.int64)
    ends[-1] = supply if use_all else np.minimum(ends[-1], supply)
    amounts = np.diff(ends, axis=0, prepend=0)
    if not amounts.all():
        found = f"none of class {labels[groups[amounts.min(axis=0).argmin()][0]]} for some client"
        raise ValueError(f"num_clients: expected so few that each gets an example of every class, got {found}")
    groups = [rng.permutation(examples) for examples in groups]
    return hand_out(groups, [np.arange(num_clients)] * len(groups), list(amounts.T), len(labels))


def _check_client_size(client_size: int | None, least: int, use_all: bool) -> None:
    """Raise ``ValueError`` for a size that leaves a class without an example, or a size with ``use_all``."""
    if client_size is None:
        return
    if use_all:
        raise ValueError(f"client_size: expected none with use_all, got {client_size}")
    if not is_integer(client_size) or client_size < least:
        expected = f"an integer of at least {least}, the classes per client"
        raise ValueError(f"client_size: expected {expected}, got {client_size}")
