"""Fitting plain values, as JSON and the command line give them, to the annotations of those who take them."""

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
    """``value`` as ``hint`` has it: a list or a single number becomes a tuple, a whole number a float.

    Args:
      argument: what the value is for, named in the error.
      value: any value.
      hint: a type, ``Literal``, ``tuple[T, ...]``, ``Mapping`` or a union of them; kinds other than these stand for
        what cannot be written down (arrays, functions) and are passed over, unless nothing else is in the hint.

    Raises:
      ValueError: the value is of none of these kinds.
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
    """Of a type that is text or a list of texts (``7`` and ``true`` among them) which of the two; else nothing."""
    known = [kind for kind in _kinds(hint) if _is_known(kind) and kind is not type(None)]
    return tuple(known) if all(kind in (str, tuple[str, ...]) for kind in known) else ()


def value_of(text: str, kinds: tuple[Any, ...] = ()) -> Any:
    """A value as written, or several separated by commas; where it can be text alone, of ``kinds``, all are texts."""
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
        value = kind(value) if fits else value
    else:
        fits = isinstance(value, kind)
    if not fits:
        raise _MisfitError
    return value


def _spoken(kind: Any) -> str:
    if typing.get_origin(kind) is tuple:
        return f"a list, each {_spoken(typing.get_args(kind)[0])}"
    return "a mapping" if typing.get_origin(kind) is Mapping else _SPOKEN[kind]
