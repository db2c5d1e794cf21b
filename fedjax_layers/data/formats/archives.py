"""Readers of compressed files and of files in archives, without unpacking to disk."""

from __future__ import annotations

import math
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from fedjax_layers.data.formats.growth import check_growth, gunzipped
from fedjax_layers.data.tables.files import check_member_name, safe_members


def check_plain(path: Path) -> None:
    """Raise ``FileNotFoundError`` unless there is a plain file; a pipe, say, would have to be waited for."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file, found {'another thing' if path.exists() else 'none'}")


def read_bytes(path: Path) -> bytes:
    """Read a file, raw or gzipped (recognised by content, not by name).

    Raises:
      FileNotFoundError: there is no plain file.
      ValueError: the gzip stream is broken, or would fill the memory, see :func:`check_growth`.
    """
    check_plain(path)
    data = path.read_bytes()
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gunzipped(path, data)
    except (EOFError, zlib.error) as error:
        raise ValueError(f"{path}: expected a complete gzip stream, found a broken one ({error})") from error


def read_zip(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Read the wanted files of a zip archive: name and content of each, in the archive's order.

    Args:
      path: the archive.
      wanted: function of a member's name that says whether to read it.

    Raises:
      ValueError: the archive is broken or would fill the memory, or some member's name points outside it.
    """
    check_plain(path)
    unpacked = 0
    with _opened_zip(path) as archive:
        for member in safe_members(archive, path):
            if wanted(member.filename):
                unpacked += member.file_size
                check_growth(path, unpacked)
                yield member.filename, _content(archive, member, path)


def _opened_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except Exception as error:  # damaged bytes raise errors of zipfile and many others
        raise ValueError(f"{path}: expected a complete zip archive, found a broken one ({_line(error)})") from error


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> bytes:
    try:
        return archive.read(member)
    except Exception as error:  # as above; among them are encryption and unknown kinds of compression
        raise ValueError(f"{path}: expected a complete zip archive, found a broken one ({_line(error)})") from error


def read_tar(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Read a gzipped tar archive as :func:`read_zip` does; a wanted link or device is an error.

    Raises:
      ValueError: the archive is broken or would fill the memory, a wanted member is no plain file, or a name points
        outside the archive.
    """
    check_plain(path)
    unpacked = 0
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                unpacked += member.size
                check_growth(path, unpacked)
                check_member_name(member.name, path)
                if not wanted(member.name):
                    continue
                stream = archive.extractfile(member) if member.isfile() else None
                if stream is None:
                    raise ValueError(f"{path}: expected {member.name} to be a plain file, found a link or a folder")
                yield member.name, stream.read()
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise ValueError(f"{path}: expected a complete tar.gz archive, found a broken one ({error})") from error


def read_npz(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Read arrays of an npz file, the named ones in that order or all of them, without unpickling.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is another one, truncated or damaged, or would fill the memory; an array is missing, holds
        Python objects or has another size than it announces; or a member's name points outside the archive.
    """
    if not path.is_file():
        raise FileNotFoundError(f"path: expected a file, found none at {path}")
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # damaged bytes raise errors of zipfile and many others
        found = "an empty file" if not path.stat().st_size else f"another or a truncated one ({_line(error)})"
        raise ValueError(f"{path}: expected an npz file, found {found}") from error
    with archive:
        held = {member.filename.removesuffix(".npy"): member for member in safe_members(archive, path)}
        for name in names:
            if name not in held:
                raise ValueError(f"{path}: expected an array {name!r}, found {', '.join(held) or 'none'}")
        chosen = {name: held[name] for name in names or held}
        check_growth(path, sum(member.file_size for member in chosen.values()))
        return {name: _array(archive, member, f"{path}, array {name}") for name, member in chosen.items()}


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> np.ndarray:
    """Read one array, after its header was compared with the member's size: NumPy would make room for what it says."""
    try:
        with archive.open(member) as stream:
            if stream.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
                raise ValueError(f"{where}: expected a plain array, found a file of another form")
        with archive.open(member) as stream:
            shape, dtype = _header(stream)
            announced, held = math.prod(shape) * dtype.itemsize, member.file_size - stream.tell()
        if dtype.hasobject:
            raise ValueError(f"{where}: expected a plain array, found Python objects, which only unpickling could read")
        if min(shape, default=0) < 0 or announced != held:
            found = f"{held} for the shape {shape} of {dtype}"
            raise ValueError(f"{where}: expected a plain array of {announced} bytes, found {found} (a damaged one)")
        with archive.open(member) as stream:
            array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
            return array
    except Exception as error:  # damaged bytes raise errors of NumPy, zipfile, zlib and Python's own reader
        if str(error).startswith(where):
            raise
        raise ValueError(f"{where}: expected a plain array, found a damaged one ({_line(error)})") from error


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(stream)
    if version not in read:
        raise ValueError(f"version {version} of NumPy's format")
    shape, _, dtype = read[version](stream)
    return shape, dtype


def _line(error: Exception) -> str:
    """Write another library's error in one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
