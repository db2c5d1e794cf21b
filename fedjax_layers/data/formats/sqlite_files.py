"""Reading of SQLite databases that others wrote, compressed by LZMA or not, without changing anything."""

from __future__ import annotations

import contextlib
import lzma
import shutil
import sqlite3
import tempfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedjax_layers.data.formats.archives import check_plain
from fedjax_layers.data.formats.growth import check_growth

_AT_ONCE = 2**22  # bytes that are unpacked at once
_DICTIONARY = 2**30  # bytes that unpacking may need beside these
_LONGEST_CELL = 2**28
_MAGIC = b"SQLite format 3\0"
_ROW = 64  # bytes that a row counts at least, so that no damaged table goes on for ever


@contextlib.contextmanager
def open_database(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database for reading only.

    A compressed one (by its name, ``.lzma`` or ``.xz``) is unpacked to a temporary file.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is no database, is damaged, or would fill the memory or the disk.
    """
    check_plain(path)
    with contextlib.ExitStack() as stack:
        plain = path
        if path.suffix in (".lzma", ".xz"):
            plain = _unpacked(path, Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fedjax-layers-"))))
        with plain.open("rb") as start:
            if start.read(len(_MAGIC)) != _MAGIC:
                raise ValueError(f"{path}: expected an SQLite database, found another file")
        # Nothing is locked, and no journal is written or played back.
        address = f"file:{urllib.parse.quote(str(plain.absolute()))}?mode=ro&immutable=1"
        try:
            connection = stack.enter_context(contextlib.closing(sqlite3.connect(address, uri=True)))
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_CELL)
            for setting in ("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0", "query_only=ON"):
                connection.execute(f"PRAGMA {setting}")
            yield connection
        except (sqlite3.Error, OverflowError, UnicodeError) as error:
            raise ValueError(f"{path}: expected an SQLite database, could not read it ({_line(error)})") from error


def check_columns(connection: sqlite3.Connection, path: Path, table: str, columns: tuple[str, ...]) -> None:
    """Raise ``ValueError`` unless a database has a plain table with these columns."""
    there = {name: (kind, sql) for name, kind, sql in connection.execute("SELECT name, type, sql FROM sqlite_master")}
    kind, sql = there.get(table, ("", ""))
    if kind != "table" or not str(sql).upper().startswith("CREATE TABLE"):
        tables = ", ".join(sorted(str(name) for name, (kind, _) in there.items() if kind == "table"))[:200]
        raise ValueError(f"{path}: expected a table {table}, found {tables or 'none'}")
    found = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    for column in columns:
        if column not in found:
            raise ValueError(f"{path}, table {table}: expected a column {column}, found {', '.join(map(str, found))}")


def rows_of(connection: sqlite3.Connection, path: Path, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
    """Iterate over the rows of a query, while their bytes are counted."""
    size = 0
    for row in connection.execute(query, values):
        size += _ROW + sum(len(cell) for cell in row if isinstance(cell, (bytes, str)))
        check_growth(path, size)
        yield row


def _unpacked(path: Path, folder: Path) -> Path:
    plain, size = folder / "unpacked.sqlite", 0
    unpacker, ended = lzma.LZMADecompressor(memlimit=_DICTIONARY), False
    try:
        with path.open("rb") as packed, plain.open("wb") as out:
            while not ended:
                content = packed.read(_AT_ONCE) if unpacker.needs_input else b""
                if unpacker.needs_input and not content:
                    raise EOFError("it ends too early")
                part = unpacker.decompress(content, _AT_ONCE)
                size, ended = size + len(part), unpacker.eof
                check_growth(path, size)
                free = shutil.disk_usage(folder).free
                if free < 2 * _AT_ONCE:
                    raise ValueError(
                        f"{path}: expected room for the unpacked file in {folder.parent}, found {free} bytes"
                    )
                out.write(part)
    except (lzma.LZMAError, EOFError, MemoryError) as error:
        raise ValueError(f"{path}: expected a complete LZMA stream, found a broken one ({_line(error)})") from error
    return plain


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
