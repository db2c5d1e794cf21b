"""A tracker by its name, or from a module of the user's; and one for rounds that ``simulate`` runs."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fedjax_layers.engine.history.history import History
from fedjax_layers.experiment.records.run_directory import to_json
from fedjax_layers.experiment.records.summary import round_record
from fedjax_layers.experiment.tracking.services import Mlflow, TensorBoard, Wandb
from fedjax_layers.experiment.tracking.tracker import Tracker, Tracking, warn_of_tracker
from fedjax_layers.options import unknown_name

SERVICES: dict[str, tuple[Callable[[Path], Tracker], str, str]] = {
    "tensorboard": (TensorBoard, "tensorboardX", 'pip install "fedjax-layers[tensorboard]"'),
    "mlflow": (Mlflow, "mlflow", "pip install mlflow"),
    "wandb": (Wandb, "wandb", "pip install wandb"),
}
"""Each known tracker with its package, and how that is installed."""
MakeTracker = Callable[[Path], Tracker | None]


def tracker_maker(name: str) -> MakeTracker:
    """Return the function that makes a tracker from the run directory.

    Args:
      name: ``tensorboard``, ``mlflow``, ``wandb``, or ``MODULE:FACTORY``, a function of the run directory in an
        importable module or one of the present folder.

    Returns:
      The function; it gives ``None``, with a warning, where making the tracker fails.

    Raises:
      ValueError: the name is unknown, a package is missing, or there is no such module or function.
    """
    if ":" not in name:
        if name not in SERVICES:
            raise unknown_name("track", name, [*SERVICES, "MODULE:FACTORY"])
        make, package, install = SERVICES[name]
        if package not in sys.modules and importlib.util.find_spec(package) is None:
            raise ValueError(f"track: expected the package {package} for {name}, found none; {install}")
        return functools.partial(_make, name, make)
    module, _, function = name.partition(":")
    with _present_folder():
        try:
            found = getattr(importlib.import_module(module), function)
        except Exception as error:  # whatever the user's module raises
            told = " ".join(f"{type(error).__name__}: {error}".split())
            raise ValueError(f"track: expected MODULE:FACTORY that can be imported, got {name!r} ({told})") from error
    if not callable(found):
        raise ValueError(f"track: expected a function, got {name!r}, which is of type {type(found).__name__}")
    return functools.partial(_make, name, found)


@contextlib.contextmanager
def tracked(tracker: Tracker, config: Mapping[str, Any] | None = None) -> Iterator[Callable[[int, Any, History], None]]:
    """Follow a call of :func:`fedjax_layers.simulate`: give what this yields as its ``on_evaluation``.

    Args:
      tracker: the tracker; its errors are warnings.
      config: what the tracker shall show of the run; anything that :func:`to_json` takes.
    """
    with Tracking(tracker) as tracking:
        tracking.start(lambda: to_json(config or {}))
        last: dict[str, Any] = {}

        def listen(done: int, state: Any, history: History) -> None:
            del done, state
            last.clear()
            last.update(round_record(history))
            tracking.log(last)

        yield listen
        tracking.finish(last)


def _make(name: str, make: Callable[[Path], Tracker], folder: Path) -> Tracker | None:
    try:
        return make(folder)
    except Exception as error:  # whatever a service raises
        warn_of_tracker(name, error)
        return None


@contextlib.contextmanager
def _present_folder() -> Iterator[None]:
    """Let modules of the present folder be imported inside the block, as ``python -m`` does."""
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
