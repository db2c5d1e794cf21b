"""The cells of columns in the shapes of Hugging Face as NumPy arrays: pictures, arrays of numbers, and class names."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_layers.data.formats.growth import check_growth
from fedjax_layers.data.sources.own.hugging_face.columns import Feature, stored_type
from fedjax_layers.data.sources.own.picture_files import Picture, are_grey, decode_pictures
from fedjax_layers.data.sources.own.table import Table

Parts = Sequence[tuple[Path, Any]]  # a file, and one of its columns as Arrow holds it


def stacked_pictures(parts: Parts, name: str, size: tuple[int, ...], grey: bool | None) -> np.ndarray:
    """Decode a column of pictures, ``[N, H, W, 1 or 3]`` uint8.

    Args:
      parts: the column of each file, cells of ``bytes`` and perhaps ``path``.
      name: the column.
      size: as in :func:`decode_pictures`.
      grey: whether pictures get one channel; ``None`` where all are stored in grey.

    Raises:
      ValueError: a cell has no bytes, or as :func:`decode_pictures`.
    """
    pictures = [picture for path, column in parts for picture in _pictures(path, column, name)]
    packed, first = sum(path.stat().st_size for path, _ in parts), parts[0][0]
    grey = are_grey(pictures) if grey is None else grey
    return decode_pictures(pictures, size, grey, lambda unpacked: check_growth(first, unpacked, packed))


def _pictures(path: Path, column: Any, name: str) -> Iterator[Picture]:
    row = 0
    for chunk in column.chunks:
        contents, there = chunk.field("bytes"), chunk.is_valid()
        for content, valid in zip(contents, there, strict=True):
            row += 1
            where = f"{path}, row {row}, column {name}"
            if not valid.as_py() or not content.is_valid:  # a path alone names a file of another machine
                raise ValueError(f"{where}: expected a picture with its bytes, found none")
            yield Picture(where, f"row {row}", content.as_py)


def stacked_arrays(parts: Parts, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Read a column of arrays, ``[N, ...]``.

    Args:
      parts: the column of each file.
      name: the column.
      shape: shape of each cell; empty where the first cell decides.

    Raises:
      ValueError: a cell or a number is missing, or cells differ in shape.
    """
    made: list[np.ndarray] = []
    for path, column in parts:
        row = 0
        for chunk in column.chunks:
            if len(chunk):
                array, shape = _array(chunk, f"{path}, column {name}", shape, row)
                made.append(array)
                row += len(chunk)
    kinds = {array.dtype for array in made}
    if len(kinds) > 1:
        raise ValueError(f"{parts[0][0]} and others, column {name}: expected numbers of one type, found {kinds}")
    return made[0] if len(made) == 1 else np.concatenate(made)


def _array(chunk: Any, where: str, shape: tuple[int, ...], row: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """Read the arrays of one chunk, whose first row is ``row`` of its file; also the shape of each."""
    import pyarrow as pa  # noqa: PLC0415

    cells = chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk
    found: list[int] = []

    def refuse(entry: int, expected: str, got: object) -> ValueError:
        return ValueError(f"{_in_row(where, row + entry // math.prod(found))}: expected {expected}, found {got}")

    while pa.types.is_nested(stored_type(cells.type)):
        for gap in _gaps(cells):
            raise refuse(gap, "an array", "an empty cell")
        lengths, axis = _lengths(cells), len(found)
        expected = shape[axis] if axis < len(shape) else int(lengths[0])
        if not expected:
            raise refuse(0, "an array of numbers", "an empty one")
        for odd in np.flatnonzero(lengths != expected):
            raise refuse(int(odd), f"{expected} entries on axis {axis} as before or as declared", int(lengths[odd]))
        found.append(expected)
        cells = cells.flatten()
    for gap in _gaps(cells):
        raise refuse(gap, "a number", "none")
    if shape and len(found) != len(shape):
        raise refuse(0, f"arrays of shape {list(shape)}", f"ones of {list(found)}")
    return cells.to_numpy(zero_copy_only=False).reshape(len(chunk), *found), tuple(found)


def _gaps(cells: Any) -> list[int]:
    """List the first place without a value, if there is one."""
    return np.flatnonzero(cells.is_null().to_numpy(zero_copy_only=False))[:1].tolist() if cells.null_count else []


def _lengths(cells: Any) -> np.ndarray:
    """Return the number of entries of each list, ``[N]``."""
    import pyarrow as pa  # noqa: PLC0415

    if pa.types.is_fixed_size_list(cells.type):
        return np.full(len(cells), cells.type.list_size)
    return np.diff(cells.offsets.to_numpy())


def _in_row(where: str, row: int) -> str:
    return where.replace(", column", f", row {row + 1}, column")


def with_class_names(table: Table, known: Mapping[str, Feature]) -> Table:
    """Replace the numbers of named classes by the names; -1, which stands for no label, and null are missing.

    Raises:
      ValueError: a number has no name.
    """
    import pyarrow as pa  # noqa: PLC0415

    columns = dict(table.columns)
    for name, column in table.columns.items():
        if known[name].form != "classes":
            continue
        names, cells = known[name].names, column.to_pylist()
        for row, number in enumerate(cells):
            if number is not None and not -1 <= number < len(names):
                raise ValueError(f"{table.where(row, name)}: expected a class 0..{len(names) - 1}, got {number}")
        texts = [None if number is None or number < 0 else names[number] for number in cells]
        columns[name] = pa.array(texts, pa.string())
    return Table(columns, table.files)
