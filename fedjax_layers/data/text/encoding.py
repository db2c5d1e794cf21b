"""Conversion of texts to arrays of token numbers: splitting, encoding, and cutting into rows of one length."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np

from fedjax_layers.data.tables.columns import Ragged
from fedjax_layers.data.text.tokenizer_file import SUFFIX, encode_with_file
from fedjax_layers.data.text.vocabulary import PAD, PAD_ID, Vocabulary
from fedjax_layers.options import unknown_name

TOKENS = ("byte", "char", "word")
NO_TARGET = -1
END_OF_LINE = "<eos>"
WINDOWS_PER_DOCUMENT = 1_000_000  # the step between documents' ids in :func:`row_ids`
_WORDS = re.compile(r"\n|\w+(?:['’]\w+)*|[^\w\s]")

# A byte is its own token number. NUL, which does not occur in texts, is the padding.
BYTE_NAMES = tuple(chr(b) if 32 < b < 127 else f"0x{b:02x}" for b in range(256))
PADDINGS = (PAD, BYTE_NAMES[PAD_ID])  # names of token 0 where it is the padding


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Sequences of unequal length, cut into R rows of one length T.

    Attributes:
      document: ``[R]`` int64, the number of the sequence from which a row is cut.
      number: ``[R]`` int64, the number of the row within that sequence, from 0.
      mask: ``[R, T]`` bool, True where a row holds a token. Read row by row, the True entries are the tokens in order.
    """

    document: np.ndarray
    number: np.ndarray
    mask: np.ndarray

    def fill(self, values: np.ndarray, fill: int) -> np.ndarray:
        """Make rows ``[R, T]`` of ``values``' type: its entries where the mask is True, ``fill`` elsewhere."""
        rows = np.full(self.mask.shape, fill, values.dtype)
        rows[self.mask] = values
        return rows


def words(text: str) -> list[str]:
    """Split a text into words (with inner apostrophes), punctuation marks and line ends."""
    return _WORDS.findall(text)


def spaced_words(text: str) -> list[str]:
    """Split a text at spaces, for texts whose words are separated already; ``<eos>`` stands for each line's end."""
    return text.replace("\n", f" {END_OF_LINE} ").split()


def encode(
    texts: Ragged,
    training: Ragged,
    tokens: str,
    vocabulary: int | None = None,
    split: Callable[[str], Sequence[str]] = words,
) -> tuple[Ragged, tuple[str, ...]]:
    """Convert texts to token numbers.

    Args:
      texts: N texts.
      training: the texts whose words or characters get numbers; in all texts ``<unk>`` stands for any other one.
      tokens: ``"word"``, ``"char"``, ``"byte"`` (of UTF-8) or the path of a ``tokenizer.json``; for the last two
        ``training`` is not used.
      vocabulary: largest V, see :class:`~fedjax_layers.data.text.vocabulary.Vocabulary`; ``None`` for bytes, always
        256, and for a file.
      split: function from a text to its words.

    Returns:
      N sequences of numbers in the smallest type that holds them, and the V tokens' names.

    Raises:
      ValueError: ``tokens`` is unknown, ``vocabulary`` is too small or may not be given, a text of bytes has a NUL
        byte, or a text has no token (its number is named).
    """
    encoded, names = _encode(texts, training, tokens, vocabulary, split)
    empty = np.flatnonzero(encoded.lengths == 0)
    if len(empty):
        raise ValueError(f"texts: expected a token at least in each, got none in text {empty[0]}")
    return encoded, names


def _encode(
    texts: Ragged, training: Ragged, tokens: str, vocabulary: int | None, split: Callable[[str], Sequence[str]]
) -> tuple[Ragged, tuple[str, ...]]:
    if vocabulary is not None and (tokens == "byte" or tokens.endswith(SUFFIX)):
        raise ValueError(f"vocabulary: expected None for tokens={tokens!r}, which has its own, got {vocabulary}")
    if tokens.endswith(SUFFIX):
        return encode_with_file(texts, tokens)
    if tokens == "byte":
        zeros = np.flatnonzero(texts.values == PAD_ID)
        if len(zeros):
            row = int(np.searchsorted(texts.offsets, zeros[0], side="right")) - 1
            raise ValueError(f"texts: expected no NUL byte, which is the padding, got one in text {row}")
        return texts, BYTE_NAMES
    if tokens not in TOKENS:
        raise unknown_name("tokens", tokens, TOKENS)
    cut_up = split if tokens == "word" else str  # a text itself is the sequence of its characters
    known = Vocabulary.of_words(map(cut_up, training.texts()), vocabulary)
    return Ragged.of((known.encode_words(cut_up(text)) for text in texts.texts()), known.dtype.name), known.names


def decode(numbers: np.ndarray, names: Sequence[str]) -> list[str]:
    """Return the tokens' names for numbers ``[M]`` of :func:`encode`.

    Raises:
      ValueError: a number is outside the vocabulary; its place is named.
    """
    wrong = np.flatnonzero((numbers < 0) | (numbers >= len(names)))
    if len(wrong):
        found = f"{numbers[wrong[0]]} at place {wrong[0]}"
        raise ValueError(f"numbers: expected token numbers 0..{len(names) - 1}, got {found}")
    return [names[number] for number in numbers.tolist()]


def encode_rows(
    texts: Sequence[str], test: np.ndarray, length: int, tokens: str, vocabulary: int | None = None
) -> np.ndarray:
    """Convert N texts to rows ``[N, T]`` of token numbers; words and characters get theirs from the training texts.

    Args:
      texts: N texts.
      test: bool ``[N]``, the texts of the test part.
      length: T, the length of a row; longer texts are cut, shorter ones padded.
      tokens: as for :func:`encode`.
      vocabulary: as for :func:`encode`.

    Raises:
      ValueError: as for :func:`encode`.
    """
    training = Ragged.of_texts(text for text, apart in zip(texts, test.tolist(), strict=True) if not apart)
    return pad_to(encode(Ragged.of_texts(texts), training, tokens, vocabulary)[0], length)


def pad_to(ragged: Ragged, length: int, fill: int = PAD_ID) -> np.ndarray:
    """Take the first ``length`` entries of each sequence, ``[N, length]``, and pad shorter sequences.

    Raises:
      ValueError: the length is not positive.
    """
    _check_length(length)
    lengths = ragged.lengths
    position = np.arange(len(ragged.values)) - np.repeat(ragged.offsets[:-1], lengths)
    rows = np.full((len(ragged), length), fill, ragged.values.dtype)
    rows[np.arange(length) < lengths[:, None]] = ragged.values[position < length]
    return rows


def cut(lengths: np.ndarray, length: int) -> Rows:
    """Cut sequences from their start into rows of T = ``length`` tokens, of which each sequence's last may be shorter.

    Args:
      lengths: ``[N]``, the number of tokens of each sequence; one without tokens gets no row.
      length: T, the length of a row.

    Raises:
      ValueError: the length is not positive.
    """
    _check_length(length)
    count = -(-lengths // length)
    document = np.repeat(np.arange(len(lengths)), count)
    number = np.arange(len(document)) - np.repeat(np.cumsum(count) - count, count)
    mask = np.arange(length) < (lengths[document] - number * length)[:, None]
    return Rows(document, number, mask)


def windows(ragged: Ragged, length: int, fill: int = PAD_ID) -> tuple[np.ndarray, np.ndarray, Rows]:
    """Make examples of a language model: windows of tokens, and for each token the next one.

    Windows are adjacent within one document, so that each token but the first of a document is predicted exactly once,
    and never from another document. A document of one token gives no window.

    Args:
      ragged: N documents.
      length: T, the number of tokens in a window.
      fill: input after the end of a document.

    Returns:
      Inputs ``[R, T]`` in the documents' type, targets ``[R, T]`` int32 with -1 after the end of a document, and the
      rows.

    Raises:
      ValueError: the length is not positive.
    """
    lengths = ragged.lengths
    rows = cut(np.maximum(lengths - 1, 0), length)
    filled = ragged.offsets[1:][lengths > 0]  # ends of documents that are not empty
    is_input = np.ones(len(ragged.values), bool)
    is_input[filled - 1] = False
    is_target = np.ones(len(ragged.values), bool)
    is_target[ragged.offsets[:-1][lengths > 0]] = False
    inputs = rows.fill(ragged.values[is_input], fill)
    return inputs, rows.fill(ragged.values[is_target].astype(np.int32), NO_TARGET), rows


def row_ids(document_ids: np.ndarray, rows: Rows) -> np.ndarray:
    """Make ids ``[R]`` int64 of rows: document 12's fourth row is 12,000,003, whatever other documents there are.

    Raises:
      ValueError: a document has more rows than ids.
    """
    most = int(rows.number.max(initial=0))
    if most >= WINDOWS_PER_DOCUMENT:
        raise ValueError(f"length: expected fewer than {WINDOWS_PER_DOCUMENT} rows per document, got {most + 1}")
    return document_ids[rows.document].astype(np.int64) * WINDOWS_PER_DOCUMENT + rows.number


def number_texts(texts: Ragged) -> tuple[np.ndarray, tuple[str, ...]]:
    """Number texts such as clients' names, ``[N]`` int32, and list the different ones in order of appearance."""
    numbers: dict[str, int] = {}
    found = [numbers.setdefault(text, len(numbers)) for text in texts.texts()]
    return np.array(found, np.int32), tuple(numbers)


def _check_length(length: int) -> None:
    if length < 1:
        raise ValueError(f"length: expected at least 1, got {length}")
