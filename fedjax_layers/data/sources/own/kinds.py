"""The kinds of a table's columns, number or category: detection, summary and overrides."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from fedjax_layers.data.sources.own.names import numbered, option_names
from fedjax_layers.data.sources.own.odd_cells import why_refused
from fedjax_layers.data.sources.own.table import Table
from fedjax_layers.options import unknown_name

if TYPE_CHECKING:
    import pyarrow as pa

ColumnKind = Literal["number", "category", "unsupported"]


@dataclasses.dataclass(frozen=True)
class ColumnSummary:
    """A summary of a column.

    Attributes:
      name: the column's name.
      kind: ``number``, ``category``, or ``unsupported`` (dates, lists ...).
      missing: number of cells without a value.
      distinct: number of different values.
      refused: why the column cannot be read as that kind, with the cell; empty where it can.
    """

    name: str
    kind: ColumnKind
    missing: int
    distinct: int
    refused: str = ""


def parse_kinds(kinds: object, table: Table) -> dict[str, ColumnKind]:
    """Parse overrides like ``("age:number", "sex:category")``.

    Raises:
      ValueError: an entry has another form, or its kind or column is unknown.
    """
    parsed: dict[str, ColumnKind] = {}
    for entry in option_names(kinds):
        name, colon, kind = entry.rpartition(":")
        if not colon:
            raise ValueError(f"kinds: expected entries like 'age:number', got {entry!r}")
        table.column(name, "kinds")
        if kind == "number":
            parsed[name] = "number"
        elif kind == "category":
            parsed[name] = "category"
        else:
            raise unknown_name(f"kinds, column {name}", kind, ("number", "category"))
    return parsed


def kind_of(cells: pa.Array) -> ColumnKind:
    """Return number if every cell that is not missing is one (flags count as 0 and 1), and category for other texts."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    types = pa.types
    if any(f(cells.type) for f in (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean)):
        return "number"
    if types.is_null(cells.type):
        return "number"
    if not types.is_string(cells.type):
        return "unsupported"
    try:
        pc.cast(cells, pa.float64())
    except pa.ArrowInvalid:
        return "category"
    return "number"


def numbers_of(table: Table, name: str) -> np.ndarray:
    """Convert a column to numbers, ``[N]`` float64, NaN where a cell is missing.

    Raises:
      ValueError: a cell is no finite number (it is named), or the column's type has no numbers.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    cells = table.columns[name]
    if kind_of(cells) == "unsupported":
        raise ValueError(f"{table.name}, column {name}: expected numbers, got {cells.type}")
    try:
        numbers = pc.cast(cells, pa.float64(), safe=False)
    except pa.ArrowInvalid:
        for row, cell in enumerate(cells.to_pylist()):
            if cell is not None and not _is_number(cell):
                raise ValueError(f"{table.where(row, name)}: expected a number, got {cell!r}") from None
        raise
    array = numbers.to_numpy(zero_copy_only=False).astype(np.float64)
    with np.errstate(over="ignore"):  # numbers beyond float32 are refused, and not rounded to infinity
        infinite = np.flatnonzero(np.isinf(array.astype(np.float32)))
    if len(infinite):
        row = int(infinite[0])
        raise ValueError(f"{table.where(row, name)}: expected a finite number, got {cells[row].as_py()}")
    return array


def texts_of(table: Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Convert a column to ``[N]`` texts, empty where a cell is missing, and ``[N]`` flags on missing cells.

    Raises:
      ValueError: the column has numbers with fractions, or another type that cannot be a name.
    """
    import pyarrow as pa  # noqa: PLC0415

    cells = table.columns[name]
    types = pa.types
    if not any(f(cells.type) for f in (types.is_string, types.is_integer, types.is_boolean)):
        raise ValueError(f"{table.name}, column {name}: expected integers or texts, got {cells.type}")
    missing = cells.is_null().to_numpy(zero_copy_only=False)
    texts = cells.cast(pa.string()).fill_null("").to_numpy(zero_copy_only=False)
    return texts.astype(str), missing


def one_hot(table: Table, name: str, limit: int) -> np.ndarray:
    """Encode a column of categories, one input each in sorted order: ``[N, categories]`` float32, NaN where missing.

    Raises:
      ValueError: there are more categories than ``limit``.
    """
    texts, missing = texts_of(table, name)
    codes, names = numbered(texts[~missing], name)
    if len(names) > limit:
        raise ValueError(
            f"{table.name}, column {name}: expected at most {limit} categories (max_categories), found {len(names)}; "
            "a list of the other columns in --features can leave it out"
        )
    encoded = np.full((len(texts), len(names)), np.nan, np.float32)
    encoded[~missing] = np.eye(len(names), dtype=np.float32)[codes]
    return encoded


def summarise(table: Table, overrides: Mapping[str, ColumnKind]) -> list[ColumnSummary]:
    """Summarise every column in the files' order, with the kind as which it would be read."""
    found = []
    for name, cells in table.columns.items():
        summary = _summary(name, cells, overrides.get(name) or kind_of(cells))
        doubtful = summary.kind == "category" and name not in overrides
        found.append(dataclasses.replace(summary, refused=why_refused(table, name) if doubtful else ""))
    return found


def _summary(name: str, cells: pa.Array, kind: ColumnKind) -> ColumnSummary:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    present = cells.filter(pc.invert(pc.is_null(cells, nan_is_null=True)))
    missing = len(cells) - len(present)
    try:
        if kind == "number":  # 1 and 1.0 are the same value
            present = pc.cast(present, pa.float64(), safe=False)
        distinct = len(pc.unique(present))
    except pa.ArrowInvalid:  # the cells do not fit an override
        distinct = len(pc.unique(present))
    except NotImplementedError:  # lists and similar types
        distinct = 0
    return ColumnSummary(name, kind, missing, distinct)


def _is_number(text: str) -> bool:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    try:
        pc.cast(pa.array([text]), pa.float64())
    except pa.ArrowInvalid:
        return False
    return True
