"""Encoding of texts by a local Hugging Face ``tokenizer.json``, e.g. GPT-2's beside its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fedjax_layers.data.formats.text_files import read_text
from fedjax_layers.data.tables.columns import Ragged
from fedjax_layers.data.text.vocabulary import id_dtype

SUFFIX = ".json"
_MOST_TOKENS = 2**24  # a list of names has as many places as the largest number says


def encode_with_file(texts: Ragged, path: str) -> tuple[Ragged, tuple[str, ...]]:
    """Convert texts to the numbers of a tokenizer in a file, without special tokens.

    Args:
      texts: N texts.
      path: path of a ``tokenizer.json``.

    Returns:
      N sequences of numbers in the smallest type that holds them, and the V tokens' names; a number without a token
      has an empty one.

    Raises:
      ValueError: the package ``tokenizers`` is missing, the file is no tokenizer, or a text has a token that the
        tokenizer has no number for (the text is named).
      FileNotFoundError: there is no such file.
    """
    tokenizer = _load(path)
    names = _names(tokenizer, path)
    lines = texts.texts()
    try:
        encoded = [encoding.ids for encoding in tokenizer.encode_batch(lines, add_special_tokens=False)]
    except BaseException as error:
        _leave_alone(error)
        raise ValueError(f"{path}: {_first_refused(tokenizer, lines)}: {error}") from None
    ragged = Ragged.of((np.array(ids, np.int64) for ids in encoded), "int64")
    beyond = np.flatnonzero(ragged.values >= len(names))
    if len(beyond):
        text = int(np.searchsorted(ragged.offsets, beyond[0], side="right")) - 1
        number = int(ragged.values[beyond[0]])
        raise ValueError(f"{path}: expected numbers below {len(names)}, the vocabulary, got {number} in text {text}")
    return Ragged(ragged.values.astype(id_dtype(len(names))), ragged.offsets), names


def _load(path: str) -> Any:
    try:
        from tokenizers import Tokenizer  # noqa: PLC0415  (an extra)
    except ImportError:
        expected = "the package tokenizers, of the extra fedjax-layers[text],"
        raise ValueError(f"tokens: expected {expected} to read {path}, found none") from None
    content = read_text(Path(path))
    try:
        return Tokenizer.from_str(content)
    except BaseException as error:
        _leave_alone(error)
        raise ValueError(f"{path}: expected a tokenizer.json, got one that cannot be read: {error}") from None


def _leave_alone(error: BaseException) -> None:
    """Raise an error that is not the library's, whose own are exceptions or, where its code panics, none."""
    if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
        raise error


def _names(tokenizer: Any, path: str) -> tuple[str, ...]:
    numbers = tokenizer.get_vocab(with_added_tokens=True)
    if max(numbers.values(), default=0) >= _MOST_TOKENS:
        raise ValueError(f"{path}: expected numbers below {_MOST_TOKENS}, got {max(numbers.values())}")
    names = [""] * (max(numbers.values(), default=-1) + 1)
    for name, number in numbers.items():
        names[number] = name
    return tuple(names)


def _first_refused(tokenizer: Any, lines: list[str]) -> str:
    for number, line in enumerate(lines):
        try:
            tokenizer.encode(line, add_special_tokens=False)
        except BaseException as error:
            _leave_alone(error)
            return f"expected a number for every token, got none for one of text {number}"
    return "expected texts that it can encode"
