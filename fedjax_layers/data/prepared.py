"""Tables from what TFDS has prepared: our own builders' data, or a stock set's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedjax_layers.data.cache import cache_key, cached_tables
from fedjax_layers.data.columns import Column, Ragged, Tables, check_tables

if TYPE_CHECKING:
    from fedjax_layers.data.source import Source

PREFIX = "federated_"  # of our builders' names, so that none hides a stock one
_RECORDS_AT_ONCE = 10_000  # bounds the decoded records held beside the arrays


def prepared_tables(source: Source, folder: Path) -> tuple[Tables, str]:
    """A data set's tables from what is prepared in ``folder``, by our own builder or as the stock set.

    Raises:
      FileNotFoundError: it cannot be read, e.g. because it is not array_record.
      ValueError: it does not hold what the data set should.
    """
    origin = f"TFDS {'/'.join(folder.parts[-2:])}"
    ours = any(part == f"{PREFIX}{source.name}" for part in folder.parts)

    def make() -> tuple[Tables, str]:
        convert = source.from_stock
        found = _read_ours(source, folder) if ours or convert is None else convert(read_splits(folder))
        check_tables(found, source.columns, {}, origin)
        return found, origin

    stat = (folder / "dataset_info.json").stat()
    key = cache_key(version=source.version, tfds=origin, info=[stat.st_size, stat.st_mtime_ns])
    return cached_tables(source.name, key, make)


def newest(folder: Path) -> Path | None:
    """The folder of the newest prepared version (of the first configuration) of a TFDS data set."""
    infos = sorted([*folder.glob("*/dataset_info.json"), *folder.glob("*/*/dataset_info.json")], key=_version)
    return infos[-1].parent if infos else None


def read_splits(folder: Path) -> dict[str, dict[str, Any]]:
    """Every split of a prepared data set: ``{split: {feature: list of N entries}}``, images and texts decoded.

    Raises:
      FileNotFoundError: the data cannot be read without TensorFlow, or are damaged.
    """
    return {split: _columns(records) for split, records in _splits(folder)}


def _splits(folder: Path) -> Iterator[tuple[str, Any]]:
    import tensorflow_datasets as tfds  # noqa: PLC0415  (slow to import, and rarely the way taken)

    try:
        builder = tfds.builder_from_directory(folder)
        # ``as_data_source`` reads what is prepared; ``tfds.data_source`` would download.
        yield from ((split, builder.as_data_source(split=split)) for split in builder.info.splits)
    except (AssertionError, AttributeError, NotImplementedError, OSError, ImportError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FileNotFoundError(
            f"data_dir: expected data prepared by TFDS as array_record in {folder}, found none readable "
            f"({type(error).__name__}: {reason})"
        ) from error


def batches(records: Any) -> Iterator[list[dict[str, Any]]]:
    """All records of a split, some thousands at a time: one by one costs three times as much."""
    for first in range(0, len(records), _RECORDS_AT_ONCE):
        yield records.__getitems__(range(first, min(first + _RECORDS_AT_ONCE, len(records))))


def _columns(records: Any) -> dict[str, Any]:
    columns: dict[str, list[Any]] = {}
    for batch in batches(records):
        for record in batch:
            for name, entry in record.items():
                columns.setdefault(name, []).append(entry)
    return columns


def _read_ours(source: Source, folder: Path) -> Tables:
    return {split: _in_order(records, source.columns) for split, records in _splits(folder)}


def _in_order(records: Any, columns: Mapping[str, Column]) -> dict[str, np.ndarray | Ragged]:
    """The columns in the order of the files: TFDS shuffles what it writes, and the ids undo it."""
    ids = np.empty(len(records), np.int64)
    fixed = {
        name: np.empty((len(records), *column.shape), column.dtype)
        for name, column in columns.items()
        if column.kind not in ("text", "tokens")
    }
    ragged: dict[str, list[Any]] = {name: [None] * len(records) for name in columns if name not in fixed}
    row = 0
    for batch in batches(records):
        for record in batch:
            ids[row] = record["id"]
            for name, array in fixed.items():
                array[row] = record[name]
            for name, entries in ragged.items():
                entries[row] = record[name]
            row += 1
    order = np.argsort(ids)
    table: dict[str, np.ndarray | Ragged] = {name: array[order] for name, array in fixed.items()}
    for name, entries in ragged.items():
        sort = (entries[i] for i in order)
        if columns[name].kind == "text":
            table[name] = Ragged.of((np.frombuffer(entry, np.uint8) for entry in sort), "uint8")
        else:
            table[name] = Ragged.of(sort, columns[name].dtype)
    return table


def _version(info: Path) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else -1 for part in info.parent.name.split("."))
