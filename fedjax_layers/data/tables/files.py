"""Data files: the places where they are looked for, and checks before they are read."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

DATA_DIR_VARIABLE = "FEDJAX_LAYERS_DATA"


@dataclasses.dataclass(frozen=True)
class SourceFile:
    """One file of a data set.

    Attributes:
      name: its name within the set's folder, or a pattern like ``all_data_*.json`` that one or more files match.
      sha256: checksum of the content, 64 hexadecimal digits; ``""`` where none is published or a pattern is given.
      url: address at which its authors offer exactly this file; ``""`` where it is not known.
    """

    name: str
    sha256: str = ""
    url: str = ""

    @property
    def is_pattern(self) -> bool:
        """Whether the name may stand for several files."""
        return "*" in self.name


def sha256_of(path: Path) -> str:
    """Compute the SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def find_files(folder: Path, files: Iterable[SourceFile]) -> tuple[dict[str, Path], list[str]]:
    """Look for files in a folder.

    Returns:
      The paths found, by name within the folder; and the names of the files (or patterns) that are missing.
    """
    found: dict[str, Path] = {}
    missing = []
    for file in files:
        paths = sorted(folder.glob(file.name)) if file.is_pattern else [folder / file.name]
        paths = [path for path in paths if path.is_file()]
        found |= {path.relative_to(folder).as_posix(): path for path in paths}
        if not paths:
            missing.append(file.name)
    return found, missing


def verify_files(found: dict[str, Path], files: Iterable[SourceFile]) -> None:
    """Compare files with their checksums.

    Raises:
      ValueError: a file has another checksum than the registered one.
    """
    for file in files:
        if not file.sha256 or file.name not in found:
            continue
        digest = sha256_of(found[file.name])
        if digest != file.sha256:
            size = found[file.name].stat().st_size
            raise ValueError(
                f"{found[file.name]}: expected SHA-256 {file.sha256}, found {digest} ({size} bytes); "
                "the file is damaged or of another version"
            )


def safe_members(archive: zipfile.ZipFile, path: str | os.PathLike[str]) -> list[zipfile.ZipInfo]:
    """List the files of an archive, none of which may point outside it.

    Raises:
      ValueError: a member has no name, an absolute one, or one with a ``..`` in it.
    """
    members = [member for member in archive.infolist() if not member.filename.endswith("/")]
    for member in members:
        check_member_name(member.filename, path)
    return members


def check_member_name(name: str, archive: str | os.PathLike[str]) -> None:
    """Check that the name of an archive's member is neither empty nor absolute, and contains no ``..``.

    Raises:
      ValueError: the name points outside the archive.
    """
    parts = PurePosixPath(name.replace("\\", "/"))
    if not name or parts.is_absolute() or ".." in parts.parts or ":" in name.split("/", maxsplit=1)[0]:
        raise ValueError(f"{os.fspath(archive)}: expected members inside the archive, found {name!r}")


def resolve_inside(folder: Path, name: str) -> Path:
    """Return ``folder / name``, which must lie within the folder after links are resolved.

    Raises:
      ValueError: the path lies outside, or is a circle of links.
    """
    try:
        path = (folder / name).resolve()
    except (OSError, RuntimeError) as error:  # a circle of links is the one or the other, depending on Python
        raise ValueError(f"{name}: expected a path inside {folder}, got one that leads nowhere ({error})") from error
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"{name}: expected a path inside {folder}, got one outside it ({path})")
    return path


def resolve_data_dir(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """Find the data folder: the argument, else ``$FEDJAX_LAYERS_DATA``, else TFDS's own folder.

    Args:
      data_dir: folder with one sub-folder per data set, or ``None``.

    Returns:
      The folder, which exists if the argument or the variable named it.

    Raises:
      FileNotFoundError: the folder named by the argument or by the variable does not exist.
    """
    named = {"data_dir": data_dir, DATA_DIR_VARIABLE: os.environ.get(DATA_DIR_VARIABLE) or None}
    for provenance, value in named.items():
        if value is None:
            continue
        path = Path(value).expanduser()
        if not path.is_dir():
            raise FileNotFoundError(f"{provenance}: expected an existing folder, found none at {path}")
        return path
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
