"""Safe writing of files: a full disk, or a killed process, loses nothing that was written before."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile

import filelock


class StorageError(Exception):
    """A file of a run could not be written or read; the message is one line and names it."""


@contextmanager
def storing(path: Path, errors: tuple[type[Exception], ...] = (OSError,)) -> Iterator[None]:
    """Turn errors inside the block, which writes ``path``, into a :class:`StorageError` that says what to do."""
    try:
        yield
    except errors as error:
        raise StorageError(
            f"{path}: cannot be written: {_reason(error)}; what was written before is kept, --resume continues from it"
        ) from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run's folder inside the block; the system lets go of it when the process ends.

    Raises:
      StorageError: another process is in it.
    """
    lock = filelock.FileLock(folder / ".lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise StorageError(f"{folder}: expected no other run in this folder, another process is writing it") from error
    except OSError as error:
        raise StorageError(f"{folder / '.lock'}: cannot be locked: {_reason(error)}") from error
    try:
        yield
    finally:
        lock.release()


_CHECK = "crc32"
DAMAGE = (
    OSError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError, EOFError, RecursionError,
    BadZipFile, zlib.error,
)  # fmt: skip
"""What reading a damaged file may raise, in this package, NumPy or pyarrow."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn errors inside the block, which reads ``path``, into a :class:`StorageError`."""
    try:
        yield
    except DAMAGE as error:
        raise StorageError(f"{path}: expected a file that can be read, got: {_reason(error)}") from error


def read_json(path: Path, advice: str = "") -> dict[str, Any]:
    """Read a JSON object.

    Raises:
      StorageError: the file cannot be read, or holds anything else; ``advice`` says what to do then.
    """
    then = f"; {advice}" if advice else ""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise StorageError(f"{path}: expected a file that can be read, got: {_reason(error)}{then}") from error
    if not isinstance(content, dict):
        raise StorageError(f"{path}: expected a JSON object, got {type(content).__name__}{then}")
    return content


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``, which is moved to ``path`` at the end, or removed on an error.

    Raises:
      OSError: ``path`` is a folder that is not empty, or cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
        else:
            unfinished.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a run's file as :func:`beside` does, and force it to the disk; errors become a :class:`StorageError`."""
    with storing(path), beside(path) as unfinished, unfinished.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def read_given_json(path: Path) -> Any:
    """Read a JSON file of the user's, whatever it holds.

    Raises:
      FileNotFoundError: there is no plain file.
      ValueError: it is not UTF-8, not JSON, or nested too deeply.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a JSON file, found {'another thing' if path.exists() else 'none'}")
    return json_of(path.read_bytes(), path)


def json_of(content: bytes, where: object) -> Any:
    """Read JSON from bytes that came from ``where``; the errors are those of :func:`read_given_json`."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:  # ValueError includes those of JSON, of UTF-8 and of too many digits
        raise ValueError(f"{where}: expected a complete JSON file, found a broken one ({error})") from error


class JsonLines:
    """A file that grows by lines, each one JSON object. A last line that a crash has truncated is ignored.

    Args:
      path: path of the file, which need not exist.
      sync: whether :meth:`append` forces lines to the disk before it returns.
      checked: whether each line gets a checksum, by which any change of it is noticed.
    """

    def __init__(self, path: Path, *, sync: bool = False, checked: bool = False) -> None:
        self._path, self._sync, self._checked = path, sync, checked
        self._ends_whole = False  # not known before the file is first read

    def read(self) -> list[dict[str, Any]]:
        """Read the objects of all complete lines; none where there is no file. The file is not changed.

        Raises:
          StorageError: the file cannot be read, or a complete line is no JSON object.
        """
        with reading(self._path):
            found, damaged = self.read_whole()
        if damaged:
            raise StorageError(f"{self._path}: expected a JSON object in each line, found none in line {damaged[0]}")
        return found

    def read_whole(self) -> tuple[list[dict[str, Any]], list[int]]:
        """Read the objects of all undamaged complete lines, and the numbers, from 1, of the damaged ones."""
        found: list[dict[str, Any]] = []
        damaged = []
        for number, line in enumerate(self._whole().split(b"\n")[:-1], 1):
            try:
                record = json.loads(line)
                sound = isinstance(record, dict) and (_CHECK not in record or record.pop(_CHECK) == _crc(record))
            except (ValueError, RecursionError):
                sound = False
            if sound:
                found.append(record)
            else:
                damaged.append(number)
        return found, damaged

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Append a line for each record; a truncated last line is removed first.

        Raises:
          StorageError: the file cannot be written.
        """
        with storing(self._path), self._path.open("ab") as file:
            if not self._ends_whole:
                file.truncate(len(self._whole()))
            self._ends_whole = False  # until all lines are written
            file.write(b"".join(map(self._line, records)))
            file.flush()
            if self._sync:
                os.fsync(file.fileno())
            self._ends_whole = True

    def rewrite(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Rewrite the file with these records only.

        Raises:
          StorageError: the file cannot be written.
        """
        with replacing(self._path) as file:
            file.writelines(map(self._line, records))

    def _line(self, record: Mapping[str, Any]) -> bytes:
        return _text({**record, _CHECK: _crc(record)} if self._checked else record) + b"\n"

    def _whole(self) -> bytes:
        data = self._path.read_bytes() if self._path.exists() else b""
        return data[: data.rfind(b"\n") + 1]


def _text(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, allow_nan=False, ensure_ascii=False).encode()


def _crc(record: Mapping[str, Any]) -> int:
    return zlib.crc32(_text(record))


def _reason(error: Exception) -> str:
    """Return the error's message in one line; if a library wraps a system error, the system's message."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    known = (os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO))
    said = str(error) or type(error).__name__
    return next((words for words in known if words in said), said.splitlines()[0])
