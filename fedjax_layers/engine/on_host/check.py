"""Checks of what is asked to stay on the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedjax_layers.engine.device_data import DeviceData
from fedjax_layers.engine.plan import Plan
from fedjax_layers.types import Algorithm


def check_host(plan: Plan, source: DeviceData, algorithm: Algorithm, store: Any = None) -> None:
    """Raise ``ValueError`` for data or a state that cannot stay on the host.

    Args:
      plan: the run's plan.
      source: the run's data.
      algorithm: the run's algorithm.
      store: the folder for the clients' rows; ``None`` without one.
    """
    if "data" in plan.on_host and not source.on_host:
        raise ValueError("on_host: expected data that are not on the device yet, got DeviceData that are")
    if store is not None and "state" not in plan.on_host:
        raise ValueError(f"store: expected none without a state on the host, got {store}")
    check_rows(plan.on_host, algorithm)


def check_rows(on_host: Sequence[str], algorithm: Algorithm, name: str = "this algorithm") -> None:
    """Raise ``ValueError`` for a state on the host if the algorithm's rounds need rows from outside the cohort."""
    if "state" in on_host and algorithm.beyond_cohort is not None:
        raise ValueError(f"on_host: expected no state for {name}, where {algorithm.beyond_cohort}, got state")
