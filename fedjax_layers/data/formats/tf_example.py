"""A parser of ``tf.train.Example``, without TensorFlow.

Source: the messages of tensorflow/core/example/example.proto and feature.proto, in the encoding of
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

Values = np.ndarray | list[bytes]  # of one feature: float32 or int64 numbers, or texts

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # kinds of fields
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_LONGEST = 10  # bytes of a number of 64 bits
_BYTES, _FLOATS, _INTEGERS = 1, 2, 3  # numbers of the lists in a feature


def parse_example(content: bytes, where: str) -> dict[str, Values]:
    """Parse a serialised ``tf.train.Example``.

    Args:
      content: its bytes.
      where: name of what is parsed, for the message.

    Returns:
      The values of each feature: ``[n]`` float32 or int64, or a list of bytes. A feature without a list is left out.

    Raises:
      ValueError: the bytes are no such message, or only the beginning of one.
    """
    found: dict[str, Values] = {}
    try:
        for features in _messages(memoryview(content), 1):
            for entry in _messages(features, 1):
                name = b"".join(bytes(key) for key in _messages(entry, 1)).decode()
                for feature in _messages(entry, 2):
                    values = _values(feature)
                    if values is not None:
                        found[name] = values
    except (ValueError, IndexError) as error:
        reason = " ".join(str(error).split())[:100]
        raise ValueError(f"{where}: expected a tf.train.Example, could not read it ({reason})") from error
    return found


def _values(feature: memoryview) -> Values | None:
    values: Values | None = None
    for number, kind, content in _fields(feature):
        if kind != _LENGTH:
            continue
        if number == _BYTES:
            values = [bytes(text) for text in _messages(content, 1)]
        elif number == _FLOATS:
            parts = [part for n, k, part in _fields(content) if n == 1 and k in (_LENGTH, _FIXED32)]
            values = np.frombuffer(b"".join(parts), "<f4")
        elif number == _INTEGERS:
            parts = [part for n, k, part in _fields(content) if n == 1 and k in (_LENGTH, _VARINT)]
            values = _integers(np.frombuffer(b"".join(parts), np.uint8))
    return values


def _messages(content: memoryview, wanted: int) -> Iterator[memoryview]:
    return (part for number, kind, part in _fields(content) if number == wanted and kind == _LENGTH)


def _fields(content: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Iterate over the fields of a message: number, kind and content, for a number its bytes."""
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        number, kind = key >> 3, key & 7
        start = at
        if kind == _VARINT:
            _, at = _varint(content, at)
        elif kind in _FIXED:
            at += _FIXED[kind]
        elif kind == _LENGTH:
            length, start = _varint(content, at)
            at = start + length
        else:
            raise ValueError(f"a field of kind {kind}")
        if at > len(content) or not number:
            raise ValueError("a field that does not end" if number else "a field of number 0")
        yield number, kind, content[start:at]


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    """Read a number of variable length; return it, and the place after it."""
    number = 0
    for i in range(_LONGEST):
        byte = content[at + i]
        number |= (byte & 127) << (7 * i)
        if byte < 128:
            return number, at + i + 1
    raise ValueError("a number that does not end")


def _integers(content: np.ndarray) -> np.ndarray:
    """Read numbers of variable length one after the other, ``[n]`` int64."""
    ends = np.flatnonzero(content < 128)
    if len(ends) == len(content):  # all are below 128
        return content.astype(np.int64)
    if not len(ends) or ends[-1] != len(content) - 1:
        raise ValueError("a number that does not end")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > _LONGEST:
        raise ValueError("a number that does not end")
    place = np.arange(len(content)) - np.repeat(starts, lengths)
    shifted = (content & 127).astype(np.uint64) << (7 * place).astype(np.uint64)  # bits beyond 64 are lost, as in C
    return np.add.reduceat(shifted, starts).astype(np.int64)
