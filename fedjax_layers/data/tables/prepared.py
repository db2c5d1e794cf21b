"""Tables from data that TFDS has prepared, by our own builders or as a stock set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_layers.data.tables.cache import cache_key, cached_tables
from fedjax_layers.data.tables.columns import Column, Ragged, Tables, check_tables

PREFIX = "federated_"  # of our builders' names, so that none hides a stock set
_RAGGED = ("text", "tokens")
_RECORDS_AT_ONCE = 10_000  # bounds the decoded records held beside the arrays


FromStock = Callable[[Mapping[str, Any]], Tables]


def prepared_tables(
    name: str, version: str, columns: Mapping[str, Column], from_stock: FromStock | None, folder: Path
) -> tuple[Tables, str]:
    """Read a data set's tables from what our own builder, or TFDS's stock builder, has prepared in ``folder``.

    The other arguments are fields of the data set's :class:`~fedjax_layers.data.tables.source.Source`.

    Raises:
      FileNotFoundError: the data cannot be read, e.g. because they are not array_record, or are damaged.
      ValueError: the data are not as declared, e.g. because an older builder wrote them.
    """
    provenance = f"TFDS {'/'.join(folder.parts[-2:])}"
    ours = any(part == f"{PREFIX}{name}" for part in folder.parts)

    def make() -> tuple[Tables, str]:
        stock = None if ours else from_stock
        found = _read_ours(columns, folder) if stock is None else stock(read_splits(folder))
        check_tables(found, columns, {}, provenance)
        return found, provenance

    stat = (folder / "dataset_info.json").stat()
    described = [[column, *dataclasses.astuple(kind)] for column, kind in columns.items()]
    key = cache_key(version=version, columns=described, tfds=provenance, info=[stat.st_size, stat.st_mtime_ns])
    return cached_tables(name, key, make)


def newest(folder: Path) -> Path | None:
    """Find the folder of the newest prepared version (of the first configuration) of a TFDS data set."""
    infos = sorted([*folder.glob("*/dataset_info.json"), *folder.glob("*/*/dataset_info.json")])
    complete = [info for info in infos if _version(info)]
    return max(complete, key=_version).parent if complete else None


def read_splits(folder: Path) -> dict[str, dict[str, Any]]:
    """Read all splits of a prepared data set, ``{split: {feature: list of N entries}}``, with images and texts decoded.

    Raises:
      FileNotFoundError: the data cannot be read without TensorFlow, or are damaged.
    """
    _, splits = _open(folder)
    return {split: _columns(batches(records, folder)) for split, records in splits.items()}


def _open(folder: Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """Open the features and splits of prepared data in a folder."""
    import tensorflow_datasets as tfds  # noqa: PLC0415  (slow to import, and rarely the way taken)

    try:
        builder = tfds.builder_from_directory(folder)
        # ``as_data_source`` reads what is prepared; ``tfds.data_source`` would download.
        return builder.info.features, {split: builder.as_data_source(split=split) for split in builder.info.splits}
    except Exception as error:  # TFDS passes on errors of protobuf, array_record and Python
        raise _unreadable(folder, error) from error


def batches(records: Any, folder: Path) -> Iterator[list[dict[str, Any]]]:
    """Iterate over a split's records in batches of thousands, which takes a third of the time of single records.

    Raises:
      FileNotFoundError: the files in ``folder`` are damaged.
    """
    for first in range(0, len(records), _RECORDS_AT_ONCE):
        try:
            batch = records.__getitems__(range(first, min(first + _RECORDS_AT_ONCE, len(records))))
        except Exception as error:  # as in _open
            raise _unreadable(folder, error) from error
        yield batch


def _unreadable(folder: Path, error: Exception) -> FileNotFoundError:
    reason = " ".join(str(error).split())[:200]
    return FileNotFoundError(
        f"data_dir: expected data prepared by TFDS as array_record in {folder}, found none readable "
        f"({type(error).__name__}: {reason})"
    )


def _columns(batches_of_split: Iterable[list[dict[str, Any]]]) -> dict[str, Any]:
    columns: dict[str, list[Any]] = {}
    for batch in batches_of_split:
        for record in batch:
            for name, entry in record.items():
                columns.setdefault(name, []).append(entry)
    return columns


def _read_ours(columns: Mapping[str, Column], folder: Path) -> Tables:
    features, splits = _open(folder)
    _check_features(features, columns, folder)
    return {split: _in_order(len(records), batches(records, folder), columns) for split, records in splits.items()}


def _check_features(features: Mapping[str, Any], columns: Mapping[str, Column], folder: Path) -> None:
    """Raise ``ValueError`` for data of another builder, whose shapes and types NumPy would convert silently."""
    if set(features) != {"id", *columns}:
        expected, found = (", ".join(sorted(names)) for names in (["id", *columns], features))
        raise ValueError(f"{folder}: expected columns {expected}, found {found}; prepare it again")
    for name, column in columns.items():
        expected = _described({"tokens": (None,)}.get(column.kind, column.shape), column.dtype, column.names)
        if column.kind == "text":
            expected = _described((), "object", ())
        feature = features[name]
        found = _described(feature.shape, np.dtype(feature.np_dtype).name, getattr(feature, "names", None) or ())
        if found != expected:
            raise ValueError(f"{folder}, column {name}: expected {expected}, found {found}; prepare it again")


def _described(shape: Iterable[int | None], dtype: str, names: Iterable[str]) -> str:
    classes = ", ".join(names)
    return f"{dtype} of shape {tuple(shape)}" + (f", classes {classes}" if classes else "")


def _in_order(
    size: int, batches_of_split: Iterable[list[dict[str, Any]]], columns: Mapping[str, Column]
) -> dict[str, np.ndarray | Ragged]:
    """Put columns into the order of the files by ids ``0 .. size-1``, since TFDS shuffles what it writes.

    Raises:
      ValueError: the ids differ.
    """
    seen = np.zeros(size, bool)
    fixed = {
        name: np.empty((size, *column.shape), column.dtype)
        for name, column in columns.items()
        if column.kind not in _RAGGED
    }
    ragged: dict[str, list[Any]] = {name: [None] * size for name in columns if name not in fixed}
    for batch in batches_of_split:
        for record in batch:
            row = int(record["id"])
            if not 0 <= row < size or seen[row]:
                raise ValueError(f"id: expected 0..{size - 1}, each once, found {row}; prepare the set again")
            seen[row] = True
            for name, array in fixed.items():
                array[row] = record[name]
            for name, entries in ragged.items():
                entries[row] = record[name]
    table: dict[str, np.ndarray | Ragged] = dict(fixed)
    for name, entries in ragged.items():
        if columns[name].kind == "text":
            table[name] = Ragged.of((np.frombuffer(entry, np.uint8) for entry in entries), "uint8")
        else:
            table[name] = Ragged.of(entries, columns[name].dtype)
    return table


def _version(info: Path) -> tuple[int, ...]:
    """Read the version of a folder named like ``1.0.0``; empty for any other name, as of an unfinished folder."""
    parts = info.parent.name.split(".")
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else ()
