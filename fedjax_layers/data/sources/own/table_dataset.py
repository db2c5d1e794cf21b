"""Examples from a table: the columns of inputs, label and client, and the handling of missing values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.preprocess import Preprocess
from fedjax_layers.data.sources.own.arrays import Missing, OwnTask, Scaling, from_arrays, ways_out
from fedjax_layers.data.sources.own.held_out import find_test_column, test_rows, without_owner
from fedjax_layers.data.sources.own.kinds import ColumnKind, kind_of, numbers_of, one_hot, parse_kinds, texts_of
from fedjax_layers.data.sources.own.names import class_numbers
from fedjax_layers.data.sources.own.odd_cells import why_refused
from fedjax_layers.data.sources.own.table import Table
from fedjax_layers.options import unknown_name

MAX_CATEGORIES = 100
MAX_NUMBERED_CLASSES = 20  # most different whole numbers that are classes; with more, they are a regression's target


@dataclasses.dataclass(frozen=True)
class TableOptions:
    """The options of ``csv`` and ``parquet``, by which a table is read.

    Attributes:
      label: column with the class or the target.
      client: column with the natural client; empty where there is none.
      features: columns that are inputs; empty takes all others.
      task: ``classification``, ``regression``, or ``auto``.
      missing: ``error``, ``drop`` (the row) or ``mean`` (left as NaN for the standardisation).
      kinds: overrides like ``"age:number"``.
      classes: the classes in order; empty takes the sorted distinct labels.
      id: column whose values must not repeat; it is no input.
      max_categories: largest number of categories of one column.
      test_column: column that says which rows are set apart for testing; ``"auto"`` finds it, ``"none"`` has none.
    """

    label: str
    client: str = ""
    features: tuple[str, ...] = ()
    task: OwnTask = "auto"
    missing: Missing = "error"
    kinds: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    id: str = ""
    max_categories: int = MAX_CATEGORIES
    test_column: str = "auto"


def table_dataset(
    name: str,
    table: Table,
    options: TableOptions,
    clients: np.ndarray | None = None,
    official_test: np.ndarray | None = None,
) -> Dataset:
    """Make the data set of a table.

    Args:
      name: registry name.
      table: the rows.
      options: how to read them.
      clients: ``[N]`` texts, each row's client, where no column has them; else ``None``.
      official_test: ``[N]`` flags on rows that are set apart for testing, in addition to those of a column; ``None``
        for none.

    Raises:
      ValueError: a column is unknown or cannot be read, a missing value is not allowed, a label is no class, or an id
        is repeated; the message names file, row and column.
    """
    for option, value, allowed in (("missing", options.missing, Missing), ("task", options.task, OwnTask)):
        if value not in get_args(allowed):
            raise unknown_name(option, value, get_args(allowed))
    kinds = parse_kinds(options.kinds, table)
    named = (options.label, options.client, options.id, *options.features)
    test_column = find_test_column(table, options.test_column, named)
    test = np.zeros(len(table), bool) if official_test is None else official_test
    if test_column:
        test = test | test_rows(table, test_column)
    features = _features(table, options, test_column)
    inputs, gaps = _inputs(table, features, kinds, options.max_categories)
    return labelled_dataset(name, table, options, inputs, gaps, clients, test)


def labelled_dataset(
    name: str,
    table: Table,
    options: TableOptions,
    inputs: np.ndarray,
    gaps: Mapping[str, np.ndarray],
    clients: np.ndarray | None,
    test: np.ndarray,
    preprocess: Preprocess | Scaling = "standardise",
) -> Dataset:
    """Make a data set of inputs that are ready, and of a table's columns of labels and clients.

    Args:
      name: registry name.
      table: the rows.
      options: which columns are label, client and id, and what becomes of missing values.
      inputs: ``[N, ...]``, the inputs; NaN for a missing value.
      gaps: flags ``[N]`` on missing values of each column that is an input.
      clients: ``[N]`` texts, each row's client, where no column has them; else ``None``.
      test: ``[N]`` flags on rows that are set apart for testing.
      preprocess: how a model reads the inputs.

    Raises:
      ValueError: as :func:`table_dataset`.
    """
    kinds, gaps = parse_kinds(options.kinds, table), dict(gaps)
    gaps[options.label] = _missing(table, options.label, "label")
    if options.client:
        gaps[options.client] = _missing(table, options.client, "client") & ~test
        clients, _ = texts_of(table, options.client)
    if options.id:
        gaps[options.id] = _missing(table, options.id, "id")
        _check_ids(table, options.id)
    needed = {options.label, options.client, options.id} & set(gaps)
    kept = _kept_rows(table, gaps, needed, options.missing)
    labels, classes = _labels(table, options, kinds, kept)
    everything = len(kept) == len(table)
    dataset = from_arrays(
        inputs if everything else inputs[kept],
        labels,
        None if clients is None else clients[kept],
        name=name,
        task="classification" if classes else "regression",
        classes=classes,
        preprocess=preprocess,
        missing="mean" if options.missing == "mean" else "error",  # others have been dropped or refused
        example_ids=kept,
        official_test=test[kept] if test.any() else None,
        source=table.name,
    )
    if dataset.clients is None or clients is None:
        return dataset
    return without_owner(dataset, test[kept] & (clients[kept] == ""))


def _features(table: Table, options: TableOptions, test_column: str) -> tuple[str, ...]:
    roles = {"label": options.label, "client": options.client, "id": options.id}
    for role, name in roles.items():
        if name:
            table.column(name, role)
    named = [name for name in roles.values() if name]
    if len(set(named)) < len(named):
        raise ValueError(f"label, client, id: expected different columns, got {', '.join(named)}")
    others = (*named, test_column)
    features = options.features or tuple(name for name in table.columns if name not in others)
    for name in features:
        table.column(name, "features")
        if name in named:
            raise ValueError(f"features: expected none of label, client and id, got {name!r}")
    if not features:
        raise ValueError(f"features: expected at least one column of {table.name} besides {', '.join(named)}")
    return features


def _inputs(
    table: Table, features: Sequence[str], kinds: dict[str, ColumnKind], limit: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Read inputs ``[N, D]`` float64, NaN for a missing value, and each column's flags ``[N]`` on missing values."""
    columns, gaps = [], {}
    for name in features:
        kind = kinds.get(name) or kind_of(table.columns[name])
        if kind == "category" and name not in kinds:
            _refuse(table, name)
        if kind == "unsupported":
            found = f"{table.columns[name].type}; a list of the other columns in --features can leave it out"
            raise ValueError(f"{table.name}, column {name}: expected numbers or texts, got {found}")
        column = one_hot(table, name, limit) if kind == "category" else numbers_of(table, name)[:, None]
        gaps[name] = np.isnan(column).any(axis=1) if column.shape[1] else np.ones(len(column), bool)
        if gaps[name].all():
            raise ValueError(f"{table.name}, column {name}: expected at least one value, found none")
        columns.append(column)
    return np.concatenate(columns, axis=1, dtype=np.float64), gaps


def _refuse(table: Table, name: str) -> None:
    """Raise ``ValueError`` for a column that should not be read as categories without an override."""
    why = why_refused(table, name)
    if why:
        raise ValueError(why)


def _missing(table: Table, name: str, option: str) -> np.ndarray:
    import pyarrow.compute as pc  # noqa: PLC0415

    return pc.is_null(table.column(name, option), nan_is_null=True).to_numpy(zero_copy_only=False)


def _kept_rows(table: Table, gaps: dict[str, np.ndarray], needed: set[str], missing: Missing) -> np.ndarray:
    """Return the rows to keep, ``[n]`` int64; a missing value that is not allowed is an error with row and column."""
    if missing == "drop":
        kept = np.flatnonzero(~np.any(list(gaps.values()), axis=0))
        if not len(kept):
            raise ValueError(f"{table.name}: expected at least one row without a missing value, found none")
        return kept
    refused = {name: gap for name, gap in gaps.items() if gap.any() and (missing == "error" or name in needed)}
    if refused:
        name = min(refused, key=lambda n: int(refused[n].argmax()))
        raise ValueError(
            f"{table.where(int(refused[name].argmax()), name)}: expected a value, found none "
            f"({int(refused[name].sum())} in this column); {ways_out(mean=name not in needed)}"
        )
    return np.arange(len(table))


def _check_ids(table: Table, name: str) -> None:
    texts, _ = texts_of(table, name)
    order = np.argsort(texts, kind="stable")
    again = np.flatnonzero((texts[order][1:] == texts[order][:-1]) & (texts[order][1:] != ""))
    if len(again):
        first, second = order[again[0] : again[0] + 2].tolist()
        found = f"{str(texts[second])!r} as in {table.where(first)}"
        raise ValueError(f"{table.where(second, name)}: expected an id of its own, got {found}")


def _labels(
    table: Table, options: TableOptions, kinds: dict[str, ColumnKind], kept: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the targets of the kept rows, and the classes (none for a regression)."""
    name = options.label
    kind = kinds.get(name) or kind_of(table.columns[name])
    texts = kind == "category"
    if texts and name not in kinds and not options.classes:
        _refuse(table, name)
    if options.task == "regression":
        return numbers_of(table, name)[kept], ()
    if not texts:
        numbers = numbers_of(table, name)[kept]
        whole = bool((numbers == np.round(numbers)).all())
        few = whole and len(np.unique(numbers)) <= MAX_NUMBERED_CLASSES
        if options.task == "auto" and not few and not options.classes:
            return numbers, ()
        texts = not whole
    found = texts_of(table, name)[0][kept] if texts else numbers.astype(np.int64).astype(str)

    def where(row: int) -> str:
        return table.where(int(kept[row]), name)

    return class_numbers(found, options.classes, f"{table.name}, column {name}", where)
