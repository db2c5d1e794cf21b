"""Safe writing of files: a full disk, or a killed process, loses nothing that was written before."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

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
        with lock:
            yield
    except filelock.Timeout as error:
        raise StorageError(f"{folder}: expected no other run in this folder, another process is writing it") from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn errors inside the block, which reads ``path``, into a :class:`StorageError`."""
    try:
        yield
    except (OSError, ValueError, RecursionError) as error:  # pyarrow's own are both; the last is of nested JSON
        raise StorageError(f"{path}: expected a file that can be read, got: {_reason(error)}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
      StorageError: the file cannot be read, or holds anything else.
    """
    with reading(path):
        content = json.loads(path.read_bytes())
    if not isinstance(content, dict):
        raise StorageError(f"{path}: expected a JSON object, got {type(content).__name__}")
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
    """

    def __init__(self, path: Path, *, sync: bool = False) -> None:
        self._path, self._sync = path, sync
        self._ends_whole = False  # not known before the file is first read

    def read(self) -> list[dict[str, Any]]:
        """Read the objects of all complete lines; none where there is no file. The file is not changed.

        Raises:
          ValueError: a complete line is not JSON.
        """
        try:
            return [json.loads(line) for line in self._whole().split(b"\n")[:-1]]
        except ValueError as error:
            raise ValueError(f"{self._path}: a line is not JSON: {error}") from error

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Append a line for each record; a truncated last line is removed first.

        Raises:
          StorageError: the file cannot be written.
        """
        with storing(self._path), self._path.open("ab") as file:
            if not self._ends_whole:
                file.truncate(len(self._whole()))
            self._ends_whole = False  # until all lines are written
            file.write(b"".join(_line(record) for record in records))
            file.flush()
            if self._sync:
                os.fsync(file.fileno())
            self._ends_whole = True

    def replace(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Rewrite the file with these records only.

        Raises:
          StorageError: the file cannot be written.
        """
        with replacing(self._path) as file:
            file.writelines(_line(record) for record in records)

    def _whole(self) -> bytes:
        data = self._path.read_bytes() if self._path.exists() else b""
        return data[: data.rfind(b"\n") + 1]


def _line(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n").encode()


def _reason(error: Exception) -> str:
    """Return the error's message in one line; if a library wraps a system error, the system's message."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    known = (os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO))
    said = str(error) or type(error).__name__
    return next((words for words in known if words in said), said.splitlines()[0])
