"""What cannot stay on the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedjax_layers.engine.device_data import DeviceData
from fedjax_layers.engine.plan import Plan
from fedjax_layers.types import Algorithm


def check_host(plan: Plan, source: DeviceData, algorithm: Algorithm, store: Any = None) -> None:
    """Refuse what cannot stay on the host.

    Args:
      plan: of the run.
      source: its data.
      algorithm: its algorithm.
      store: the folder for the clients' rows, if one is named.
    """
    if "data" in plan.on_host and not source.on_host:
        raise ValueError("on_host: expected data that are not on the device yet, got DeviceData that are")
    if store is not None and "state" not in plan.on_host:
        raise ValueError(f"store: expected none without a state on the host, got {store}")
    check_rows(plan.on_host, algorithm)


def check_rows(on_host: Sequence[str], algorithm: Algorithm, name: str = "this algorithm") -> None:
    """Refuse a state on the host for an algorithm whose rounds need more rows of it than their cohort's."""
    if "state" in on_host and algorithm.beyond_cohort is not None:
        raise ValueError(f"on_host: expected no state for {name}, where {algorithm.beyond_cohort}, got state")
