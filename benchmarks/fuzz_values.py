"""Seeded values of wrong types, and changes of what a JSON file holds."""

from __future__ import annotations

import random
from typing import Any

ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    3,
    0.5,
    -0.5,
    1e308,
    float("nan"),
    float("inf"),
    2**31,
    2**63,
    -(2**63),
    10**400,
    "",
    "a",
    "nan",
    "3",
    "..",
    "../x",
    "/etc/passwd",
    "\x00",
    "é🦊",
    "x" * 5000,
    [],
    [1],
    ["a"],
    [[1]],
    [None],
    {},
    {"a": 1},
    {"": None},
    [0] * 2000,
)


def changed(rng: random.Random, value: Any) -> Any:
    """Replace, remove, add or nest one place, drawn at random, of a value that JSON holds."""
    places = list(_places(value))
    holder, key = rng.choice(places) if places else (None, None)
    how = rng.choice(["replace", "replace", "replace", "remove", "add", "nest", "rename"])
    if holder is None:
        return rng.choice(ODD)
    if how == "remove":
        del holder[key]
    elif how == "nest":
        holder[key] = nested(holder[key], rng.choice([1, 2, 50, 900, 100_000]))
    elif how == "add":
        if isinstance(holder, list):
            holder.insert(key, rng.choice(ODD))
        else:
            holder[rng.choice(["", "x", "__class__", f"{key}_", str(key).upper(), "é"])] = rng.choice(ODD)
    elif how == "rename" and isinstance(holder, dict):
        holder[f"{key}x"] = holder.pop(key)
    else:
        holder[key] = rng.choice(ODD)
    return value


def nested(value: Any, depth: int) -> Any:
    """Put a value into lists in lists."""
    for _ in range(depth):
        value = [value]
    return value


def written(value: Any) -> str:
    """Write JSON, also of what is nested more deeply than Python's writer goes."""
    out: list[str] = []
    todo: list[Any] = [value]
    while todo:  # a string is text to be written, all else is a value
        item = todo.pop()
        if isinstance(item, _Text):
            out.append(item)
        elif isinstance(item, list):
            out.append("[")
            todo.append(_Text("]"))
            for i, one in reversed(list(enumerate(item))):
                todo += [one, _Text(",")] if i else [one]
        elif isinstance(item, dict):
            out.append("{")
            todo.append(_Text("}"))
            for i, (key, one) in reversed(list(enumerate(item.items()))):
                todo += [one, _Text(f"{quoted(str(key))}:")] + ([_Text(",")] if i else [])
        else:
            out.append(_scalar(item))
    return "".join(out)


class _Text(str):
    __slots__ = ()


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return quoted(value)
    spoken = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return spoken[value]
    text = repr(value)
    return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(text, text)


def quoted(text: str) -> str:
    """Write a JSON string."""
    import json  # noqa: PLC0415

    return json.dumps(text)


def _places(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            found += [(one, key) for key in one]
            todo += list(one.values())
        elif isinstance(one, list):
            found += [(one, i) for i in range(min(len(one), 50))]
            todo += one[:50]
    return found
