"""Files inside archives, read without unpacking anything to disk."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from fedjax_layers.data.files import check_member_name, safe_members


def read_zip(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file of a zip archive that is wanted, in the archive's order.

    Args:
      path: the archive.
      wanted: whether a member, given by its name, is to be read.

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
    """As :func:`read_zip`, of a gzipped tar archive; links and devices are refused where they are wanted.

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


def read_npz(path: Path, *names: str) -> list[np.ndarray]:
    """The named arrays of an npz archive; pickled objects are refused.

    Raises:
      ValueError: the archive is broken, or lacks one of the arrays.
    """
    try:
        # Opened here, as NumPy leaves a file open that it cannot read.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            missing = [name for name in names if name not in archive.files]
            if missing:
                raise ValueError(f"no array {missing[0]!r}")
            return [archive[name] for name in names]
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, TypeError, ValueError) as error:
        expected = f"an npz archive with {', '.join(names)}"
        raise ValueError(f"{path}: expected {expected}, found another or a broken one ({error})") from error
