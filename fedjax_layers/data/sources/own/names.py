"""Conversion of users' labels and client names to numbers, each with a name."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

_FAMILIES = ("a flag", "a number", "a text")
_WHOLE = re.compile(r"-?[0-9]{1,1000}")  # Python reads up to 4,300 digits

Where = Callable[[int], str]  # gives the place of a row, for a message


def option_names(value: object) -> tuple[str, ...]:
    """Read names given as an option; the command line passes one name as such, and a number for ``7``."""
    if isinstance(value, (list, tuple)):
        return tuple(str(name) for name in value)
    return () if value in ("", None) else (str(value),)


def plain(values: object, field: str, where: Where) -> np.ndarray:
    """Convert labels or clients to an array of integers, floats, flags or texts.

    Args:
      values: ``[N]``, an array or a sequence.
      field: name of the argument, for the message.
      where: function that gives the place of a row, for the message.

    Raises:
      ValueError: there is not one value per example, or texts and numbers are mixed.
    """
    # A list is converted as objects, since NumPy would silently make texts of [1, "a"].
    array = values if isinstance(values, np.ndarray) else np.asarray(values, dtype=object)
    if array.ndim != 1:
        raise ValueError(f"{field}: expected shape [N], got {array.shape}")
    if array.dtype != object:
        if array.dtype.kind not in "biufUT":
            raise ValueError(f"{field}: expected integers or texts, got {array.dtype}")
        return array
    families = [_family(value) for value in array]
    for row, family in enumerate(families):
        if family != families[0]:
            raise ValueError(f"{where(row)}: expected {families[0]} as before it, got {family}")
    if families and families[0] not in _FAMILIES:
        raise ValueError(f"{field}: expected integers or texts, got {families[0]}")
    return np.array(array.tolist())


def numbered(values: np.ndarray, field: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Number values by their sorted distinct ones (texts that are all whole numbers by size).

    Returns:
      ``[N]`` int32 numbers, and the names.

    Raises:
      ValueError: the values are floats, of which each would be a class or client.
    """
    if values.dtype.kind == "f":
        raise ValueError(f"{field}: expected integers or texts, got {values.dtype}")
    distinct, numbers = np.unique(values, return_inverse=True)
    names = [str(name) for name in distinct.tolist()]
    order = sorted(range(len(names)), key=lambda i: int(names[i])) if _all_whole(names) else range(len(names))
    rank = np.empty(len(names), np.int32)
    rank[list(order)] = np.arange(len(names), dtype=np.int32)
    return rank[numbers], tuple(names[i] for i in order)


def class_numbers(
    labels: np.ndarray, classes: Sequence[str], field: str, where: Where
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Convert labels to class numbers.

    Args:
      labels: ``[N]`` integers, texts or flags; if ``classes`` are given, integers index them.
      classes: the classes' names in order; empty takes the sorted distinct labels.
      field: name of the labels' argument, for the message.
      where: function that gives the place of a row, for the message.

    Returns:
      ``[N]`` int32 classes, and their K names.

    Raises:
      ValueError: a label is no class (it is named with its row), or there are fewer than two classes.
    """
    if classes and len(set(classes)) != len(classes):
        raise ValueError(f"classes: expected distinct names, got {', '.join(classes)}")
    if classes and labels.dtype.kind in "iu":
        found, numbers, names = labels, np.asarray(labels, np.int64), tuple(classes)
        wrong = np.flatnonzero((numbers < 0) | (numbers >= len(names)))
        expected = f"a class 0..{len(names) - 1}"
    else:
        numbers, found_names = numbered(labels, field)
        names = tuple(classes) or found_names
        place = {name: i for i, name in enumerate(names)}
        found, numbers = np.array(found_names)[numbers], np.array([place.get(n, -1) for n in found_names])[numbers]
        wrong = np.flatnonzero(numbers < 0)
        expected = f"one of the classes {', '.join(names)}"
    if len(wrong):
        raise ValueError(f"{where(int(wrong[0]))}: expected {expected}, got {str(found[wrong[0]])!r}")
    if len(names) < 2:
        raise ValueError(f"{field}: expected at least two classes, got only {', '.join(names) or 'none'}")
    return numbers.astype(np.int32), names


def _family(value: object) -> str:
    """Name the kind of a value for messages; integers and floats are both numbers, flags are not."""
    if isinstance(value, (bool, np.bool_)):
        return "a flag"
    if isinstance(value, (int, float, np.number)):
        return "a number"
    return "a text" if isinstance(value, str) else f"a {type(value).__name__}"


def _all_whole(names: Sequence[str]) -> bool:
    return all(_WHOLE.fullmatch(name) for name in names)
