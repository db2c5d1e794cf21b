"""Conversion of plain values, as JSON and the command line give them, to the types of annotations."""

from __future__ import annotations

import numbers
import types
import typing
from collections.abc import Mapping
from typing import Any

from fedjax_layers.options.names import unknown_name

_SPOKEN = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "none"}


class _MisfitError(Exception):
    pass


def conform(argument: str, value: Any, hint: Any) -> Any:
    """Convert ``value`` to the type ``hint``: to a tuple from a list or a single value, to a float from a whole number.

    Args:
      argument: the argument's name, for the error.
      value: any value.
      hint: a type, ``Literal``, ``tuple[T, ...]``, ``Mapping`` or a union of them. Other types in a union (arrays,
        functions) are ignored; where there are only such types, the value is returned as it is.

    Raises:
      ValueError: the value has none of these types.
    """
    known = [kind for kind in _kinds(hint) if _is_known(kind)]
    if not known:
        return value
    for kind in known:
        try:
            return _fit(value, kind)
        except _MisfitError:
            continue
    if typing.get_origin(known[0]) is typing.Literal:
        raise unknown_name(argument, value, typing.get_args(known[0]))
    raise ValueError(f"{argument}: expected {' or '.join(_spoken(kind) for kind in known)}, got {value!r}")


def text_kinds(hint: Any) -> tuple[Any, ...]:
    """Return which of text and list of texts (``7`` and ``true`` may be texts) a type allows; empty for other types."""
    known = [kind for kind in _kinds(hint) if _is_known(kind) and kind is not type(None)]
    return tuple(known) if all(kind in (str, tuple[str, ...]) for kind in known) else ()


def value_of(text: str, kinds: tuple[Any, ...] = ()) -> Any:
    """Read a value, or several separated by commas; if ``kinds`` allow only text, all values stay texts."""
    if kinds:
        return tuple(text.split(",")) if "," in text and kinds != (str,) else text
    return tuple(_plain(part) for part in text.split(",")) if "," in text else _plain(text)


def _plain(text: str) -> Any:
    """True or false, a whole number, a number, or text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _kinds(hint: Any) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _is_known(kind: Any) -> bool:
    return kind in _SPOKEN or typing.get_origin(kind) in (tuple, typing.Literal, Mapping)


def _fit(value: Any, kind: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin is tuple:
        several = value if isinstance(value, list | tuple) else (value,)
        return tuple(_fit(item, typing.get_args(kind)[0]) for item in several)
    if origin is typing.Literal:
        fits = isinstance(value, str) and value in typing.get_args(kind)
    elif origin is Mapping:
        fits = isinstance(value, Mapping)
    elif kind in (int, float):
        fits = isinstance(value, numbers.Integral if kind is int else numbers.Real) and not isinstance(value, bool)
        try:
            value = kind(value) if fits else value
        except OverflowError:  # a whole number beyond the floats
            raise _MisfitError from None
    else:
        fits = isinstance(value, kind)
    if not fits:
        raise _MisfitError
    return value


def _spoken(kind: Any) -> str:
    if typing.get_origin(kind) is tuple:
        return f"a list, each {_spoken(typing.get_args(kind)[0])}"
    return "a mapping" if typing.get_origin(kind) is Mapping else _SPOKEN[kind]
