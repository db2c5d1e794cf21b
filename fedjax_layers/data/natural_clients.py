"""Some of the clients that the data come with: by name, by size, or so many of them."""

from __future__ import annotations

import dataclasses

import numpy as np

from fedjax_layers.data.splits import random_keys
from fedjax_layers.options import unknown_name

_STEP = 11  # of the seed: other draws than those of splits and reserve


@dataclasses.dataclass(frozen=True)
class NaturalChoice:
    """Which natural clients take part; what is not asked for leaves out nobody.

    Attributes:
      names: of those that do; empty takes all.
      smallest: examples that one has to have.
      number: how many are drawn of those that names and size leave; ``None`` takes them all.
      seed: of that draw.
    """

    names: tuple[str, ...] = ()
    smallest: int = 0
    number: int | None = None
    seed: int = 0


def chosen_clients(owner: np.ndarray, names: tuple[str, ...], choice: NaturalChoice, source: str) -> np.ndarray:
    """The natural clients chosen, by number, rising.

    The draw depends on the clients' numbers and the seed alone: of two draws with one seed the smaller is part of the
    larger.

    Args:
      owner: ``[N]`` natural client of each example, -1 for those that do not count.
      names: of all natural clients.
      choice: which of them.
      source: name of the data set, for messages.

    Raises:
      ValueError: a name that the data lack (the nearest is suggested), a number out of range, or nobody is left.
    """
    there = np.unique(owner[owner >= 0])
    if choice.names:
        known = {names[client]: client for client in there.tolist()}
        for name in choice.names:
            if name not in known:
                raise unknown_name("natural_clients", name, known)
        there = np.unique([known[name] for name in choice.names])
    if choice.smallest < 0:
        raise ValueError(f"smallest_client: expected at least 0 examples, got {choice.smallest}")
    sizes = np.bincount(owner[owner >= 0], minlength=len(names))
    large = there[sizes[there] >= choice.smallest]
    if not len(large):
        largest = int(sizes[there].max(initial=0))
        raise ValueError(
            f"smallest_client: expected at most {largest}, the examples of the largest natural client of {source}, "
            f"got {choice.smallest}"
        )
    if choice.number is None:
        return large
    if not 1 <= choice.number <= len(large):
        some = (
            ", natural clients that are left"
            if len(large) < len(np.unique(owner[owner >= 0]))
            else ", the natural clients"
        )
        raise ValueError(f"clients: expected 1..{len(large)}{some} of {source}, got {choice.number}")
    order = np.lexsort((large, random_keys(large, choice.seed + _STEP)))
    return np.sort(large[order[: choice.number]])
