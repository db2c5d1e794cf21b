"""A strict reader of IDX files, the format of the MNIST family (LeCun, "The MNIST database")."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fedjax_layers.data.formats.archives import read_bytes

# Third byte of the magic number -> element type; everything is big-endian.
_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: str | os.PathLike[str], shape: Sequence[int | None] | None = None) -> np.ndarray:
    """Read one IDX file, raw or gzipped (recognised by content, not by name).

    Args:
      path: the file.
      shape: expected shape, in which ``None`` matches any length; ``None`` for any shape.

    Returns:
      The array in the file's element type and shape, native byte order.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the gzip stream is broken or would fill the memory, the magic number is wrong, the dimensions are not
        ``shape`` or more than an array has, or there are more or fewer bytes than the header announces.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected an IDX file, found none")
    data = read_bytes(path)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _DTYPES:
        start = data[:4].hex() or "an empty file"
        raise ValueError(f"{path}: expected an IDX magic number 0000ttdd, found {start}")
    dtype, ndim = np.dtype(_DTYPES[data[2]]), data[3]
    header = 4 + 4 * ndim
    if len(data) < header:
        raise ValueError(f"{path}: expected a header of {header} bytes, found {len(data)} bytes (truncated)")
    found = tuple(int(n) for n in np.frombuffer(data, ">u4", ndim, offset=4))
    if shape is not None and not _matches(found, shape):
        wanted = " x ".join("any" if n is None else str(n) for n in shape)
        shown = " x ".join(map(str, found)) or "none"
        raise ValueError(f"{path}: expected dimensions {wanted}, found {shown}")
    expected = header + math.prod(found) * dtype.itemsize
    if len(data) != expected:
        fault = "truncated" if len(data) < expected else "trailing bytes"
        raise ValueError(f"{path}: expected {expected} bytes for its dimensions, found {len(data)} ({fault})")
    try:
        array = np.frombuffer(data, dtype, offset=header).reshape(found)
    except ValueError as error:  # so many dimensions, or so long ones beside one of length 0
        raise ValueError(f"{path}: expected dimensions that an array can have, found {ndim} ({error})") from error
    return array.astype(dtype.newbyteorder("="), copy=False)


def _matches(found: Sequence[int], shape: Sequence[int | None]) -> bool:
    return len(found) == len(shape) and all(w is None or f == w for f, w in zip(found, shape, strict=True))
