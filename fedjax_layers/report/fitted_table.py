"""Tables as wide as the terminal: where there is no room for all columns, some are left out and no digit is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

_BETWEEN = 2  # spaces between two columns, and on both sides together


class Column(NamedTuple):
    """A column of a table.

    Attributes:
      title: above it.
      cells: one per row, printed as they are.
      left_out: which of the columns goes first where there is no room, from 1; 0 is never left out.
      left: whether it is aligned to the left.
      legend: what it holds, for the lines under the table; empty where the title tells.
    """

    title: str
    cells: Sequence[str]
    left_out: int = 0
    left: bool = False
    legend: str = ""


class Fitted(NamedTuple):
    """A table and the lines under it."""

    table: Table
    lines: list[str]


def fitted(columns: Sequence[Column], width: int, title: str = "", bold: Sequence[tuple[int, int]] = ()) -> Fitted:
    """A table of those columns that there is room for, their legends, and what was left out.

    Args:
      columns: of the table; one without any content is left out silently.
      width: of the terminal.
      title: above the table.
      bold: places (column, row) of cells that stand out.
    """
    marked = {(columns[c].title, row) for c, row in bold}
    shown = [column for column in columns if any(column.cells)]
    gone = []
    while _width(shown) > width and any(column.left_out for column in shown):
        gone.append(min((column for column in shown if column.left_out), key=lambda column: column.left_out))
        shown.remove(gone[-1])
    head = Text(title) if title else None
    table = Table(title=head, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in shown:
        if column.left:
            table.add_column(Text(column.title), overflow="fold")
        else:
            table.add_column(Text(column.title), justify="right", no_wrap=True)
    for row, cells in enumerate(zip(*(column.cells for column in shown), strict=True)):
        styles = ["bold" if (column.title, row) in marked else "" for column in shown]
        table.add_row(*(Text(cell, style=style) for cell, style in zip(cells, styles, strict=True)))
    lines = [column.legend for column in shown if column.legend]
    if gone:
        lines.append(f"Left out, as the terminal is too narrow: {', '.join(column.title for column in gone)}.")
    return Fitted(table, lines)


def _width(columns: Sequence[Column]) -> int:
    own = (max(map(cell_len, [column.title, *column.cells])) for column in columns)
    return sum(own) + _BETWEEN * len(columns)
