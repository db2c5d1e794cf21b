"""PerMFL's partition of image data, with exactly the numbers of its published code."""

from __future__ import annotations

import random

import numpy as np

from fedjax_layers.data.partitions.checks import check_count, check_labels
from fedjax_layers.data.partitions.counting import by_label, hand_out
from fedjax_layers.data.partitions.few_classes import owners_of, sliding

FEW_DEVICES = 20  # number of clients up to which the published code doubles the second amount


def permfl(
    labels: np.ndarray,
    num_clients: int,
    seed: int = 0,
    *,
    classes: int = 2,
    chunk: int = 10,
    extra: tuple[int, ...] = (300, 600),
    lognormal: bool = True,
    draw_seeds: tuple[int, ...] = (5, 9),
) -> np.ndarray:
    """Give client u the classes ``(u + j) mod K``, with ``chunk`` examples of each and a drawn number more (PerMFL).

    This is exactly the published code of PerMFL (after pFedMe's). All clients first get ``chunk`` examples of each of
    their classes. Then, in turn, client u gets for its j-th class k ``int(props[k, u // (C // K), j])`` plus a
    whole number drawn from ``extra`` (both ends included), twice that for up to 20 clients, but nothing if the
    class would not outlast it. ``props`` ``[K, C, classes]`` are LogNormal(0, 2) draws scaled to sum to ``n_k -
    C`` for each class. Examples are taken in the order of the data, which is training set, then test set; the rest gets
    no client. Clients split theirs 3:1 into training and test, ``test_fraction=0.25`` of :func:`federate`.

    ====================== ======================================================================================
    MNIST, FashionMNIST    40 clients, defaults; 4 teams of 10 consecutive clients
    CIFAR-10               ``draw_seeds=(1, 1)``
    FEMNIST (62 classes)   3,500 clients, ``classes=3, extra=(100, 3000), lognormal=False, draw_seeds=(1, 1)``
    CIFAR-100              350 clients, ``classes=3, lognormal=False, draw_seeds=(1, 1)``
    ====================== ======================================================================================

    Both generators are Mersenne twisters with frozen streams: Python's ``random`` draws from ``extra``,
    NumPy's ``RandomState`` the LogNormal numbers. In the published code K is 10 where ``props`` are used.

    Args:
      labels: ``[N]`` integers, all the data in order.
      num_clients: C, the number of clients.
      seed: added to both ``draw_seeds``; 0 gives the published split.
      classes: number of classes per client.
      chunk: number of examples of each class that a client gets first, at least 1.
      extra: lowest and highest number of the draw.
      lognormal: whether the LogNormal numbers are added.
      draw_seeds: seeds of Python's generator and of NumPy's.

    Returns:
      ``[N]`` int32, each example's client, -1 for none.

    Raises:
      ValueError: as :func:`iid`; or an option is out of range, or a class has too few examples for the first
        chunks.
    """
    labels, num_clients = check_labels(labels, num_clients)
    groups = by_label(labels)
    check_count("classes", classes, len(groups), "the classes that occur")
    check_count("chunk", chunk, len(labels) // num_clients, "the examples for each client")
    _check_pairs(extra, draw_seeds)
    hands = sliding(num_clients, classes, len(groups))
    owners = owners_of(hands, len(groups))
    supply = np.array([len(examples) for examples in groups])
    room = supply - chunk * np.array([len(clients) for clients in owners])
    if room.min() < 0:
        found = f"{supply[room.argmin()]} for {len(owners[room.argmin()])} clients"
        label = labels[groups[room.argmin()][0]]
        raise ValueError(f"num_clients: expected {chunk} examples of class {label} for each owner, got {found}")
    wanted = np.reshape(_draws(num_clients * classes, extra, draw_seeds[0] + seed), hands.shape)
    if lognormal:
        wanted += _shares(supply, hands, (draw_seeds[1] + seed) % 2**32)
    given = _fitting(wanted * (2 if num_clients <= FEW_DEVICES else 1), hands, room)
    order = np.argsort(hands.ravel(), kind="stable")
    seconds = np.split(given.ravel()[order], np.cumsum([len(clients) for clients in owners])[:-1])
    amounts = [np.concatenate([np.full(len(more), chunk), more]) for more in seconds]
    return hand_out(groups, [np.tile(clients, 2) for clients in owners], amounts, len(labels))


def _check_pairs(extra: tuple[int, ...], draw_seeds: tuple[int, ...]) -> None:
    for name, pair in {"extra": extra, "draw_seeds": draw_seeds}.items():
        if len(pair) != 2 or min(pair) < 0 or (name == "extra" and pair[0] > pair[1]):
            order = ", the lower first" if name == "extra" else ""
            raise ValueError(f"{name}: expected two whole numbers of at least 0{order}, got {pair}")


def _draws(count: int, bounds: tuple[int, ...], seed: int) -> list[int]:
    """Draw whole numbers within bounds, both included, with Python's generator."""
    generator = random.Random(seed)
    return [generator.randint(*bounds) for _ in range(count)]


def _shares(supply: np.ndarray, hands: np.ndarray, seed: int) -> np.ndarray:
    """Draw the LogNormal numbers ``[C, classes]`` of each client and class."""
    num_clients, classes = hands.shape
    props = np.random.RandomState(seed).lognormal(0, 2.0, (len(supply), num_clients, classes))
    left = np.maximum(supply - num_clients, 0)
    props = left[:, None, None] * props / props.sum(axis=(1, 2), keepdims=True)
    row = np.arange(num_clients) // max(num_clients // len(supply), 1)
    return props[hands, row[:, None], np.arange(classes)].astype(np.int64)


def _fitting(wanted: np.ndarray, hands: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Grant ``wanted [C, classes]`` in turn where the class has more examples left than that, else 0."""
    left = room.tolist()
    given = []
    for amount, k in zip(wanted.ravel().tolist(), hands.ravel().tolist(), strict=True):
        fits = amount < left[k]
        left[k] -= amount if fits else 0
        given.append(amount if fits else 0)
    return np.reshape(given, wanted.shape)
