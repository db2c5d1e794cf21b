"""Natural clients of the examples that were kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def present_clients(numbers: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Number the clients anew, without those that have no example.

    Args:
      numbers: ``[N]`` client of each example, by its place in ``names``.
      names: of all clients.

    Returns:
      ``[N]`` int32 numbers ``0 .. C-1``, and the C names, in their old order.
    """
    present, clients = np.unique(numbers, return_inverse=True)
    return clients.astype(np.int32), tuple(names[i] for i in present)
