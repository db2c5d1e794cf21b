"""Errors for columns that look like numbers except for some cells, or like dates, and are not silently categories."""

from __future__ import annotations

import re

from fedjax_layers.data.sources.own.table import Table

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity|nan)", re.IGNORECASE | re.ASCII)
# 1,5 and 1.234,5 and 1 000 and 1_000; 0x1A; 12 mg and 37.5°C; $5 and <0.1
_NEAR = re.compile(
    r"[<>~$€£=+-]*\s*\d+([.,_' \u00a0]\d+)*\s*([a-zA-Zµ°%/]+[²³]?)?|0[xX][0-9a-fA-F]+", re.ASCII
)  # fmt: skip
_DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ].*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}( .*)?|\d{1,2}:\d{2}(:\d{2}.*)?"
)
_FEW = 20  # number of different values, like 5mg and 10mg, or 2a and 3b, up to which they may be categories


def why_refused(table: Table, name: str) -> str:
    """Say why a text column is neither a number nor, without an override, a category; empty where it is one.

    These are refused: a column in which more than half of the cells are numbers and others are not, one of more than 20
    different values most of which only look like numbers (``1,5``, ``1_000``, ``0x1A``, ``12 mg``), and one of dates.
    """
    import pyarrow.compute as pc  # noqa: PLC0415

    cells = table.columns[name]
    found = pc.value_counts(cells.drop_null())
    counts = dict(zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True))
    total = sum(counts.values())
    dates = {text for text in counts if _DATE.fullmatch(text)}
    numbers = {text for text in counts if _NUMBER.fullmatch(text)} - dates
    near = {text for text in counts if _NEAR.fullmatch(text)} - dates - numbers
    way_out = (
        f"write it as 1234.5, list it in missing_values (--missing-values) if it says that nothing is known, or make "
        f"a category of each value with kinds={name + ':category'!r} (--kinds)"
    )

    def rows(texts: set[str]) -> int:
        return sum(counts[text] for text in texts)

    if 2 * rows(numbers) > total:
        odd = set(counts) - numbers
        return _first(table, name, odd, f"a number as in {rows(numbers)} of {total} cells", rows(odd), way_out)
    if 2 * rows(numbers | near) > total and len(numbers | near) > _FEW:
        odd = set(counts) - numbers
        return _first(table, name, odd, "a number", rows(odd), way_out)
    if 2 * rows(dates) > total:
        leave = (
            "a list of the other columns in --features can leave it out, and "
            f"kinds={name + ':category'!r} (--kinds) makes categories"
        )
        return _first(table, name, dates, "a number or a category", rows(dates), leave, "the date ")
    return ""


def _first(table: Table, name: str, odd: set[str], expected: str, count: int, way_out: str, what: str = "") -> str:
    texts = table.columns[name].to_pylist()
    row = next(row for row, text in enumerate(texts) if text in odd)
    more = f" (and {count - 1} more cells like it)" if count > 1 else ""
    return f"{table.where(row, name)}: expected {expected}, got {what}{texts[row]!r}{more}; {way_out}"
