"""What a tracker is, and the guard through which a run speaks to one."""

from __future__ import annotations

import json
import math
import numbers
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from fedjax_layers.storage import replacing

_IDS = "tracker.json"  # in the run directory: each tracker's id of the run, by the tracker's name


class Tracker(Protocol):
    """A service or file that follows a run. Any of its methods may fail: the run goes on without it."""

    def start(self, config: Mapping[str, Any]) -> object:
        """Begin to follow a run, or go on with one that was followed before.

        Args:
          config: the run's complete config, of JSON types.
        """

    def log(self, round: int, metrics: Mapping[str, float]) -> object:  # noqa: A002  (the field's word)
        """Note the metrics of an evaluated round.

        Args:
          round: the number of rounds done. A resumed run repeats the rounds after its last checkpoint, with the same
            numbers.
          metrics: the finite numbers of the round's line in ``rounds.jsonl``, by their names there.
        """

    def finish(self, summary: Mapping[str, Any]) -> object:
        """End.

        Args:
          summary: the content of ``summary.json``; empty for a run that was stopped or has failed.
        """


class Tracking:
    """A tracker that cannot harm its run: at its first error it is dropped, with a warning of one line.

    As a context it finishes the tracker, with an empty summary if the block ends without :meth:`finish`.

    Args:
      tracker: the tracker; ``None`` tracks nothing.
    """

    def __init__(self, tracker: Tracker | None) -> None:
        self._tracker, self._finished = tracker, False

    def __enter__(self) -> Tracking:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._finished:
            self.finish({})

    @property
    def on(self) -> bool:
        """Whether there is a tracker, which has not failed."""
        return self._tracker is not None

    def start(self, config: Callable[[], Mapping[str, Any]]) -> None:
        """Begin, see :meth:`Tracker.start`; ``config`` makes the run's config."""
        self._safely(lambda tracker: tracker.start(config()))

    def log(self, record: Mapping[str, Any]) -> None:
        """Note a line of ``rounds.jsonl``; see :meth:`Tracker.log`."""
        metrics = {name: float(value) for name, value in record.items() if name != "round" and _is_finite(value)}
        self._safely(lambda tracker: tracker.log(int(record["round"]), metrics))

    def finish(self, summary: Mapping[str, Any]) -> None:
        """End, see :meth:`Tracker.finish`."""
        self._finished = True
        self._safely(lambda tracker: tracker.finish(summary))

    def _safely(self, call: Callable[[Tracker], object]) -> None:
        if self._tracker is None:
            return
        try:
            call(self._tracker)
        except Exception as error:  # whatever a service raises
            name, self._tracker = type(self._tracker).__name__, None
            warn_of_tracker(name, error)


def warn_of_tracker(name: str, error: Exception) -> None:
    """Warn in one line of a tracker's error, without which the run goes on."""
    told = " ".join(f"{type(error).__name__}: {error}".split())
    warnings.warn(f"tracker {name}: {told}; the run goes on without it", stacklevel=4)


def summary_numbers(summary: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the finite numbers of a nested summary, by names such as ``personal/macro_f1/mean``."""
    return dict(_numbers(summary, prefix))


def _numbers(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}/")
        elif _is_finite(value):
            yield f"{prefix}{name}", float(value)


def _is_finite(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, numbers.Real) and math.isfinite(value)


def known_id(folder: Path, name: str) -> str | None:
    """Return the id under which a tracker has followed the run in this folder; ``None`` for a new run."""
    return _ids(folder).get(name)


def keep_id(folder: Path, name: str, ident: str) -> None:
    """Write that id to the run directory, so that a resumed run goes on in the same place."""
    text = json.dumps({**_ids(folder), name: ident}, indent=2)
    with replacing(folder / _IDS) as file:
        file.write(f"{text}\n".encode())


def _ids(folder: Path) -> dict[str, str]:
    try:
        found = json.loads((folder / _IDS).read_bytes())
    except (OSError, ValueError):  # none yet, or damaged: the tracker begins anew
        return {}
    return found if isinstance(found, dict) else {}
