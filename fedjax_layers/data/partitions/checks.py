"""Checks of partitions' arguments, whose errors are one line with argument, expected and got."""

from __future__ import annotations

import math

import numpy as np


def check_labels(labels: np.ndarray, num_clients: int) -> tuple[np.ndarray, int]:
    """Check and return ``labels`` as an array ``[N]`` of integers, and ``num_clients`` as an ``int`` in 1..N.

    Raises:
      ValueError: they are not.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels: expected 1-d integers, got shape {labels.shape} of {labels.dtype}")
    if not is_integer(num_clients):
        raise ValueError(f"num_clients: expected an integer, got {num_clients!r}")
    if not 1 <= num_clients <= len(labels):
        raise ValueError(f"num_clients: expected 1..{len(labels)}, the number of examples, got {num_clients}")
    return labels, int(num_clients)


def check_min_size(min_size: int, num_clients: int, num_examples: int) -> None:
    """Raise ``ValueError`` for a ``min_size`` below 0 or above the examples per client."""
    most = num_examples // num_clients
    if not 0 <= min_size <= most:
        data = f"{num_examples} examples for {num_clients} clients"
        raise ValueError(f"min_size: expected 0..{most} with {data}, got {min_size}")


def check_sizes(owner: np.ndarray, num_clients: int, min_size: int) -> None:
    """Raise ``ValueError`` for a partition ``[N]`` that gives a client fewer than ``min_size`` examples."""
    sizes = np.bincount(owner[owner >= 0], minlength=num_clients)
    if sizes.min() < min_size:
        found = f"{sizes.min()} for client {sizes.argmin()}"
        raise ValueError(f"min_size: expected at least {min_size} examples for each client, got {found}")


def check_positive(argument: str, value: float) -> None:
    """Raise ``ValueError`` unless the value is positive and finite."""
    if not 0 < value < math.inf:
        raise ValueError(f"{argument}: expected a positive, finite number, got {value}")


def check_not_negative(argument: str, value: float) -> None:
    """Raise ``ValueError`` unless the value is finite and at least 0."""
    if not 0 <= value < math.inf:
        raise ValueError(f"{argument}: expected a finite number of at least 0, got {value}")


def check_count(argument: str, value: int, most: int, of_what: str) -> None:
    """Raise ``ValueError`` unless the value is an integer in 1..``most``; ``of_what`` explains ``most``."""
    if not is_integer(value) or not 1 <= value <= most:
        raise ValueError(f"{argument}: expected 1..{most}, {of_what}, got {value}")


def is_integer(value: object) -> bool:
    """Return whether a value is an integer, and no bool."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_natural(labels: np.ndarray, clients: np.ndarray) -> np.ndarray:
    """Check and return natural clients ``[N]`` as int64: an id for each label, -1 for some without a client."""
    clients = np.asarray(clients)
    if clients.shape != np.shape(labels) or not np.issubdtype(clients.dtype, np.integer):
        shape = f"shape {clients.shape} of {clients.dtype}"
        raise ValueError(f"clients: expected {len(labels)} integers, got {shape}")
    clients = clients.astype(np.int64)
    lowest, highest = clients.min(initial=-1), clients.max(initial=-1)
    if highest < 0 or lowest < -1:
        raise ValueError(f"clients: expected ids of at least -1, some not -1, got {lowest}..{highest}")
    return clients
