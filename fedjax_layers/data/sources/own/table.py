"""CSV and Parquet files as columns of one table, which can name the place of each cell in messages."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedjax_layers.data.formats.arrow_files import check_names, check_table_file, read_parquet_table
from fedjax_layers.data.formats.growth import check_growth

if TYPE_CHECKING:
    import pyarrow as pa

_COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}  # what Arrow knows by a file's name
# Texts of a CSV cell that mean a missing value; blanks around a cell do not count.
MISSING = ("", "?", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>", "#N/A", "#NA")


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """Columns of one or more files.

    Attributes:
      columns: Arrow arrays ``[N]``, by name in the files' order; a missing cell is null. Those of a CSV are texts.
      files: the files with their numbers of rows, in order.
    """

    columns: dict[str, pa.Array]
    files: tuple[tuple[Path, int], ...]

    def __len__(self) -> int:
        return sum(rows for _, rows in self.files)

    def where(self, row: int, column: str = "") -> str:
        """Name a place for messages, ``FILE, row R, column C``; rows of a file count from 1, without the header."""
        for path, rows in self.files:
            if row < rows:
                return f"{path}, row {row + 1}" + (f", column {column}" if column else "")
            row -= rows
        raise IndexError(row)

    @property
    def name(self) -> str:
        """The file, or the first file and the number of others."""
        more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        return f"{self.files[0][0]}{more}"

    def column(self, name: str, option: str) -> pa.Array:
        """Return the column of a name.

        Raises:
          ValueError: there is none; the message names the option, the file and its columns.
        """
        if name not in self.columns:
            there = ", ".join(self.columns)
            raise ValueError(f"{option}: expected a column of {self.name}, got {name!r}; its columns are {there}")
        return self.columns[name]


def read_csv(path: Path, separator: str = ",", missing_values: Sequence[str] = ()) -> Table:
    """Read a CSV file with a header, UTF-8, gzipped or not; every cell as text without the blanks around it.

    Cells with a text of ``MISSING`` or ``missing_values`` are missing.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is empty or would fill the memory, a row is broken (it is named), a column name is repeated,
        or bytes are not UTF-8.
    """
    import pyarrow as pa  # noqa: PLC0415  (slow to import, needed by tables only)
    import pyarrow.compute as pc  # noqa: PLC0415
    from pyarrow import csv  # noqa: PLC0415

    check_table_file(path)
    if len(separator) != 1 or not separator.isascii():
        raise ValueError(f"separator: expected one character{' of ASCII' * (len(separator) == 1)}, got {separator!r}")
    parse = csv.ParseOptions(delimiter=separator, newlines_in_values=True, invalid_row_handler=None)
    try:
        # Only serial reading gives the number of a broken row.
        one = csv.ReadOptions(use_threads=False)
        source = _unpacked(path)
        with csv.open_csv(source, read_options=one, parse_options=parse) as stream:
            names = [name.strip() for name in stream.schema.names]
        check_names(path, names)
        read = csv.ReadOptions(use_threads=False, column_names=names, skip_rows=1)
        texts = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
        table = csv.read_csv(_unpacked(path), read_options=read, parse_options=parse, convert_options=texts)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected a CSV file with a header, could not read it ({_line(error)})") from error
    columns = {}
    for name in names:
        cells = pc.utf8_trim_whitespace(table.column(name).combine_chunks())
        columns[name] = _without(cells, (*MISSING, *missing_values))
    return _table(path, columns, table.num_rows)


def read_parquet(path: Path, missing_values: Sequence[str] = ()) -> Table:
    """Read a Parquet file, where null and NaN are missing, and in columns of texts those of ``missing_values``.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is empty, truncated or damaged, or would fill the memory; or a column name is repeated.
    """
    return table_of(path, read_parquet_table(path), missing_values)


def table_of(path: Path, read: pa.Table, missing_values: Sequence[str] = ()) -> Table:
    """Make a table of an Arrow table that was read from a file, with texts as plain ones.

    Raises:
      ValueError: the texts would fill the memory once each is written out, or there is no row.
    """
    import pyarrow as pa  # noqa: PLC0415

    repeated = [name for name in read.column_names if _has_repeated_texts(read.column(name).type)]
    try:
        # Texts were read with each different one once, so that their size is known before they are written out.
        check_growth(path, sum(_text_bytes(read.column(name)) for name in repeated))
        columns = {name: _plain(read.column(name), missing_values) for name in read.column_names}
    except pa.ArrowException as error:
        raise ValueError(f"{path}: expected a table, could not read it ({_line(error)})") from error
    return _table(path, columns, read.num_rows)


def _has_repeated_texts(kind: Any) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return pa.types.is_dictionary(kind) and any(f(kind.value_type) for f in texts)


def _plain(column: Any, missing_values: Sequence[str]) -> Any:
    """Return a column as one array, texts as plain ones with missing values as null."""
    import pyarrow as pa  # noqa: PLC0415

    cells = column.combine_chunks()
    if _has_repeated_texts(cells.type) or (
        pa.types.is_dictionary(cells.type) and pa.types.is_primitive(cells.type.value_type)
    ):
        cells = cells.dictionary_decode()
    cells = cells.cast(pa.string()) if pa.types.is_large_string(cells.type) else cells
    return _without(cells, missing_values) if pa.types.is_string(cells.type) else cells


def join_tables(tables: Sequence[Table]) -> Table:
    """Concatenate tables with the same columns.

    Raises:
      ValueError: a table lacks a column of the first one or has another, or has it with another type.
    """
    import pyarrow as pa  # noqa: PLC0415

    first = tables[0]
    for table in tables[1:]:
        for name in (*first.columns, *table.columns):
            kinds = [str(t.columns[name].type) if name in t.columns else "none" for t in (first, table)]
            if kinds[0] != kinds[1]:
                found = f"{kinds[1]} where {first.name} has {kinds[0]}"
                raise ValueError(f"{table.name}, column {name}: expected the columns of all files alike, got {found}")
    columns = {name: pa.concat_arrays([table.columns[name] for table in tables]) for name in first.columns}
    return Table(columns, tuple(file for table in tables for file in table.files))


def without_column(table: Table, like: Table, name: str) -> Table:
    """Add an empty column to a table that lacks one of another table; return any other table unchanged."""
    import pyarrow as pa  # noqa: PLC0415

    if name not in like.columns or name in table.columns:
        return table
    empty = pa.nulls(len(table), like.columns[name].type)
    return Table({**table.columns, name: empty}, table.files)


def _unpacked(path: Path) -> Any:
    """Return the path of a plain file, or the bytes of a compressed one, whose size is followed while it is read."""
    import pyarrow as pa  # noqa: PLC0415

    if path.suffix not in _COMPRESSED:
        return path
    parts: list[bytes] = []
    size = 0
    with pa.input_stream(str(path), compression=_COMPRESSED[path.suffix]) as stream:
        while part := stream.read(2**24):
            parts.append(part)
            size += len(part)
            check_growth(path, size)
    return pa.BufferReader(b"".join(parts))


def _text_bytes(column: Any) -> int:
    """Compute the bytes of a column of texts that is stored as a dictionary."""
    import pyarrow.compute as pc  # noqa: PLC0415

    parts = (pc.binary_length(part.dictionary).cast("int64").take(part.indices) for part in column.chunks)
    return sum(pc.sum(lengths).as_py() or 0 for lengths in parts)


def _without(cells: pa.Array, missing: Sequence[str]) -> pa.Array:
    """Replace texts that mean a missing value by null."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    gaps = pc.is_in(cells, value_set=pa.array(missing, pa.string()))
    return pc.if_else(gaps, pa.scalar(None, pa.string()), cells)


def _table(path: Path, columns: dict[str, pa.Array], rows: int) -> Table:
    if not rows:
        raise ValueError(f"{path}: expected at least one row below the header, found none")
    return Table(columns, ((path, rows),))


def _line(error: BaseException) -> str:
    """Write Arrow's error in one line, with rows counted without the header as in all other messages."""
    reason = " ".join(str(error).split())[:200]
    return re.sub(r"Row #(\d+)", lambda match: f"row {int(match[1]) - 1}", reason)
