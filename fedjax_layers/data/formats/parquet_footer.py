"""The number of values of each column of a Parquet file, read from its footer without Arrow.

Arrow ends the process for some damage in what it tells about a column, so this reads the footer itself: a struct in
Thrift's compact protocol (https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md) with the
fields of https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

_MAGIC = b"PAR1"
_ROW_GROUPS, _COLUMNS, _META_DATA, _NUM_VALUES = 4, 1, 3, 5  # numbers of fields
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)
_DEEPEST = 16
_LONGEST = 10  # bytes of a number


def values_of_columns(path: Path) -> list[int]:
    """Add up the number of values of each column over all row groups, as the footer announces it.

    Raises:
      ValueError: the footer is damaged.
    """
    try:
        return _sums(path)
    except (ValueError, IndexError, struct.error) as error:
        raise ValueError(f"{path}: expected the footer of a Parquet file, could not read it ({error})") from error


def _sums(path: Path) -> list[int]:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8))
        length, magic = struct.unpack("<I4s", file.read(8))
        if magic != _MAGIC or length > size - 8:
            raise ValueError("it is not at the end")
        file.seek(size - 8 - length)
        footer, _ = _read_struct(file.read(length), 0, 0)
    sums: list[int] = []
    for group in _list(footer.get(_ROW_GROUPS)):
        for at, column in enumerate(_list(_dict(group).get(_COLUMNS))):
            number = _dict(_dict(column).get(_META_DATA)).get(_NUM_VALUES)
            sums += [0] * (at + 1 - len(sums))
            sums[at] += number if isinstance(number, int) else 0
    return sums


def _read_struct(content: bytes, at: int, depth: int) -> tuple[dict[int, Any], int]:
    """Read the fields of a struct by their numbers; return them, and the place after it."""
    fields: dict[int, Any] = {}
    number = 0
    while head := content[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(content, at)
        kind = head & 15
        fields[number], at = (None, at) if kind in (_TRUE, _FALSE) else _read(content, at, kind, depth)
    return fields, at + 1


def _read(content: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if depth > _DEEPEST:
        raise ValueError("structs within structs")
    if kind in _INTEGERS:
        return _integer(content, at)
    if kind == _BINARY:
        length, at = _varint(content, at)
        return None, at + length
    if kind in (_LIST, _SET):
        size, inner = content[at] >> 4, content[at] & 15
        at += 1
        if size == 15:
            size, at = _varint(content, at)
        found = []
        for _ in range(size):
            value, at = _read(content, at, _BYTE if inner in (_TRUE, _FALSE) else inner, depth + 1)
            found.append(value)
        return found, at
    if kind == _STRUCT:
        return _read_struct(content, at, depth + 1)
    if kind in (_BYTE, _DOUBLE):
        return None, at + (1 if kind == _BYTE else 8)
    raise ValueError(f"a field of kind {kind}")  # Parquet's footer has no maps


def _varint(content: bytes, at: int) -> tuple[int, int]:
    number = 0
    for i in range(_LONGEST):
        number |= (content[at + i] & 127) << (7 * i)
        if content[at + i] < 128:
            return number, at + i + 1
    raise ValueError("a number that does not end")


def _integer(content: bytes, at: int) -> tuple[int, int]:
    number, at = _varint(content, at)
    return (number >> 1) ^ -(number & 1), at


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: object) -> dict[int, Any]:
    return value if isinstance(value, dict) else {}
