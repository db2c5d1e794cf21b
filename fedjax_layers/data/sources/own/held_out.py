"""Which of a user's own examples are set apart for testing: by a column, or by the names of files and folders."""

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
_TRAIN = ("train", "training", "val", "valid", "validation", "dev")  # validation is cut anew, by ``val_fraction``
_FLAGS = {"1": "test", "true": "test", "yes": "test", "0": "train", "false": "train", "no": "train"}


def part_of(text: str) -> Part | None:
    """The part that a cell or a name stands for; ``None`` for any other text."""
    word = text.strip().lower()
    return "test" if word in _TEST else "train" if word in _TRAIN else None


def test_files(found: Sequence[Path]) -> set[Path]:
    """The files of a folder that are for testing: ``test`` beside any other, ``x_test`` beside ``x_train``.

    A name like ``blood_test.csv`` says nothing by itself.
    """
    words = {path: re.split(r"[^a-z0-9]+", path.name.lower().split(".")[0]) for path in found}
    others = {path: [word for word in own if part_of(word) is None] for path, own in words.items()}
    named = {path for path, own in words.items() if len(own) - len(others[path]) == 1}
    test = {path for path in named if any(part_of(word) == "test" for word in words[path])}
    trained = [others[path] for path in named - test]
    return {path for path in test if others[path] in trained or (not others[path] and len(found) > len(test))}


def part_folders(found: Sequence[Path]) -> dict[Path, Part] | None:
    """The part of each folder, where they are called train and test (and perhaps validation) and nothing else."""
    parts = {path: part_of(path.name) for path in found}
    if set(parts.values()) != {"train", "test"} or not all(path.is_dir() for path in found):
        return None
    return {path: part for path, part in parts.items() if part is not None}


def find_test_column(table: Table, option: str, taken: Collection[str]) -> str:
    """The column that says which rows are for testing; empty where there is none.

    Args:
      table: the rows.
      option: the name of the column, ``"none"``, or ``"auto"``: a column of texts that are all names of parts, train
        and test among them.
      taken: columns that are something else.

    Raises:
      ValueError: there is no such column, it is something else already, or several could be meant.
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
    """Flags ``[N]`` of the rows for testing, by a column that says train or test, or 0 or 1.

    Raises:
      ValueError: a cell that says neither (named), or no row for training.
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
    """The data set with these rows ``[N]`` no natural client's: test examples that belong to nobody."""
    assert dataset.clients is not None  # the caller has looked
    owner = np.where(rows, -1, dataset.clients)
    left = np.unique(owner[owner >= 0])
    if not len(left):
        raise ValueError("client: expected some rows with a client, got none")
    names = tuple(dataset.client_names[client] for client in left)
    owner = np.where(rows, -1, np.searchsorted(left, owner)).astype(np.int32)
    return dataclasses.replace(dataset, clients=owner, client_names=names)
