"""Readers of the JSON files of LEAF (Caldas et al. 2018), with one list of examples per user."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_layers.data.dataset import present_clients
from fedjax_layers.data.tables.columns import Table, Tables
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.parts import Examples
from fedjax_layers.data.tables.source import Layout
from fedjax_layers.data.text.encoding import number_texts
from fedjax_layers.storage import read_given_json

OBTAIN = "LEAF's preprocess.sh makes them, see https://github.com/TalwalkarLab/leaf"


def layouts(pattern: str, table: Callable[[list[Path]], Table]) -> tuple[Layout, ...]:
    """Make the layouts of LEAF's ``preprocess.sh``: all data in a folder or here, or its train and test parts.

    Args:
      pattern: pattern of the files with all data, e.g. ``all_data_*.json``.
      table: function from the files of one part, in order, to its columns.
    """

    def read(files: Mapping[str, Path]) -> Tables:
        parts: dict[str, list[Path]] = {}
        for name, path in files.items():
            parts.setdefault("test" if name.startswith("test/") else "train", []).append(path)
        return {split: table(paths) for split, paths in sorted(parts.items(), reverse=True)}

    halves = (SourceFile("train/*.json"), SourceFile("test/*.json"))
    return (
        Layout((SourceFile(f"all_data/{pattern}"),), read),
        Layout((SourceFile(pattern),), read),
        Layout(halves, read, note="LEAF's train and test parts"),
    )


def read_users(path: Path) -> Iterator[tuple[str, list[Any], list[Any]]]:
    """Iterate over the users of a file in its order: name, inputs and labels.

    Raises:
      ValueError: the file is truncated or no LEAF file, or a user's numbers of inputs and labels differ from each
        other or from what the file announces.
    """
    content = read_given_json(path)
    keys = ("users", "num_samples", "user_data")
    if not isinstance(content, dict) or any(key not in content for key in keys):
        found = ", ".join(sorted(content)) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path}: expected an object with {', '.join(keys)}, found {found}")
    users, announced, data = (content[key] for key in keys)
    if not (isinstance(users, list) and isinstance(announced, list) and isinstance(data, dict)):
        raise ValueError(f"{path}: expected lists users and num_samples and an object user_data, found others")
    if not all(isinstance(user, str) for user in users):
        raise ValueError(f"{path}: expected users' names, found others")
    if len(users) != len(announced):
        raise ValueError(f"{path}: expected num_samples of {len(users)} users, found {len(announced)}")
    for user, count in zip(users, announced, strict=True):
        own = data.pop(user, None)  # popped, so that what was read can be freed
        if not isinstance(own, dict) or not all(isinstance(own.get(name), list) for name in ("x", "y")):
            raise ValueError(f"{path}, user {user}: expected lists x and y, found none")
        if not len(own["x"]) == len(own["y"]) == count:
            found = f"{len(own['x'])} inputs and {len(own['y'])} labels"
            raise ValueError(f"{path}, user {user}: expected {count} of each, found {found}")
        yield user, own["x"], own["y"]


def chosen_clients(
    examples: Examples, column: str, ranks: tuple[int, ...], min_examples: int
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Choose the examples of the users with most examples, or of those with enough.

    Args:
      examples: all examples.
      column: text column with the user's name.
      ranks: first and last rank by number of examples, counted from 1, where equal ones are in alphabetical order;
        empty takes every user.
      min_examples: users with fewer are left out.

    Returns:
      The kept rows ``[n]`` int64, and their clients ``[n]`` int32 by number, with names in alphabetical order.

    Raises:
      ValueError: an argument is out of range, or no user is left.
    """
    if ranks and (len(ranks) != 2 or not 1 <= ranks[0] <= ranks[1]):
        raise ValueError(f"ranks: expected first and last rank, counted from 1, got {ranks}")
    if min_examples < 1:
        raise ValueError(f"min_examples: expected at least 1, got {min_examples}")
    found, names = number_texts(examples.ragged(column))
    order = sorted(range(len(names)), key=names.__getitem__)
    alphabetical = np.empty(len(names), np.int64)
    alphabetical[order] = np.arange(len(names))
    numbers = alphabetical[found]
    names = tuple(names[i] for i in order)
    sizes = np.bincount(numbers, minlength=len(names))
    by_size = np.argsort(-sizes, kind="stable")
    taken = np.zeros(len(names), bool)
    taken[by_size[ranks[0] - 1 : ranks[1]] if ranks else by_size] = True
    taken &= sizes >= min_examples
    if not taken.any():
        raise ValueError(
            f"ranks, min_examples: expected them to leave at least one of {len(names)} users, of whom the largest has "
            f"{sizes.max()} examples; got {ranks or 'all'} and {min_examples}"
        )
    rows = np.flatnonzero(taken[numbers])
    return rows, *present_clients(numbers[rows], names)
