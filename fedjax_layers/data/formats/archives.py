"""Readers of compressed files and of files in archives, without unpacking to disk."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from fedjax_layers.data.tables.files import check_member_name, safe_members


def read_bytes(path: Path) -> bytes:
    """Read a file, raw or gzipped (recognised by content, not by name).

    Raises:
      ValueError: the gzip stream is broken.
    """
    data = path.read_bytes()
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: expected a complete gzip stream, found a broken one ({error})") from error


def read_zip(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Read the wanted files of a zip archive: name and content of each, in the archive's order.

    Args:
      path: the archive.
      wanted: function of a member's name that says whether to read it.

    Raises:
      ValueError: the archive is broken, or some member's name points outside it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for member in safe_members(archive, path):
                if wanted(member.filename):
                    yield member.filename, archive.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path}: expected a complete zip archive, found a broken one ({error})") from error


def read_tar(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Read a gzipped tar archive as :func:`read_zip` does; a wanted link or device is an error.

    Raises:
      ValueError: the archive is broken, a wanted member is no plain file, or a name points outside the archive.
    """
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
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
      ValueError: the file is another one, truncated or damaged; an array is missing or holds Python objects; or a
        member's name points outside the archive.
    """
    if not path.is_file():
        raise FileNotFoundError(f"path: expected a file, found none at {path}")
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # damaged bytes raise errors of zipfile and many others
        found = "an empty file" if not path.stat().st_size else f"another or a truncated one ({error})"
        raise ValueError(f"{path}: expected an npz file, found {found}") from error
    with archive:
        held = [member.filename.removesuffix(".npy") for member in safe_members(archive, path)]
    for name in names:
        if name not in held:
            raise ValueError(f"{path}: expected an array {name!r}, found {', '.join(held) or 'none'}")
    with np.load(path, allow_pickle=False) as stored:
        return {name: _array(path, stored, name) for name in names or held}


def _array(path: Path, stored: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    try:
        array = stored[name]
    except Exception as error:  # damaged bytes raise errors of NumPy, zipfile, zlib and Python's own reader
        objects = "Object arrays" in str(error)
        found = "Python objects, which only unpickling could read" if objects else f"a damaged one ({error})"
        raise ValueError(f"{path}, array {name}: expected a plain array, found {found}") from error
    if not isinstance(array, np.ndarray):  # NumPy returns bytes where a member is no array
        raise ValueError(f"{path}, array {name}: expected a plain array, found a file of another form")
    return array
