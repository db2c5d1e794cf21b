"""Checks of config fields against each other."""

from __future__ import annotations

from typing import Any

from fedjax_layers.engine.plan import check_on_host

_MOST_CLIENTS = 2**31 - 1


def check_together(config: Any) -> None:
    """Raise ``ValueError`` for fields that contradict each other."""
    if config.evaluated_models not in ("both", config.scored_model):
        raise ValueError(
            f"evaluated_models: expected both or the scored {config.scored_model!r}, got {config.evaluated_models!r}"
        )
    if config.start_seed is not None and config.init_from is not None:
        raise ValueError(f"start_seed: expected none with init_from, got {config.start_seed}")
    check_on_host(config.on_host)
    if "data" in config.on_host and config.team_formation == "by_updates":
        found = "by_updates, which trains all clients at once"
        raise ValueError(f"on_host: expected no data with team_formation {found}, got data")
    if config.client_width not in ("auto", "all"):
        check_width("client_width: expected auto, all", config.client_width)


def check_width(expected: str, text: str) -> None:
    """Raise ``ValueError`` for a text that is no valid width; ``expected`` begins the message."""
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_CLIENTS:
        raise ValueError(f"{expected} or a number of 1 to {_MOST_CLIENTS}, got {text!r}")
