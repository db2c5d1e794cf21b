"""The ranges of the numbers in a config: its fields, and the options of what it names."""

from __future__ import annotations

import math
from typing import Any

from fedjax_layers.engine.plan import check_on_host

_AT_LEAST_ONE = ("rounds", "batch_size", "min_batch", "steps", "clients", "cohort", "eval_every", "patience")
_POSITIVE = ("epochs", "learning_rate", "server_learning_rate", "learning_rate_decay")
_NOT_NEGATIVE = ("weight_decay", "momentum", "focal_gamma", "attack_strength")
_POSITIVE_OPTIONS = ("finish_epochs", "head_epochs", "personal_epochs")
_SEEDS = ("seed", "partition_seed", "start_seed")
_LARGEST_SEED = 2**32 - 1  # JAX drops higher bits without x64: two seeds would be one run
_LEAST = {
    "mu": 0, "threshold": 0, "repeat_every": 0,
    "personal_layers": 0, "head_layers": 0, "fixed_cut": 0,
    "lam": 0, "inner_learning_rate": 0, "adaptation_rate": 0, "delta": 0, "step_size": 0, "beta": 0,
    "lambda_decay": 0, "gamma_decay": 0, "beta_decay": 0, "amplified_rounds": 0,
    "hyper_learning_rate": 0, "logits_learning_rate": 0, "fresh_rounds": 0,
    "hidden": 1, "channels": 1, "kernel_size": 1, "dropout": 0, "padding": 0,
}  # fmt: skip
_LARGEST_COUNT = 2**31 - 1  # counts are int32 on the devices


def check_fields(config: Any) -> None:
    """Refuse a config of which a number is out of its field's range, in one line."""
    if config.start_seed is not None and config.init_from is not None:
        raise ValueError(f"start_seed: expected none with init_from, got {config.start_seed}")
    _check_host(config)
    for name in _AT_LEAST_ONE:
        value = getattr(config, name)
        if value is not None and min(each(value)) < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")
    for name in _POSITIVE + _NOT_NEGATIVE:
        value, positive = getattr(config, name), name in _POSITIVE
        if value is not None and not all(math.isfinite(x) and (x > 0 if positive else x >= 0) for x in each(value)):
            expected = "a positive number" if positive else "a number of at least 0"
            raise ValueError(f"{name}: expected {expected}, got {value}")
    if not 0 <= config.bad_clients <= 1:
        raise ValueError(f"bad_clients: expected a share of 0 to 1, got {config.bad_clients}")
    for name in _SEEDS:
        value = getattr(config, name)
        if value is not None and not 0 <= value <= _LARGEST_SEED:
            raise ValueError(f"{name}: expected 0 to {_LARGEST_SEED}, got {value}")
    if config.client_width not in ("auto", "all"):
        check_width("client_width: expected auto, all", config.client_width)


def _check_host(config: Any) -> None:
    check_on_host(config.on_host)
    if "data" in config.on_host and config.team_formation == "by_updates":
        found = "by_updates, which trains all clients at once"
        raise ValueError(f"on_host: expected no data with team_formation {found}, got data")


def check_option(name: str, value: Any, given: Any) -> None:
    """Refuse an option whose number, or one of whose numbers, is out of range; ``given`` is the value as written."""
    numbers = [x for x in each(value) if isinstance(x, int | float)]
    if not all(math.isfinite(x) for x in numbers):
        raise ValueError(f"option {name}: expected a finite number, got {given}")
    check_counts(f"option {name}", value)
    bare = name.rpartition(".")[2]
    if bare in _POSITIVE_OPTIONS and min(numbers, default=math.inf) <= 0:
        raise ValueError(f"option {name}: expected a positive number, got {given}")
    least = _LEAST.get(bare, -math.inf)
    if min(numbers, default=math.inf) < least:
        raise ValueError(f"option {name}: expected at least {least}, got {given}")


def check_width(expected: str, text: str) -> None:
    """Refuse a text that is no number of things to vectorise; ``expected`` begins the message."""
    if not text.isdecimal() or not 1 <= int(text) <= _LARGEST_COUNT:
        raise ValueError(f"{expected} or a number of 1 to {_LARGEST_COUNT}, got {text!r}")


def each(value: Any) -> tuple[Any, ...]:
    """The entries of a tuple, or the one value."""
    return value if isinstance(value, tuple) else (value,)


def check_counts(name: str, value: Any) -> None:
    """Refuse whole numbers that the devices cannot count to; seeds have bounds of their own."""
    for number in each(value):
        if isinstance(number, int) and abs(number) > _LARGEST_COUNT and "seed" not in name:
            raise ValueError(f"{name}: expected at most {_LARGEST_COUNT}, got {number}")
