"""A figure of the page: charts to choose from, a legend that hides lines, and a table with the same values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fedjax_layers.report.page.elements import Element, data, el, name, table
from fedjax_layers.report.page.line_chart import Labels, Line, line_chart, style_of

_ROWS = 60  # most rows of the table under a chart


class View(NamedTuple):
    """One chart of a figure, and what a reader chooses to see it.

    Attributes:
      choice: a word for each of the figure's pickers.
      labels: the chart's words.
      lines: its lines.
      whole: see :func:`~fedjax_layers.report.page.line_chart.line_chart`.
      zero: likewise.
      span: likewise.
      note: a sentence under the chart.
      table: the same values as a table; ``None`` makes it from the lines, which then have places in common.
    """

    choice: tuple[str, ...]
    labels: Labels
    lines: list[Line]
    whole: bool = False
    zero: bool = False
    span: tuple[float, ...] = ()
    note: str = ""
    table: Element | None = None


def figure(
    title: str,
    views: Sequence[View],
    *,
    pickers: Sequence[str] = (),
    told: str = "",
    people: Sequence[str] = (),
    scope: str = "methods",
) -> Element | None:
    """Make a figure.

    Args:
      title: its title.
      views: its charts; the first one is shown at first.
      pickers: what is chosen, such as "score" and "model".
      told: what the charts show, in a sentence or two.
      people: names of those to whom points belong.
      scope: figures of one scope have the same lines, which their legends hide together.

    Returns:
      The figure; ``None`` if no chart has a point.
    """
    made = [(view, chart) for view in views if (chart := _chart(view)) is not None]
    if not made:
        return None
    blocks = [_block(view, chart, hidden=i > 0) for i, (view, chart) in enumerate(made)]
    keys = {line.key: line.name for view, _ in made for line in view.lines if np.isfinite(line.y).any()}
    return el(
        "figure",
        el("figcaption", el("h3", title), el("p", told) if told else None),
        _pickers(pickers, [view.choice for view, _ in made]),
        blocks,
        el("div", [_key(key, text) for key, text in keys.items()], class_="legend", role="group", aria_label="Lines"),
        data(list(people), class_="people") if people else None,
        data_scope=scope,
    )


def _chart(view: View) -> Element | None:
    return line_chart(view.lines, view.labels, whole=view.whole, zero=view.zero, span=view.span)


def _block(view: View, chart: Element, *, hidden: bool) -> Element:
    values = values_table(view) if view.table is None else view.table
    more = el("details", el("summary", "Values as a table"), values)
    note = el("p", view.note, class_="note") if view.note else None
    return el("div", chart, note, more, class_="view", data_choice="\n".join(view.choice), hidden=hidden)


def _pickers(words: Sequence[str], choices: Sequence[tuple[str, ...]]) -> list[Element]:
    """Make a row of buttons for each thing to choose; none where there is one choice only."""
    rows = []
    for place, word in enumerate(words):
        options = list(dict.fromkeys(choice[place] for choice in choices))
        if len(options) > 1:
            buttons = [
                el("button", option, type="button", data_option=option, aria_pressed="true" if i == 0 else "false")
                for i, option in enumerate(options)
            ]
            label = el("span", word, class_="word")
            rows.append(
                el("div", label, buttons, class_="picker", role="group", aria_label=word, data_place=str(place))
            )
    return rows


def _key(key: int, text: str) -> Element:
    stroke = el("line", x1=1, x2=27, y1=6, y2=6, class_=f"line {style_of(key)}")
    swatch = el("svg", stroke, viewBox="0 0 28 12", class_="swatch", aria_hidden="true")
    return el("button", swatch, name(text), type="button", class_="key", data_key=key, aria_pressed="true")


def values_table(view: View) -> Element:
    """List the lines' values by place, at most so many places, evenly, the last one among them."""
    places = np.unique(np.concatenate([line.x for line in view.lines]))
    kept = places[np.unique(np.linspace(0, len(places) - 1, min(_ROWS, len(places))).round().astype(int))]
    columns = [dict(zip(line.x.tolist(), line.y.tolist(), strict=True)) for line in view.lines]
    rows = [[f"{x:.6g}", *(_cell(column.get(x)) for column in columns)] for x in kept.tolist()]
    left_out = "" if len(kept) == len(places) else f", {len(kept)} of {len(places)} places"
    head = [view.labels.x, *(name(line.name) for line in view.lines)]
    return table(head, rows, f"{view.labels.title}{left_out}", class_="values")


def _cell(value: float | None) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.4g}"
