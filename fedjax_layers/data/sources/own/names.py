"""From labels and client names, as users write them, to numbers with a name each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

_FAMILIES = ("a flag", "a number", "a text")

Where = Callable[[int], str]  # from a row to where it is, for a message


def option_names(value: object) -> tuple[str, ...]:
    """Names given as an option: a command line hands over one name as such, and a number for ``7``."""
    if isinstance(value, (list, tuple)):
        return tuple(str(name) for name in value)
    return () if value in ("", None) else (str(value),)


def plain(values: object, field: str, where: Where) -> np.ndarray:
    """Labels or clients as an array of integers, floats, flags or texts.

    Args:
      values: ``[N]``, an array or a sequence.
      field: argument that they are, for the message.
      where: place of a row, for the message.

    Raises:
      ValueError: not one value for each example, or texts mixed with numbers.
    """
    # A list goes through objects: NumPy would make texts of [1, "a"] without a word.
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
    """Each value's number among the distinct ones, in sorted order (texts that are all whole numbers by size).

    Returns:
      ``[N]`` int32 numbers, and the names.

    Raises:
      ValueError: floats, which would make a class or client of every measurement.
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
    """Classes by number.

    Args:
      labels: ``[N]`` integers, texts or flags; where ``classes`` are given, integers count along them.
      classes: the classes' names in order; empty takes the sorted distinct labels.
      field: argument that the labels are, for the message.
      where: place of a row, for the message.

    Returns:
      ``[N]`` int32 classes, and their K names.

    Raises:
      ValueError: a label that is no class (named with its row), or fewer than two classes.
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
    """What a value is, for people: integers and floats are both numbers, flags are not."""
    if isinstance(value, (bool, np.bool_)):
        return "a flag"
    if isinstance(value, (int, float, np.number)):
        return "a number"
    return "a text" if isinstance(value, str) else f"a {type(value).__name__}"


def _all_whole(names: Sequence[str]) -> bool:
    return all(name.lstrip("-").isdecimal() and name.isascii() for name in names)
