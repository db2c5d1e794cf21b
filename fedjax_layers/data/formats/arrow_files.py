"""Readers of Parquet files and of Arrow's stream format, which refuse damaged files and those that fill the memory."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedjax_layers.data.formats.growth import check_growth
from fedjax_layers.data.formats.parquet_footer import values_of_columns

if TYPE_CHECKING:
    import pyarrow as pa

_AT_ONCE = 256  # rows of nested columns that are read before their size is checked
_BITS = 8  # rows for which one byte of a record batch may stand: those of a column of flags


def parquet_schema(path: Path) -> tuple[pa.Schema, int]:
    """Read the schema of a Parquet file, and its number of rows.

    Raises:
      FileNotFoundError, ValueError: as :func:`read_parquet_table`.
    """
    from pyarrow import parquet  # noqa: PLC0415

    def read() -> tuple[pa.Schema, int]:
        with parquet.ParquetFile(path) as file:
            check_growth(path, _announced(path, file))
            return _readable(file.schema_arrow), file.metadata.num_rows

    return _guarded(path, "a Parquet file", read)


def read_parquet_table(path: Path, columns: Collection[str] | None = None) -> pa.Table:
    """Read columns of a Parquet file. Texts and bytes that are stored once each stay so, as dictionaries.

    Args:
      path: the file.
      columns: names of the columns; ``None`` reads all.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is empty, truncated or damaged, or would fill the memory; or a column name is repeated.
    """
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    def read() -> pa.Table:
        # ``read_table`` would read folder names like ``year=2020`` as a column.
        with parquet.ParquetFile(path) as file:
            check_growth(path, _announced(path, file))
            check_names(path, file.schema_arrow.names)
            schema = file.schema_arrow
        once = [name for field in schema if columns is None or field.name in columns for name in _repeatable(field)]
        chosen = None if columns is None else [name for name in schema.names if name in columns]
        nested = any(pa.types.is_nested(field.type) for field in schema if chosen is None or field.name in chosen)
        with parquet.ParquetFile(path, read_dictionary=once, page_checksum_verification=True) as file:
            if not nested:
                return file.read(chosen)
            batches = list(_followed(path, file.iter_batches(_AT_ONCE, columns=chosen)))
            return pa.Table.from_batches(batches) if batches else file.read(chosen)

    return _guarded(path, "a Parquet file", read)


def _readable(schema: pa.Schema) -> pa.Schema:
    """Return a schema whose names are UTF-8, which Arrow finds out when it is asked for them."""
    assert len(schema.names) == len(schema)
    return schema


def _followed(path: Path, batches: Any) -> Iterator[Any]:
    """Iterate over batches, while their bytes are counted: repeated values of nested columns are stored once."""
    size = 0
    for batch in batches:
        size += batch.nbytes
        check_growth(path, size)
        yield batch


def _repeatable(field: Any) -> Iterator[str]:
    """Iterate over the paths of a column's texts and bytes, which Parquet may store once for many rows."""
    import pyarrow as pa  # noqa: PLC0415

    types = pa.types
    if types.is_string(field.type):
        yield field.name
    elif types.is_struct(field.type):
        for inner in field.type:
            if types.is_binary(inner.type) or types.is_string(inner.type):
                yield f"{field.name}.{inner.name}"


def _announced(path: Path, file: Any) -> int:
    """Compute the least bytes that a Parquet file's columns take once they are read, from its footer."""
    import pyarrow as pa  # noqa: PLC0415

    # Arrow ends the process for some damage in what it tells about a column, so columns are known by the schema alone.
    sizes = {"BOOLEAN": 1 / 8, "INT64": 8, "DOUBLE": 8, "INT96": 12}
    each = [sizes.get(file.schema.column(i).physical_type, 4) for i in range(len(file.schema))]
    rows = int(file.metadata.num_rows * sum(each))
    if not any(pa.types.is_nested(field.type) for field in file.schema_arrow):
        return rows
    # A row of lists has any number of values.
    return int(sum(max(0, n) * size for n, size in zip(values_of_columns(path), each, strict=False)))


def stream_schema(path: Path) -> pa.Schema:
    """Read the schema of a file in Arrow's stream format.

    Raises:
      FileNotFoundError, ValueError: as :func:`read_stream_table`.
    """
    import pyarrow as pa  # noqa: PLC0415

    def read() -> pa.Schema:
        with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as reader:
            return _readable(reader.schema)

    return _guarded(path, "a file in Arrow's stream format", read)


def read_stream_table(path: Path, columns: Collection[str] | None = None) -> pa.Table:
    """Read columns of a file in Arrow's stream format, as Hugging Face ``datasets`` saves it: not compressed.

    Args:
      path: the file.
      columns: names of the columns; ``None`` reads all.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is empty, truncated, damaged, compressed or too large for the memory; or a column name is
        repeated.
    """
    import pyarrow as pa  # noqa: PLC0415

    def read() -> pa.Table:
        check_growth(path, path.stat().st_size)
        content = pa.py_buffer(path.read_bytes())
        for message in pa.ipc.MessageReader.open_stream(content):
            if message.type in ("record batch", "dictionary"):
                _check_batch(path, message)
        with pa.ipc.open_stream(content) as reader:
            check_names(path, reader.schema.names)
            table = reader.read_all()
        table = table if columns is None else table.select([name for name in table.column_names if name in columns])
        table.validate(full=True)  # offsets and the like would be followed unchecked
        return table

    return _guarded(path, "a file in Arrow's stream format", read)


def _check_batch(path: Path, message: Any) -> None:
    """Raise ``ValueError`` for a record batch that would grow while it is read, before Arrow makes room for it."""
    metadata = message.metadata.to_pybytes()
    table = _offset(metadata, _field(metadata, _offset(metadata, 0), 2))
    if message.type == "dictionary":
        table = _offset(metadata, _field(metadata, table, 1))
    if _field(metadata, table, 3):
        raise ValueError(f"{path}: expected record batches as datasets.save_to_disk writes them, found compressed ones")
    length = _field(metadata, table, 0)
    rows = struct.unpack_from("<q", metadata, length)[0] if length else 0
    size = 0 if message.body is None else message.body.size
    if not 0 <= rows <= _BITS * size:
        found = f"one of {rows} rows in {size} bytes"
        raise ValueError(f"{path}: expected record batches with their content, found {found}")


def _offset(content: bytes, at: int) -> int:
    """Follow a reference in a FlatBuffer (google.github.io/flatbuffers, "Internals")."""
    return at + int(struct.unpack_from("<I", content, at)[0])


def _field(content: bytes, table: int, number: int) -> int:
    """Return the place of a field of a FlatBuffer's table; 0 where the table has none."""
    fields = table - struct.unpack_from("<i", content, table)[0]
    (size,) = struct.unpack_from("<H", content, fields)
    place = 4 + 2 * number
    (at,) = struct.unpack_from("<H", content, fields + place) if place < size else (0,)
    return table + at if at else 0


def check_names(path: Path, names: Collection[str]) -> None:
    """Raise ``ValueError`` if a column name is repeated."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{path}: expected distinct column names, found {name!r} more than once")
        seen.add(name)


def check_table_file(path: Path) -> None:
    """Raise an error unless there is a file that is not empty."""
    if not path.is_file():
        raise FileNotFoundError(f"path: expected a file, found none at {path}")
    if not path.stat().st_size:
        raise ValueError(f"{path}: expected a table, found an empty file")


def _guarded(path: Path, what: str, read: Callable[[], Any]) -> Any:
    """Call a reader of a file, with its errors in one line that names the file."""
    import pyarrow as pa  # noqa: PLC0415

    check_table_file(path)
    try:
        return read()
    except (pa.ArrowException, OSError, IndexError, struct.error, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: expected {what}, could not read it ({reason})") from error
