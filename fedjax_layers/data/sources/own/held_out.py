"""The user's own examples that are set apart for testing, by a column or by names of files and folders."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.sources.own.table import Table
from fedjax_layers.options import unknown_name

Part = Literal["train", "test"]
_TEST = ("test", "testing")
_TRAIN = ("train", "training", "val", "valid", "validation", "dev")  # validation is drawn anew, by ``val_fraction``
_FLAGS = {"1": "test", "true": "test", "yes": "test", "0": "train", "false": "train", "no": "train"}


def part_of(text: str) -> Part | None:
    """Return the part that a cell or a name means; ``None`` for any other text."""
    word = text.strip().lower()
    return "test" if word in _TEST else "train" if word in _TRAIN else None


def part_of_split(name: str) -> Part | None:
    """Return the part that a split's name means, by its first word: ``validation_matched`` is for training."""
    return part_of(re.split(r"[^a-z]+", name.lower())[0])


def chosen_splits(there: Sequence[str], asked: Sequence[str]) -> dict[str, bool]:
    """Choose splits.

    Args:
      there: names of the splits of the data, each once.
      asked: names of splits; empty takes all if their names say train, validation or test, or if there is only one.

    Returns:
      For each name of a chosen split whether it is set apart for testing; no split is if all would be.

    Raises:
      ValueError: a split is unknown, or a name does not say which part it is.
    """
    for name in asked:
        if name not in there:
            raise unknown_name("split", name, there)
    taken = [name for name in there if name in (asked or there)]
    if len(taken) > 1 and not asked and not all(part_of_split(name) for name in taken):
        raise ValueError(f"split: expected names like train and test, found {', '.join(taken)}; name those to read")
    parts = {name: part_of_split(name) == "test" for name in taken}
    return parts if not all(parts.values()) else dict.fromkeys(taken, False)


def test_files(found: Sequence[Path]) -> set[Path]:
    """Find the files of a folder for testing: ``test`` beside any other, ``x_test`` beside ``x_train``.

    A name like ``blood_test.csv`` alone is not enough.
    """
    words = {path: re.split(r"[^a-z0-9]+", path.name.lower().split(".")[0]) for path in found}
    others = {path: [word for word in own if part_of(word) is None] for path, own in words.items()}
    named = {path for path, own in words.items() if len(own) - len(others[path]) == 1}
    test = {path for path in named if any(part_of(word) == "test" for word in words[path])}
    trained = [others[path] for path in named - test]
    return {path for path in test if others[path] in trained or (not others[path] and len(found) > len(test))}


def part_folders(found: Sequence[Path]) -> dict[Path, Part] | None:
    """Return the part of each folder if all are called train or test (or validation); else ``None``."""
    parts = {path: part_of(path.name) for path in found}
    if set(parts.values()) != {"train", "test"} or not all(path.is_dir() for path in found):
        return None
    return {path: part for path, part in parts.items() if part is not None}


def find_test_column(table: Table, option: str, taken: Collection[str]) -> str:
    """Find the column that says which rows are for testing; empty where there is none.

    Args:
      table: the rows.
      option: the name of the column, ``"none"``, or ``"auto"``: a column of texts that are all names of parts, train
        and test among them.
      taken: columns with another role.

    Raises:
      ValueError: there is no such column, it has another role, or several columns fit.
    """
    if option == "none":
        return ""
    if option != "auto":
        table.column(option, "test_column")
        if option in taken:
            raise ValueError(f"test_column: expected a column of its own, got {option!r}, which is label, client or id")
        return option
    found = [name for name in table.columns if name not in taken and _names_parts(table, name)]
    if len(found) > 1:
        raise ValueError(f"test_column: expected one column of train and test, found {', '.join(found)}; name one")
    return found[0] if found else ""


def _names_parts(table: Table, name: str) -> bool:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    cells = table.columns[name]
    if not pa.types.is_string(cells.type):
        return False
    distinct = pc.unique(cells)
    if len(distinct) > len(_TEST) + len(_TRAIN) + 1:
        return False
    parts = {part_of(text) for text in distinct.to_pylist() if text is not None}
    return parts == {"train", "test"}


def test_rows(table: Table, name: str) -> np.ndarray:
    """Flag the rows ``[N]`` for testing by a column that says train or test, or 0 or 1.

    Raises:
      ValueError: a cell says something else (it is named), or no row is for training.
    """
    texts = [str(cell).strip().lower() if cell is not None else "" for cell in table.columns[name].to_pylist()]
    parts = {text: part_of(text) or _FLAGS.get(text.removesuffix(".0")) for text in set(texts)}
    for row, text in enumerate(texts):
        if parts[text] is None:
            raise ValueError(f"{table.where(row, name)}: expected train or test, or 0 or 1, got {text!r}")
    flags = np.array([parts[text] == "test" for text in texts], bool)
    if flags.all():
        raise ValueError(f"{table.name}, column {name}: expected some rows for training, found only test rows")
    return flags


def without_owner(dataset: Dataset, rows: np.ndarray) -> Dataset:
    """Remove the natural client of these rows ``[N]``, which are test examples without a client."""
    assert dataset.clients is not None  # checked by the caller
    owner = np.where(rows, -1, dataset.clients)
    left = np.unique(owner[owner >= 0])
    if not len(left):
        raise ValueError("client: expected some rows with a client, got none")
    names = tuple(dataset.client_names[client] for client in left)
    owner = np.where(rows, -1, np.searchsorted(left, owner)).astype(np.int32)
    return dataclasses.replace(dataset, clients=owner, client_names=names)
