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

Part = Literal["train", "test"]
_TEST = ("test", "testing")
_TRAIN = ("train", "training", "val", "valid", "validation", "dev")  # validation is drawn anew, by ``val_fraction``
_FLAGS = {"1": "test", "true": "test", "yes": "test", "0": "train", "false": "train", "no": "train"}


def part_of(text: str) -> Part | None:
    """Return the part that a cell or a name means; ``None`` for any other text."""
    word = text.strip().lower()
    return "test" if word in _TEST else "train" if word in _TRAIN else None


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
