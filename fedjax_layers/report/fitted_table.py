"""Tables that fit the terminal's width: where there is no room, whole columns are left out, but never digits."""

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
      title: the text above the column.
      cells: texts, one per row, printed as they are.
      left_out: rank from 1 in which columns are left out where there is no room; 0 is never left out.
      left: whether the column is aligned to the left.
      legend: explanation for the lines under the table; empty where the title is clear.
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
    """Make a table of the columns that fit, with their legends and a line on the columns left out.

    Args:
      columns: the columns; one without any content is left out silently.
      width: width of the terminal in characters.
      title: text above the table.
      bold: positions (column, row) of cells in bold.
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
