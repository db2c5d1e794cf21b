"""The picture of a sweep: a line with a band over seeds, a heat map, or parallel coordinates, by what is varied."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_layers.engine.evaluation.score_names import LOWER_IS_BETTER
from fedjax_layers.storage import storing
from fedjax_layers.sweeps.results import by_setting, headline_of

PICTURE = "sweep.png"
_SHARED = "num_shared_layers"
_MANY = 8  # largest number of values on an axis that are all written out
_WIDE = 20.0  # ratio of largest to smallest value from which a scale is logarithmic


def save_sweep_picture(
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    path: Path,
    metric: str | None = None,
    *,
    log: Mapping[str, bool] | None = None,
) -> None:
    """Draw the rows of a sweep into a file; needs matplotlib.

    Args:
      rows: the sweep's rows.
      names: names of what is varied; those with a single value are left out.
      path: path of the picture.
      metric: score of the personal models on test examples; ``None`` means the task's usual score.
      log: whether the scale of a name's values is logarithmic; for names that are missing, the ratio of values decides.
    """
    import matplotlib as mpl  # noqa: PLC0415  (an extra that most commands do without)

    with mpl.rc_context({"font.size": 9}):
        from matplotlib.figure import Figure  # noqa: PLC0415  (no window, whatever the backend)

        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        draw_sweep(figure, rows, names, metric or headline_of(rows), log)
        with storing(path):
            figure.savefig(path, dpi=120)


def draw_sweep(
    figure: Any,
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    metric: str,
    log: Mapping[str, bool] | None = None,
) -> None:
    """Draw the rows of a sweep into a matplotlib figure; see :func:`save_sweep_picture`."""
    scored, varied, values = _prepared(rows, names, metric)
    if len(varied) == 2 and _shares_differ(scored):
        ax, beside = figure.subplots(1, 2)
        _heat_map(figure, beside, scored, varied, values, _SHARED)
    else:
        ax = figure.add_subplot()
    draw_on_axes(ax, rows, names, metric, log)


def draw_on_axes(
    ax: Any,
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    metric: str,
    log: Mapping[str, bool] | None = None,
) -> None:
    """Draw the rows of a sweep on matplotlib axes: a line, a map, or parallel coordinates, by what is varied."""
    scored, varied, values = _prepared(rows, names, metric)
    if len(varied) == 1:
        is_log = (log or {}).get(varied[0])
        _line(ax, scored, varied[0], values[varied[0]], metric, is_log)
        if _shares_differ(scored):
            _shared(ax.twinx(), ax, scored, varied[0], values[varied[0]])
    elif len(varied) == 2:
        _heat_map(ax.figure, ax, scored, varied, values, metric)
    else:
        _coordinates(ax.figure, ax, scored, varied, values, metric)


def _prepared(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], metric: str
) -> tuple[list[Mapping[str, Any]], list[str], dict[str, list[Any]]]:
    """Return the rows with a score, the names with more than one value, and the values by name."""
    shown = [{**row, **{name: _shown(row.get(name)) for name in names}} for row in rows]
    values = {name: _values(shown, name) for name in names}
    varied = [name for name in names if len(values[name]) > 1] or list(names[:1])
    return [row for row in shown if _scores([row], metric)], varied, values


def _shares_differ(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the number of shared layers differs; otherwise there is nothing to see."""
    return len({row.get(_SHARED) for row in rows}) > 1


def _line(
    ax: Any, rows: Sequence[Mapping[str, Any]], name: str, values: list[Any], metric: str, log: bool | None
) -> None:
    by_value = {own[0][name]: _scores(own, metric) for own in by_setting(rows, [name])}
    places = dict(zip(values, _places(ax, values, log), strict=True))
    there = [value for value in values if value in by_value]
    at = np.array([places[value] for value in there])
    mean, low, high = (np.array([f(by_value[value]) for value in there]) for f in (np.mean, np.min, np.max))
    ax.fill_between(at, low, high, alpha=0.2, linewidth=0, label="all seeds")
    ax.plot(at, mean, marker="o" if len(at) < 40 else None, label="mean over seeds")
    ax.set(xlabel=name, ylabel=_label(metric))
    if (high > low).any():
        ax.legend(frameon=False)


def _shared(right: Any, ax: Any, rows: Sequence[Mapping[str, Any]], name: str, values: list[Any]) -> None:
    """Draw the number of shared layers on the right axis, since scores stay equal where it does not change."""
    by_value = {own[0][name]: _scores(own, _SHARED) for own in by_setting(rows, [name])}
    numeric = all(isinstance(x, int | float) and not isinstance(x, bool) for x in values)
    there = [i for i, value in enumerate(values) if by_value.get(value)]
    at = [float(values[i]) if numeric else float(i) for i in there]
    mean = [float(np.mean(by_value[values[i]])) for i in there]
    right.plot(at, mean, color="0.5", linestyle="--", marker=".", label=_SHARED)
    right.set_ylabel("layers that are shared (dashed)")
    right.yaxis.get_major_locator().set_params(integer=True)
    right.set_zorder(ax.get_zorder() - 1)
    ax.patch.set_visible(False)


def _heat_map(
    figure: Any,
    ax: Any,
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    values: Mapping[str, list[Any]],
    metric: str,
) -> None:
    down, across = (values[name] for name in names)
    image = np.full((len(down), len(across)), math.nan)
    for own in by_setting(rows, names):
        i, j = (values[name].index(own[0][name]) for name in names)
        image[i, j] = np.mean(_scores(own, metric) or [math.nan])
    shown = ax.imshow(image, origin="lower", aspect="auto", cmap=_colours(metric))
    figure.colorbar(shown, ax=ax, label=_label(metric))
    if image.size <= 100 and np.isfinite(image).any():
        middle = (np.nanmin(image) + np.nanmax(image)) / 2
        for i, j in zip(*np.nonzero(np.isfinite(image)), strict=True):
            dark = (image[i, j] < middle) != (metric in LOWER_IS_BETTER)
            ax.text(j, i, f"{image[i, j]:.3g}", ha="center", va="center", color="w" if dark else "k", fontsize=7)
    for axis, own_values in ((ax.yaxis, down), (ax.xaxis, across)):
        some = some_places(len(own_values))
        axis.set_ticks(some, [_text(own_values[i]) for i in some])
    ax.set(ylabel=names[0], xlabel=names[1])


def _coordinates(
    figure: Any,
    ax: Any,
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    values: Mapping[str, list[Any]],
    metric: str,
) -> None:
    import matplotlib as mpl  # noqa: PLC0415

    means = [(own[0], float(np.mean(_scores(own, metric)))) for own in by_setting(rows, names)]
    ends = [mean for _, mean in means] or [0.0, 1.0]
    colours = mpl.cm.ScalarMappable(mpl.colors.Normalize(min(ends), max(ends)), _colours(metric))
    for setting, mean in sorted(means, key=lambda pair: pair[1], reverse=metric in LOWER_IS_BETTER):  # the worst first
        at = [values[name].index(setting[name]) / max(1, len(values[name]) - 1) for name in names]
        ax.plot(range(len(names)), at, color=colours.to_rgba(np.array(mean)), linewidth=1.2, alpha=0.8)
    for place, name in enumerate(names):
        ax.axvline(place, color="0.7", linewidth=0.8, zorder=0)
        for i in some_places(len(values[name])):
            height = i / max(1, len(values[name]) - 1)
            ax.annotate(_text(values[name][i]), (place, height), xytext=(3, 0), textcoords="offset points", fontsize=7)
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    figure.colorbar(colours, ax=ax, label=_label(metric))


def _scores(rows: Sequence[Mapping[str, Any]], metric: str) -> list[float]:
    """Return the finite scores of the personal models on test examples, or the numbers of shared layers."""
    found = (row.get(metric if metric == _SHARED else f"personal/test/{metric}") for row in rows)
    return [x for x in found if x is not None and math.isfinite(x)]


def _label(metric: str) -> str:
    return "layers that are shared" if metric == _SHARED else f"{metric}, personal models, test"


def _colours(metric: str) -> str:
    return "viridis_r" if metric in LOWER_IS_BETTER else "viridis"


def _shown(value: Any) -> Any:
    """Return a value that can be compared and written on an axis; a list becomes a text."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


def _values(rows: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    """Return the values of a name, numbers sorted, other values in the order of rows."""
    found = list(dict.fromkeys(row.get(name) for row in rows))
    return sorted(found) if all(isinstance(x, int | float) for x in found) else found


def _places(ax: Any, values: list[Any], log: bool | None) -> list[float]:
    """Place values on the horizontal axis: numbers by size, anything else side by side.

    If ``log`` is ``None``, the scale is logarithmic where the largest value is many times the smallest.
    """
    if not all(isinstance(x, int | float) and not isinstance(x, bool) for x in values):
        ax.set_xticks(range(len(values)), [_text(x) for x in values])
        return [float(i) for i in range(len(values))]
    if min(values) > 0 and (max(values) >= _WIDE * min(values) if log is None else log):
        ax.set_xscale("log")
    return [float(x) for x in values]


def some_places(number: int, most: int = _MANY) -> list[int]:
    """Choose positions of a limited number of ticks, including both ends."""
    return sorted({round(i) for i in np.linspace(0, number - 1, min(number, most))})


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
