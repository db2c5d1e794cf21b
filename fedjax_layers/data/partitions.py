"""Partitions: which client owns which example, from the labels alone.

Every partition is a pure function ``(labels [N], num_clients, seed, *, ...) -> client_of [N] int32`` in which
each example has one owner ``0 .. C-1`` (or -1: nobody's). A new one is one more such function and one line in
``PARTITIONS``; its options are its keyword-only parameters. No function here draws until it likes the result:
what a draw misses is repaired, so the time needed is known beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fedjax_layers.names import check_options, unknown_name


def iid(labels: np.ndarray, num_clients: int, seed: int = 0) -> np.ndarray:
    """Deal the shuffled examples out in turn: equal sizes up to one.

    Args:
      labels: ``[N]`` integers.
      num_clients: C.
      seed: of the shuffle.

    Returns:
      ``[N]`` int32, each example's client.

    Raises:
      ValueError: labels are no 1-d integers, or ``num_clients`` is below 1 or above N.
    """
    labels, num_clients = _checked(labels, num_clients)
    owner = np.empty(len(labels), np.int32)
    owner[np.random.default_rng(seed).permutation(len(labels))] = np.arange(len(labels)) % num_clients
    return owner


def dirichlet(
    labels: np.ndarray, num_clients: int, seed: int = 0, *, alpha: float = 0.5, min_size: int = 10
) -> np.ndarray:
    """Label skew: each label is cut up among the clients in proportions ``Dir(alpha * 1_C)``.

    As PLayer-FL partitions its images (with alpha 0.5), except that a label's examples are shuffled first and
    cut at the floor of the cumulated proportions, so that rounding remainders are not all the last client's.
    Clients under ``min_size`` are topped up from the largest ones, see :func:`ensure_min_size`.

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
    labels, num_clients = _checked(labels, num_clients)
    if not 0 < alpha < math.inf:
        raise ValueError(f"alpha: expected a positive, finite number, got {alpha}")
    _check_min_size(min_size, num_clients, len(labels))
    rng = np.random.default_rng(seed)
    owner = np.empty(len(labels), np.int32)
    for examples in _by_label(labels):
        proportions = rng.dirichlet(np.full(num_clients, alpha))
        # Client c's share ends before example floor(n * (p_0 + ... + p_c)); the last client's at the end.
        ends = np.floor(len(examples) * np.cumsum(proportions))[:-1]
        rank = np.arange(len(examples))
        owner[rng.permutation(examples)] = np.searchsorted(ends, rank, side="right")
    return ensure_min_size(owner, num_clients, min_size, seed)


def classes_per_client(
    labels: np.ndarray, num_clients: int, seed: int = 0, *, classes: int = 2, min_size: int = 10
) -> np.ndarray:
    """Pathological label skew: each client has examples of ``classes`` classes and of no other.

    Classes are dealt to clients from shuffled packs that hold each class once, so every class is owned and
    the numbers of owners differ by at most one (McMahan et al. 2017, section 3, deals shards of sorted
    examples to the same end). A class's shuffled examples are spread evenly over its owners.

    Args:
      labels: ``[N]`` integers.
      num_clients: C; ``C * classes`` must reach the number of classes, lest a class be nobody's.
      seed: of the deal and the shuffles.
      classes: classes per client.
      min_size: fewest examples that a client may have. Where an even spread leaves fewer, this is an error:
        moving examples would give some client a further class.

    Returns:
      ``[N]`` int32, each example's client.

    Raises:
      ValueError: as :func:`iid`; or ``classes`` is out of range, a class has fewer examples than owners, or a
        client gets fewer than ``min_size`` examples.
    """
    labels, num_clients = _checked(labels, num_clients)
    groups = _by_label(labels)
    if not 1 <= classes <= len(groups):
        raise ValueError(f"classes: expected 1..{len(groups)}, the classes that occur, got {classes}")
    if num_clients * classes < len(groups):
        found = f"{num_clients} x {classes}"
        raise ValueError(f"classes: expected num_clients x classes of at least {len(groups)}, got {found}")
    _check_min_size(min_size, num_clients, len(labels))
    rng = np.random.default_rng(seed)
    dealt = _deal(rng, num_clients, classes, len(groups))
    owner = np.empty(len(labels), np.int32)
    for number, examples in enumerate(groups):
        owners = np.flatnonzero((dealt == number).any(axis=1))
        if len(owners) > len(examples):
            label = labels[examples[0]]
            found = f"{len(owners)} clients but {len(examples)} examples"
            raise ValueError(f"num_clients: expected no more owners than examples of class {label}, got {found}")
        owner[rng.permutation(examples)] = owners[np.arange(len(examples)) * len(owners) // len(examples)]
    sizes = np.bincount(owner, minlength=num_clients)
    if sizes.min() < min_size:
        found = f"{sizes.min()} for client {sizes.argmin()}"
        raise ValueError(f"min_size: expected at least {min_size} examples for each client, got {found}")
    return owner


def natural(labels: np.ndarray, num_clients: int | None = None, seed: int = 0, *, clients: np.ndarray) -> np.ndarray:
    """The partition that the data come with (hospitals, writers, speakers ...).

    Args:
      labels: ``[N]`` integers.
      num_clients: C, checked against ``clients``; ``None`` takes it from there.
      seed: not used; here so that all partitions are called alike.
      clients: ``[N]`` integers, each example's client, -1 for nobody's.

    Returns:
      ``[N]`` int32, each example's client.

    Raises:
      ValueError: ``clients`` does not fit the labels or ``num_clients``.
    """
    del seed
    clients = np.asarray(clients)
    if clients.shape != np.shape(labels) or not np.issubdtype(clients.dtype, np.integer):
        shape = f"shape {clients.shape} of {clients.dtype}"
        raise ValueError(f"clients: expected {len(labels)} integers, got {shape}")
    found = int(clients.max(initial=-1)) + 1
    if found < 1 or clients.min() < -1:
        lowest = clients.min(initial=-1)
        raise ValueError(f"clients: expected ids of at least -1, some not -1, got {lowest}..{found - 1}")
    if num_clients is not None and num_clients != found:
        raise ValueError(f"num_clients: expected {found}, the natural clients of the data, got {num_clients}")
    return clients.astype(np.int32)


PARTITIONS: dict[str, Callable[..., np.ndarray]] = {
    "classes_per_client": classes_per_client,
    "dirichlet": dirichlet,
    "iid": iid,
    "natural": natural,
}


def partition(name: str, labels: np.ndarray, num_clients: int | None, seed: int = 0, **params: Any) -> np.ndarray:
    """Partition by name.

    Args:
      name: a key of ``PARTITIONS``.
      labels: ``[N]`` integers.
      num_clients: C; only ``natural`` accepts ``None``.
      seed: of everything drawn.
      **params: keyword-only parameters of that partition.

    Returns:
      ``[N]`` int32, each example's client.

    Raises:
      ValueError: an unknown name or parameter (the nearest is suggested), or one out of range.
    """
    if name not in PARTITIONS:
        raise unknown_name("partition", name, PARTITIONS)
    check_options(f"partition {name!r}", params, PARTITIONS[name])
    return PARTITIONS[name](labels, num_clients, seed, **params)


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
    _check_min_size(min_size, num_clients, len(owner))
    sizes = np.bincount(owner, minlength=num_clients)
    missing = np.maximum(min_size - sizes, 0)
    owner = owner.astype(np.int32)
    if not missing.any():
        return owner
    given = _skim(sizes, int(missing.sum()))
    order = np.random.default_rng([seed, 1]).permutation(len(owner))  # [seed, 1]: not the caller's own stream
    order = order[np.argsort(owner[order], kind="stable")]  # grouped by client, random within
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    moved = order[rank < np.repeat(given, sizes)]
    owner[moved] = np.repeat(np.arange(num_clients), missing)
    return owner


def _skim(sizes: np.ndarray, total: int) -> np.ndarray:
    """How many examples each client gives, ``[C]``, if ``total`` times the largest client gives one."""
    # Throughout, at least ``total`` examples lie above level ``low`` and fewer above level ``high``.
    low, high = 0, int(sizes.max())
    while high - low > 1:
        middle = (low + high) // 2
        enough = np.maximum(sizes - middle, 0).sum() >= total
        low, high = (middle, high) if enough else (low, middle)
    given = np.maximum(sizes - low, 0)
    spared = np.flatnonzero(given)[: int(given.sum()) - total]  # the excess goes back, one each
    given[spared] -= 1
    return given


def _deal(rng: np.random.Generator, num_clients: int, hand: int, num_classes: int) -> np.ndarray:
    """Deal ``hand`` different classes to each client from shuffled packs of all classes, ``[C, hand]``."""
    cards: list[np.ndarray] = []
    dealt = 0
    while dealt < num_clients * hand:
        pack = rng.permutation(num_classes)
        started = dealt % hand
        if started:  # a client's hand spans two packs: the classes it holds go to the end of the new one
            held = np.isin(pack, cards[-1][-started:])
            pack = np.concatenate([pack[~held], pack[held]])
        cards.append(pack)
        dealt += num_classes
    return np.concatenate(cards)[: num_clients * hand].reshape(num_clients, hand)


def _by_label(labels: np.ndarray) -> list[np.ndarray]:
    """Example numbers of each label that occurs, labels ascending."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _checked(labels: np.ndarray, num_clients: int) -> tuple[np.ndarray, int]:
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels: expected 1-d integers, got shape {labels.shape} of {labels.dtype}")
    if isinstance(num_clients, bool) or not isinstance(num_clients, int | np.integer):
        raise ValueError(f"num_clients: expected an integer, got {num_clients!r}")
    if not 1 <= num_clients <= len(labels):
        raise ValueError(f"num_clients: expected 1..{len(labels)}, the number of examples, got {num_clients}")
    return labels, int(num_clients)


def _check_min_size(min_size: int, num_clients: int, num_examples: int) -> None:
    most = num_examples // num_clients
    if not 0 <= min_size <= most:
        data = f"{num_examples} examples for {num_clients} clients"
        raise ValueError(f"min_size: expected 0..{most} with {data}, got {min_size}")
