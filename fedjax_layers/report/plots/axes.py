"""The axes that a plot is drawn on, and the words on them; Matplotlib is imported when a plot is asked for."""

from __future__ import annotations

from typing import Any

from fedjax_layers.engine.evaluation.score_names import LOWER_IS_BETTER
from fedjax_layers.report.wording import HEADLINES

_BESIDE = 4  # largest number of axes beside one another
_ALONE, _SMALL = (6.4, 4.0), (3.2, 3.2)  # inches


def axes_for(ax: Any) -> Any:
    """Return the given Matplotlib axes, or those of a new figure.

    Raises:
      ImportError: Matplotlib is not installed.
    """
    return axes_grid(1)[0] if ax is None else ax


def axes_grid(number: int) -> Any:
    """Return this many Matplotlib axes of a new figure, at most four beside one another, in an array.

    Raises:
      ImportError: Matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt  # noqa: PLC0415  (an extra of the package)
    except ImportError as error:
        raise ImportError("plot: expected matplotlib, found none; pip install 'fedjax-layers[plot]'") from error
    columns = min(number, _BESIDE)
    rows = -(-number // columns)
    size = _ALONE if number == 1 else (_SMALL[0] * columns, _SMALL[1] * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for ax in axes.flat[number:]:
        figure.delaxes(ax)
    return axes.flat[:number]


def colour(number: int) -> str:
    """Return the colour of the method of this number, which is the same in every plot of the same methods."""
    return f"C{number % 10}"


def score_label(metric: str) -> str:
    """Write a score as a label, with the direction that is better."""
    return f"{HEADLINES.get(metric, metric)} ({'lower' if metric in LOWER_IS_BETTER else 'higher'} is better)"


def legend(ax: Any, labels: list[str], outside: int = 6) -> None:
    """Draw the legend where any line has a label; beside the axes where there are many."""
    if not any(labels):
        return
    place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1, 0.5)} if len(labels) > outside else {}
    ax.legend(frameon=False, **place)
