"""The readers of a user's own table, CSV or Parquet, with one row per example."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.sources.own.arrays import Missing, OwnTask
from fedjax_layers.data.sources.own.kinds import ColumnSummary, parse_kinds, summarise
from fedjax_layers.data.sources.own.names import option_names
from fedjax_layers.data.sources.own.table import Table, join_tables, read_csv, read_parquet, without_column
from fedjax_layers.data.sources.own.table_dataset import MAX_CATEGORIES, TableOptions, table_dataset
from fedjax_layers.data.tables.source import Source


def describe(path: str | os.PathLike[str], *, kinds: Sequence[str] = (), separator: str = ",") -> list[ColumnSummary]:
    """Summarise the columns of a CSV or Parquet file, and the kinds as which they would be read.

    Args:
      path: path of the file, which is Parquet if its name ends in ``.parquet`` or ``.pq``.
      kinds: overrides like ``"age:category"``.
      separator: the character between the cells of a CSV file.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it cannot be read, or an override names an unknown column or kind.
    """
    file = Path(path).expanduser()
    table = read_parquet(file) if file.suffix in (".parquet", ".pq") else read_csv(file, separator)
    return summarise(table, parse_kinds(kinds, table))


def _csv(
    *,
    path: str,
    label: str,
    client: str = "",
    features: tuple[str, ...] = (),
    task: str = "auto",
    missing: str = "error",
    missing_values: tuple[str, ...] = (),
    kinds: tuple[str, ...] = (),
    classes: tuple[str, ...] = (),
    id: str = "",  # noqa: A002  (what the users' own files call it)
    max_categories: int = MAX_CATEGORIES,
    test_column: str = "auto",
    test_path: str = "",
    separator: str = ",",
) -> Dataset:
    """Read a CSV file with a header and one row per example: inputs ``[N, D]`` float32, standardised.

    A column whose cells are all numbers is a number; any other is a category and becomes one input per value, in
    sorted order, unless most of its cells look like numbers or dates, which is refused by row and column. A cell is
    missing if it is empty or says ``?``, ``NA``, ``N/A``, ``NaN``, ``NULL`` or ``None``.
    ``example_ids`` are rows counted from 0. :func:`describe` shows what would be read.

    Args:
      path: path of the file, gzipped or not.
      label: column with the class or the target.
      client: column with the natural client, read as text.
      features: columns that are inputs; empty takes all but label, client and id.
      task: kind of prediction; ``"auto"`` treats texts and at most 20 different whole numbers as classes, other numbers
        as a regression.
      missing: what to do about missing values: ``"error"``; ``"drop"`` leaves out their rows; ``"mean"`` replaces a
        missing input by the training mean (a label or client must not be missing).
      missing_values: further texts that stand for a missing value, such as ``unknown``.
      kinds: overrides like ``"age:number"`` and ``"ward:category"``.
      classes: the classes in order; a label that is none of them is an error. Empty takes the sorted labels.
      id: column whose values must not repeat.
      max_categories: largest number of values of one category column.
      test_column: column that says which rows are set apart for testing (``test`` or ``1``; ``train``, ``val`` and
        ``0`` are not). ``"auto"`` takes a column whose cells all say train, val or test; ``"none"`` takes none.
      test_path: a second file of the same columns whose rows, numbered after those of the first, are set apart for
        testing. If it lacks the column ``client``, its rows belong to no client.
      separator: the character between cells.

    Raises:
      FileNotFoundError: there is no file at ``path``.
      ValueError: see :func:`table_dataset`, or the file is not a CSV.
    """
    table, test = _with_test(
        lambda file: read_csv(file, separator, option_names(missing_values)), path, test_path, client
    )
    options = table_options(label, client, features, task, missing, kinds, classes, id, max_categories, test_column)
    return table_dataset("csv", table, options, official_test=test)


def _parquet(
    *,
    path: str,
    label: str,
    client: str = "",
    features: tuple[str, ...] = (),
    task: str = "auto",
    missing: str = "error",
    missing_values: tuple[str, ...] = (),
    kinds: tuple[str, ...] = (),
    classes: tuple[str, ...] = (),
    id: str = "",  # noqa: A002
    max_categories: int = MAX_CATEGORIES,
    test_column: str = "auto",
    test_path: str = "",
) -> Dataset:
    """Read a Parquet file with one row per example; arguments as :func:`_csv`.

    Columns of integers, floats, decimals and flags are numbers, and so are columns of texts whose cells are all
    numbers; other texts are categories. Nulls and NaN are missing.
    """
    table, test = _with_test(lambda file: read_parquet(file, option_names(missing_values)), path, test_path, client)
    options = table_options(label, client, features, task, missing, kinds, classes, id, max_categories, test_column)
    return table_dataset("parquet", table, options, official_test=test)


def _with_test(
    read: Callable[[Path], Table], path: object, test_path: object, client: object
) -> tuple[Table, np.ndarray | None]:
    """Read the rows of a file, followed by those of the test file, and flags ``[N]`` on the latter."""
    table = read(Path(str(path)).expanduser())
    if not test_path:
        return table, None
    test = read(Path(str(test_path)).expanduser())
    flags = np.repeat([False, True], [len(table), len(test)])
    return join_tables([table, without_column(test, table, str(client))]), flags


def table_options(
    label: str,
    client: str,
    features: object,
    task: str,
    missing: str,
    kinds: object,
    classes: object,
    id_column: str,
    max_categories: int,
    test_column: str,
) -> TableOptions:
    """Make the options from the command line's values, where one name may have no tuple, and a column 7 is a number."""
    return TableOptions(
        label=str(label),
        client=str(client),
        features=option_names(features),
        task=cast(OwnTask, task),
        missing=cast(Missing, missing),
        kinds=option_names(kinds),
        classes=option_names(classes),
        id=str(id_column),
        max_categories=max_categories,
        test_column=str(test_column),
    )


CSV = Source(
    name="csv",
    title="a table of your own, CSV",
    task="classification",
    licence="the user's own",
    citation="the user's own",
    build=_csv,
    clients="column",
    own=True,
    obtain="path names the file, label the column to predict",
)

PARQUET = Source(
    name="parquet",
    title="a table of your own, Parquet",
    task="classification",
    licence="the user's own",
    citation="the user's own",
    build=_parquet,
    clients="column",
    own=True,
    obtain="path names the file, label the column to predict",
)
