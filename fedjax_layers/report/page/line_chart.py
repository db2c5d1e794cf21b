"""A chart of lines as SVG. Paths are in the units of the data, so that the page's script reads the values from them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fedjax_layers.report.page.elements import Element, el
from fedjax_layers.report.page.scales import Axis, axis_of

WIDTH, HEIGHT = 440, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 18, 30, 46
COLOURS, DASHES = 8, 4


class Line(NamedTuple):
    """One line.

    Attributes:
      key: its number on the page, which decides its colour and dashes, and under which the legend hides it.
      name: its name.
      x: places ``[n]``.
      y: values ``[n]``; NaN interrupts the line.
      low: lower end of the band ``[n]``; ``None`` without a band.
      high: upper end.
      who: whose the points are, as numbers in the figure's list of names; ``None`` where they are nobody's.
      dots: whether the points stand alone.
    """

    key: int
    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    who: np.ndarray | None = None
    dots: bool = False


class Labels(NamedTuple):
    """The words of a chart: its title for those who do not see it, its axes, and what a point's place is called."""

    title: str
    x: str
    y: str
    place: str = "round"
    unit: str = ""


def style_of(key: int) -> str:
    """Return the classes of a line: a colour, and dashes that differ between lines of the same colour."""
    return f"c{key % COLOURS} d{(key + key // COLOURS) % DASHES}"


def line_chart(
    lines: list[Line], labels: Labels, *, whole: bool = False, zero: bool = False, span: tuple[float, ...] = ()
) -> Element | None:
    """Draw lines with their bands.

    Args:
      lines: the lines.
      labels: the words.
      whole: whether places are whole numbers.
      zero: whether the height 0 is on the chart, with a line of its own.
      span: places that are on the chart in any case.

    Returns:
      The SVG element; ``None`` if there is no finite point.
    """
    drawn = [line for line in lines if np.isfinite(line.y).any()]
    heights = [x for line in drawn for x in (line.y, line.low, line.high) if x is not None]
    x = axis_of([np.array(span), *(line.x for line in drawn)] if drawn else [], 6, whole=whole, padded=not whole)
    y = axis_of([*heights, np.zeros(1)] if zero and heights else heights)
    if x is None or y is None:
        return None
    across, up = (WIDTH - _LEFT - _RIGHT) / (x.high - x.low), (HEIGHT - _TOP - _BOTTOM) / (y.high - y.low)
    place = f"matrix({across:.8g} 0 0 {-up:.8g} {_LEFT - x.low * across:.8g} {HEIGHT - _BOTTOM + y.low * up:.8g})"
    paths = [_paths(line) for line in drawn]
    ground = el("line", class_="ground", x1=x.low, x2=x.high, y1=0, y2=0, vector_effect="non-scaling-stroke")
    return el(
        "svg",
        el("title", labels.title),
        el("desc", f"Lines: {', '.join(line.name for line in drawn)}. The values are in the table under the chart."),
        _frame(x, y, labels),
        el("g", ground if zero else None, paths, transform=place),
        el("circle", class_="at", r=5, cx=0, cy=0, visibility="hidden"),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        tabindex="0",
        class_="chart",
        data_place=labels.place,
        data_unit=labels.unit,
        data_y=labels.y,
        data_matrix=" ".join(f"{v:.8g}" for v in (across, -up, _LEFT - x.low * across, HEIGHT - _BOTTOM + y.low * up)),
    )


def _frame(x: Axis, y: Axis, labels: Labels) -> Element:
    """Draw the axes with their words, and a faint line for each written height."""
    parts = []
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    for value, text in zip(y.ticks, y.texts, strict=True):
        at = f"{bottom - (value - y.low) / (y.high - y.low) * (bottom - _TOP):.1f}"
        parts.append(el("line", class_="grid", x1=_LEFT, x2=right, y1=at, y2=at))
        parts.append(el("text", text, x=_LEFT - 7, y=at, dy="0.35em", text_anchor="end"))
    for value, text in zip(x.ticks, x.texts, strict=True):
        at = f"{_LEFT + (value - x.low) / (x.high - x.low) * (right - _LEFT):.1f}"
        parts.append(el("line", class_="tick", x1=at, x2=at, y1=bottom, y2=bottom + 4))
        parts.append(el("text", text, x=at, y=bottom + 9, dy="0.75em", text_anchor="middle"))
    parts.append(el("line", class_="axis", x1=_LEFT, x2=right, y1=bottom, y2=bottom))
    parts.append(el("text", labels.y, class_="label", x=2, y=14))
    parts.append(el("text", labels.x, class_="label", x=right, y=HEIGHT - 6, text_anchor="end"))
    return el("g", parts, class_="frame", aria_hidden="true")


def _paths(line: Line) -> list[Element]:
    style = style_of(line.key)
    made = []
    if line.low is not None and line.high is not None:
        inside = np.isfinite(line.low) & np.isfinite(line.high)
        there = np.flatnonzero(inside)
        if len(there) and (line.high[there] > line.low[there]).any():
            ends = [*zip(line.x[there], line.low[there], strict=True)]
            ends += [*zip(line.x[there[::-1]], line.high[there[::-1]], strict=True)]
            made.append(el("path", d=f"M{'L'.join(map(_point, ends))}Z", class_=f"band {style}", data_key=line.key))
    who = None if line.who is None else " ".join(map(str, line.who[np.isfinite(line.y)]))
    course = _course(line)
    alone = " dot" if "L" not in course else ""
    made.append(
        el(
            "path",
            d=course,
            class_=f"line {style}{alone}",
            data_key=line.key,
            data_name=line.name,
            data_who=who,
            vector_effect="non-scaling-stroke",
        )
    )
    return made


def _course(line: Line) -> str:
    """Write the path of a line, interrupted where a value is missing; a single point becomes a dot."""
    cuts = np.arange(1, len(line.y)) if line.dots else np.flatnonzero(~np.isfinite(line.y))
    course, pieces = "", np.split(np.arange(len(line.y)), cuts)
    for piece in pieces:
        there = piece[np.isfinite(line.y[piece])]
        points = [_point((line.x[i], line.y[i])) for i in there]
        if points:
            course += f"M{'L'.join(points)}{'h0' if len(points) == 1 else ''}"
    return course


def _point(place: tuple[float, float]) -> str:
    return f"{place[0]:.6g} {place[1]:.4g}"
