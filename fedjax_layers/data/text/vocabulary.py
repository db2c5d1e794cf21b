"""Vocabularies, which number the tokens of the training texts by frequency, after padding and unknown."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Iterable, Sequence

import numpy as np

PAD = "<pad>"
UNKNOWN = "<unk>"
PAD_ID = 0
UNKNOWN_ID = 1


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The tokens by number; :meth:`of_words` makes it.

    Attributes:
      names: V tokens; ``<pad>`` is number 0 and ``<unk>``, which stands for every token that is not listed, number 1.
    """

    names: tuple[str, ...]

    @classmethod
    def of_words(cls, documents: Iterable[Sequence[str]], limit: int | None = None) -> Vocabulary:
        """Number tokens by falling frequency, and equally frequent ones by code points.

        Args:
          documents: the tokens of each training text; the text itself where tokens are characters. ``<unk>`` keeps its
            number where a text spells it out, as WikiText does; a spelled-out ``<pad>`` counts as unknown.
          limit: largest V, including ``<pad>`` and ``<unk>``; ``None`` keeps every token.

        Raises:
          ValueError: ``limit`` leaves no room for a token.
        """
        if limit is not None and limit < 3:
            raise ValueError(f"vocabulary: expected at least 3, with {PAD} and {UNKNOWN}, got {limit}")
        counts: collections.Counter[str] = collections.Counter()
        for words in documents:
            counts.update(words)
        kept = sorted((token for token in counts if token not in (PAD, UNKNOWN)), key=lambda t: (-counts[t], t))
        return cls((PAD, UNKNOWN, *kept)[:limit])

    def __len__(self) -> int:
        return len(self.names)

    @property
    def dtype(self) -> np.dtype:
        """The smallest dtype that holds every number."""
        return id_dtype(len(self))

    def encode_words(self, words: Sequence[str]) -> np.ndarray:
        """Return the numbers ``[M]`` of words."""
        numbers = self._numbers
        return np.fromiter((numbers.get(word, UNKNOWN_ID) for word in words), self.dtype, len(words))

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names) if name != PAD}


def id_dtype(size: int) -> np.dtype:
    """Return the smallest of uint8, uint16 and int32 that holds ``0 .. size - 1``."""
    return np.dtype(np.uint8 if size <= 2**8 else np.uint16 if size <= 2**16 else np.int32)
