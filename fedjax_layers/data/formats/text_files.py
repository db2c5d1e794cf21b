"""Strict readers of text and comma-separated files, whose errors name file, line and column."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fedjax_layers.data.formats.archives import read_bytes

Cells = Mapping[str, tuple[str, ...]]  # column name -> text of its N cells
HEADER_LINES = 1


def read_text(path: Path) -> str:
    """Read a UTF-8 file, raw or gzipped (recognised by content), with its line ends unchanged.

    Raises:
      ValueError: the gzip stream is broken, or bytes are not UTF-8.
    """
    data = read_bytes(path)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: expected UTF-8 text, found byte {data[error.start]:#04x}") from error


def read_lines(path: Path) -> list[str]:
    """Read the lines of a UTF-8 file, which end at line feeds only (:meth:`str.splitlines` splits at ten more).

    Raises:
      ValueError: the last line has no line feed, or as :func:`read_text`.
    """
    lines = read_text(path).split("\n")
    if lines.pop():
        raise ValueError(f"{path}, line {len(lines) + 1}: expected a line feed at the end, found none (truncated)")
    return lines


def read_csv(path: Path, columns: Sequence[str]) -> Cells:
    """Read a comma-separated file with a header.

    Args:
      path: the file, may be gzipped.
      columns: the names in the header, in this order.

    Returns:
      The N cells of each column, as text; row i is line i + 2 of the file.

    Raises:
      ValueError: the header differs, a row has more or fewer cells, or a quotation is unfinished.
    """
    lines = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        rows = list(lines)
    except csv.Error as error:
        raise ValueError(f"{path}, line {lines.line_num}: expected comma-separated cells, found {error}") from error
    header = rows.pop(0) if rows else []
    if header != list(columns):
        absent = [name for name in columns if name not in header]
        found = f"no column {', '.join(absent)}" if absent else f"{', '.join(header)}"
        raise ValueError(f"{path}, line 1: expected columns {', '.join(columns)}, found {found}")
    for number, row in enumerate(rows, start=1 + HEADER_LINES):
        if len(row) != len(columns):
            last = f" (the last is column {columns[len(row) - 1]})" if 0 < len(row) < len(columns) else ""
            raise ValueError(f"{path}, line {number}: expected {len(columns)} cells, found {len(row)}{last}")
    cells = zip(*rows, strict=True) if rows else ((),) * len(columns)
    return dict(zip(columns, cells, strict=True))


def numbers(path: Path, cells: Cells, column: str, missing: str | None = None) -> np.ndarray:
    """Convert a column of :func:`read_csv` to finite numbers.

    Args:
      path: the file, for the message.
      cells: its columns.
      column: name of the column.
      missing: text that stands for a missing value; ``None`` where none may be missing.

    Returns:
      ``[N]`` float64, NaN where a value is missing.

    Raises:
      ValueError: a cell is no number; the message gives its line.
    """
    texts = np.array(cells[column], dtype=str)
    absent = np.zeros(len(texts), bool) if missing is None else texts == missing
    try:
        values = np.where(absent, "0", texts).astype(np.float64)
    except ValueError:
        values = np.array([_number(text) for text in texts])
    wrong = np.flatnonzero(~np.isfinite(values) & ~absent)
    if len(wrong):
        place = f"{path}, line {wrong[0] + 1 + HEADER_LINES}, column {column}"
        raise ValueError(f"{place}: expected a number, found {str(texts[wrong[0]])!r}")
    values[absent] = np.nan
    return values


def table(path: Path, cells: Cells, columns: Sequence[str], missing: str | None = None) -> np.ndarray:
    """Convert several columns to numbers, ``[N, len(columns)]`` float32; see :func:`numbers`."""
    return np.stack([numbers(path, cells, column, missing) for column in columns], axis=1).astype(np.float32)


def classes(path: Path, cells: Cells, column: str, names: Sequence[str]) -> np.ndarray:
    """Convert a column of :func:`read_csv` to class numbers ``[N]`` int64.

    Raises:
      ValueError: a cell is not among ``names``; the message gives its line.
    """
    known = {name: number for number, name in enumerate(names)}
    found = np.array([known.get(text, -1) for text in cells[column]], np.int64)
    wrong = np.flatnonzero(found < 0)
    if len(wrong):
        place = f"{path}, line {wrong[0] + 1 + HEADER_LINES}, column {column}"
        raise ValueError(f"{place}: expected one of {', '.join(names)}, found {cells[column][wrong[0]]!r}")
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan
