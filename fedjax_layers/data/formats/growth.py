"""The refusal of compressed files that would fill the memory, by what they announce and while they are unpacked."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from fedjax_layers.host_memory import free_host_memory, spoken

_LARGE = 2**30  # bytes below which nothing is refused
_MOST_TIMES = 100  # what a file may grow by beyond that; those of real data sets grow tenfold at most
_GZIP = 31  # zlib's number for a gzip stream


def check_growth(path: str | os.PathLike[str], unpacked: int, packed: int | None = None) -> None:
    """Raise ``ValueError`` for a file that is no plausible data set, or one too large for the memory.

    Args:
      path: the compressed file.
      unpacked: the bytes that it announces, or that were unpacked so far.
      packed: the bytes that it takes together with other files; ``None`` for one file alone.

    Raises:
      ValueError: that is more than a gigabyte and more than a hundred times the file, or more than the free memory.
    """
    if unpacked <= _LARGE:
        return
    packed = Path(path).stat().st_size if packed is None else packed
    if unpacked > _MOST_TIMES * packed:
        found = f"{spoken(unpacked)} or more in a file of {spoken(packed)}"
        raise ValueError(f"{path}: expected at most {_MOST_TIMES} times the file's size once unpacked, found {found}")
    free = free_host_memory()
    if free is not None and unpacked > free:
        raise ValueError(f"{path}: expected to fit into the {spoken(free)} of free memory, found {spoken(unpacked)}")


def gunzipped(path: Path, data: bytes) -> bytes:
    """Decompress the gzip streams of a file.

    Args:
      path: the file, for the message.
      data: its bytes.

    Raises:
      ValueError: as :func:`check_growth`.
      EOFError: a stream is incomplete.
      zlib.error: a stream is broken.
    """
    free = free_host_memory()
    most = max(_LARGE, min(_MOST_TIMES * len(data), _MOST_TIMES * len(data) if free is None else free))
    parts, size, rest = [], 0, data
    while rest:
        stream = zlib.decompressobj(_GZIP)
        parts.append(stream.decompress(rest, most - size + 1))
        size += len(parts[-1])
        check_growth(path, size)
        if not stream.eof:
            raise EOFError("it ends before its end-of-stream marker")
        rest = stream.unused_data.lstrip(b"\0")  # zeros may follow, as in gzip's own reader
    return parts[0] if len(parts) == 1 else b"".join(parts)
