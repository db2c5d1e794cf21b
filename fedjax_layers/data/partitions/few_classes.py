"""Partitions in which clients hold a few classes, and nothing or little of the others."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from fedjax_layers.data.partitions.checks import check_count, check_labels, check_min_size, check_sizes
from fedjax_layers.data.partitions.counting import by_label
from fedjax_layers.options import unknown_name

ASSIGNMENTS = ("random", "sliding")


def classes_per_client(
    labels: np.ndarray,
    num_clients: int,
    seed: int = 0,
    *,
    classes: int = 2,
    assignment: Literal["random", "sliding"] = "random",
    min_size: int = 10,
) -> np.ndarray:
    """Give each client examples of ``classes`` classes and of no other (pathological label skew).

    Random assignment gives classes to clients from shuffled packs that hold each class once, so that every class is
    owned and the numbers of owners differ by at most one. Sliding assignment gives client c the K classes
    ``(c + j) mod K``, j < classes. A class's shuffled examples are spread evenly over its owners. (Quantity-based
    label imbalance of NIID-Bench, Li et al. 2022, arXiv 2102.02079; the sliding window is PerMFL's and pFedMe's.)

    Args:
      labels: ``[N]`` integers.
      num_clients: C, the number of clients; ``C * classes`` must reach the number of classes, so that no class is
        without an owner (for sliding: ``C + classes - 1``).
      seed: seed of the assignment and the shuffles.
      classes: number of classes per client.
      assignment: how classes are assigned to clients, ``"random"`` or ``"sliding"``.
      min_size: fewest examples that a client may have. Where an even spread leaves fewer, this is an error:
        moving examples would give some client a further class.

    Returns:
      ``[N]`` int32, each example's client.

    Raises:
      ValueError: as :func:`iid`; or ``classes`` is out of range, ``assignment`` unknown, a class has fewer
        examples than owners, or a client gets fewer than ``min_size`` examples.
    """
    labels, num_clients = check_labels(labels, num_clients)
    groups = by_label(labels)
    check_count("classes", classes, len(groups), "the classes that occur")
    if num_clients * classes < len(groups):
        found = f"{num_clients} x {classes}"
        raise ValueError(f"classes: expected num_clients x classes of at least {len(groups)}, got {found}")
    if assignment not in ASSIGNMENTS:
        raise unknown_name("assignment", assignment, ASSIGNMENTS)
    check_min_size(min_size, num_clients, len(labels))
    rng = np.random.default_rng(seed)
    if assignment == "random":
        hands = deal(rng, num_clients, classes, len(groups))
    else:
        check_window(num_clients, classes, len(groups))
        hands = sliding(num_clients, classes, len(groups))
    owner = spread(labels, groups, owners_of(hands, len(groups)), rng)
    check_sizes(owner, num_clients, min_size)
    return owner


def shards(labels: np.ndarray, num_clients: int, seed: int = 0, *, shards_per_client: int = 2) -> np.ndarray:
    """Sort examples by label, cut them into ``C * shards_per_client`` shards, and give these to clients at random.

    This is the pathological label skew of McMahan et al. 2017 (FedAvg), section 3, with 2 shards for each of 100
    clients. Shards differ in size by at most one, and so do clients by at most one per shard. A client holds at most
    twice ``shards_per_client`` labels if no label is smaller than a shard, and mostly ``shards_per_client`` or fewer.

    Args:
      labels: ``[N]`` integers.
      num_clients: C, the number of clients.
      seed: seed of the assignment.
      shards_per_client: number of shards that each client gets.

    Returns:
      ``[N]`` int32, each example's client.

    Raises:
      ValueError: as :func:`iid`; or ``shards_per_client`` is below 1 or makes more shards than examples.
    """
    labels, num_clients = check_labels(labels, num_clients)
    most = len(labels) // num_clients
    check_count("shards_per_client", shards_per_client, most, "the examples for each client")
    total = num_clients * shards_per_client
    holder = np.random.default_rng(seed).permutation(total) // shards_per_client
    owner = np.empty(len(labels), np.int32)
    owner[np.argsort(labels, kind="stable")] = holder[np.arange(len(labels)) * total // len(labels)]
    return owner


def sliding(num_clients: int, hand: int, num_classes: int) -> np.ndarray:
    """List the classes ``(c + j) mod num_classes`` of client c, ``[C, hand]``."""
    return (np.arange(num_clients)[:, None] + np.arange(hand)) % num_classes


def check_window(num_clients: int, hand: int, num_classes: int) -> None:
    """Raise ``ValueError`` for too few clients for a sliding window to reach every class."""
    if num_clients + hand - 1 < num_classes:
        least = f"at least {num_classes - hand + 1} for {num_classes} classes in windows of {hand}"
        raise ValueError(f"num_clients: expected {least}, got {num_clients}")


def deal(rng: np.random.Generator, num_clients: int, hand: int, num_classes: int) -> np.ndarray:
    """Give ``hand`` different classes to each client from shuffled packs of all classes, ``[C, hand]``."""
    packs = -(-num_clients * hand // num_classes)
    cards = np.stack([rng.permutation(num_classes) for _ in range(packs)])
    # A client's classes may span two packs: those that it has from the first go to the end of the second one. After
    # ``cycle`` packs, a client's classes end with a pack, so all packs of the same position in their cycle are handled
    # together.
    cycle = hand // math.gcd(hand, num_classes)
    for place in range(1, cycle):
        later = cards[place::cycle]
        started = place * num_classes % hand
        held = cards[place - 1 :: cycle][: len(later), -started:]
        is_held = np.zeros(later.shape, bool)
        np.put_along_axis(is_held, held, values=True, axis=1)
        last = np.take_along_axis(is_held, later, axis=1)
        cards[place::cycle] = np.take_along_axis(later, np.argsort(last, axis=1, kind="stable"), axis=1)
    return cards.ravel()[: num_clients * hand].reshape(num_clients, hand)


def owners_of(hands: np.ndarray, num_classes: int) -> list[np.ndarray]:
    """List for each class the clients that hold it, ascending; no row of ``hands [C, hand]`` repeats a class."""
    clients = np.argsort(hands.ravel(), kind="stable") // hands.shape[1]
    return np.split(clients, np.cumsum(np.bincount(hands.ravel(), minlength=num_classes))[:-1])


def spread(
    labels: np.ndarray, groups: list[np.ndarray], owners: list[np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Spread each class's shuffled examples evenly over its owners, ``[N]`` int32; -1 where a class has no owner.

    Raises:
      ValueError: a class has fewer examples than owners.
    """
    owner = np.full(len(labels), -1, np.int32)
    for examples, clients in zip(groups, owners, strict=True):
        if len(clients) > len(examples):
            label = labels[examples[0]]
            found = f"{len(clients)} clients but {len(examples)} examples"
            raise ValueError(f"num_clients: expected no more owners than examples of class {label}, got {found}")
        if len(clients):
            owner[rng.permutation(examples)] = clients[np.arange(len(examples)) * len(clients) // len(examples)]
    return owner
