"""A sweep's ranking as a short table in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fedjax_layers.engine.history.display import html_table
from fedjax_layers.sweeps.results import Row, headline_of, rank

_MOST = 10  # settings that a notebook shows


def plain(value: Any) -> Any:
    """Convert a single number of NumPy or JAX to one of Python; leave everything else as it is."""
    return np.asarray(value).item() if hasattr(value, "dtype") and np.ndim(value) == 0 else value


def ranking_html(rows: Sequence[Row], names: Sequence[str], told: str) -> str:
    """Make the table of a sweep's best settings as HTML.

    Args:
      rows: the sweep's rows.
      names: names of what is varied.
      told: the line above the table.
    """
    metric, ranking = headline_of(rows), rank(rows, names)
    shown = []
    for line in ranking[:_MOST]:
        scores = [f"{line[part]:.3f}" for part in ("validation", "test", "test_std")]
        shown.append([*(_short(line[name]) for name in names), *scores, line["runs"], ", ".join(line["why"])])
    columns = [*names, f"{metric}, validation", "test", "± over seeds", "runs", "ended"]
    foot = f"The best {_MOST} of {len(ranking)} settings by validation." if len(ranking) > _MOST else ""
    return html_table(told, columns, shown, foot)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
