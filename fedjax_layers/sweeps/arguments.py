"""Checks of the arguments of :func:`fedjax_layers.sweep`, before anything is compiled."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fedjax_layers.algorithms.factory import Method
from fedjax_layers.data import ClientData
from fedjax_layers.engine.device_data import DeviceData
from fedjax_layers.engine.sampling import Sampling
from fedjax_layers.experiment.config.run_config import LARGEST_SEED
from fedjax_layers.ops import ClientAxis
from fedjax_layers.sweeps.request import Stopping
from fedjax_layers.types import Task


def check_arguments(**given: Any) -> None:
    """Raise ``ValueError`` for an argument of another kind than the function takes; it names the first such one."""
    for name, value in given.items():
        expected, fits = _EXPECTED[name]
        if not fits(value):
            raise ValueError(f"{name}: expected {expected}, got {_shown(value)}")
    _check_grid(given["grid"])


def _check_grid(grid: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> None:
    """Raise ``ValueError`` for a name that is no text, or a value that is no number."""
    if isinstance(grid, Mapping):
        settings = [{name: value} for name, values in grid.items() for value in np.atleast_1d(_listed(values))]
    else:
        settings = [dict(setting) for setting in grid]
    for setting in settings:
        for name, value in setting.items():
            if not isinstance(name, str):
                raise ValueError(f"grid: expected names that are text, got {name!r}")
            if not _is_number(value):
                raise ValueError(f"grid: expected numbers for {name!r}, got {_shown(value)}")
    if isinstance(grid, Mapping) and not grid:
        raise ValueError("grid: expected at least one name with its values, got none")


def _listed(values: Any) -> Any:
    """Return values as an array of one axis whose items are what was given, and not converted to text."""
    if not isinstance(values, list | tuple):
        return values
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else type(value).__name__


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real | np.bool_) or (np.ndim(value) == 0 and hasattr(value, "dtype"))


def _is_count(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_list(value: Any, fits: Callable[[Any], bool]) -> bool:
    several = isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)
    return several and all(fits(one) for one in value)


def _is_seed(value: Any) -> bool:
    return _is_count(value) and 0 <= value <= LARGEST_SEED


def _are_weights(value: Any) -> bool:
    try:
        return value is None or np.asarray(value, float).ndim == 1
    except (TypeError, ValueError):
        return False


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_pair(value: Any, *fits: Callable[[Any], bool]) -> bool:
    return value is None or (
        isinstance(value, tuple) and len(value) == 2 and all(f(x) for f, x in zip(fits, value, strict=True))
    )


_EXPECTED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "build": ("a method, or a function that makes one", lambda x: isinstance(x, Method) or callable(x)),
    "grid": (
        "a mapping of names to values, or a list of mappings",
        lambda x: isinstance(x, Mapping) or _is_list(x, lambda one: isinstance(one, Mapping)),
    ),
    "task": ("a Task", lambda x: isinstance(x, Task)),
    "data": (
        "ClientData, DeviceData, or a function of the seed that makes them",
        lambda x: isinstance(x, ClientData | DeviceData) or callable(x),
    ),
    "rounds": ("a whole number", _is_count),
    "seeds": (f"a list of whole numbers from 0 to {LARGEST_SEED}", lambda x: _is_list(x, _is_seed)),
    "seeds_vary": ("a list of names", lambda x: _is_list(x, _is_text)),
    "sampling": ("a Sampling or None", lambda x: x is None or isinstance(x, Sampling)),
    "weights": ("a number for each client, or None", _are_weights),
    "eval_every": ("a whole number", _is_count),
    "axis": ("a ClientAxis", lambda x: isinstance(x, ClientAxis)),
    "evaluated_models": ("a list of at least one name", lambda x: _is_list(x, _is_text) and len(x) > 0),
    "width": ("a whole number or None", lambda x: x is None or _is_count(x)),
    "runs": ("a ClientAxis", lambda x: isinstance(x, ClientAxis)),
    "decide": ("a pair of a name of the grid and a function, or None", lambda x: _is_pair(x, _is_text, callable)),
    "stopping": ("a Stopping", lambda x: isinstance(x, Stopping)),
    "compare": (
        'a pair of a scored model and "best" or "last", or None',
        lambda x: _is_pair(x, _is_text, lambda one: one in ("best", "last")),
    ),
    "on_end": ("a function or None", lambda x: x is None or callable(x)),
}
"""What each argument must be, in words and as a test."""
