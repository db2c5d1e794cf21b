"""Options, each declared once as a keyword-only parameter of the function that takes it (the *taker*).

The annotation gives the type, the bounds of numbers and further marks; the parameter's default is the option's default;
the docstring says what the option is for, and where its default comes from::

    mu: Annotated[Traced[float], Ge(0)] = 0.1

Bounds are those of ``annotated_types``; the rest are :class:`Mark`. Flags, checks, help, sweeps and the documentation
follow from this, for algorithms, data sets, partitions, models and the fields of a run's config alike.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import math
import sys
import types
import typing
from collections.abc import Callable, Collection
from typing import Annotated, Any

import annotated_types as at
import numpy as np

from fedjax_layers.options.docstrings import described, sentences
from fedjax_layers.options.values import conform, text_kinds, value_of

_LARGEST_COUNT = 2**31 - 1  # counts are int32 on the devices


class Mark(enum.Enum):
    """Marks in an annotation, beside the type and the bounds.

    Attributes:
      TRACED: the number may be an array inside a compiled function, so that another value needs no new compilation.
      FIELD: a run's config holds the value in a field of this name, not among the options.
      FROM_DATA: the data decide the value where none is given.
      LAYERS: the option counts layers of the model, and may not exceed their number.
      PER_CLIENT: the option takes one number for all, or one for each client or each team.
    """

    TRACED = enum.auto()
    FIELD = enum.auto()
    FROM_DATA = enum.auto()
    LAYERS = enum.auto()
    PER_CLIENT = enum.auto()


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of one function.

    Attributes:
      name: the parameter's name.
      hint: the parameter's type, without bounds and marks.
      default: the parameter's default; ``inspect.Parameter.empty`` where a value must be given.
      about: the bounds and marks.
      help: the first sentence of the parameter's entry in the docstring, without its full stop.
      remarks: the sentences after it, which say where the default comes from; empty where there are none.
    """

    name: str
    hint: Any
    default: Any
    about: tuple[Any, ...] = ()
    help: str = ""
    remarks: str = ""

    @property
    def required(self) -> bool:
        """Whether a value must be given."""
        return self.default is inspect.Parameter.empty

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The types that a value may have."""
        union = typing.get_origin(self.hint) in (typing.Union, types.UnionType)
        return typing.get_args(self.hint) if union else (self.hint,)

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed values, where the type lists them."""
        return tuple(
            x for kind in self.kinds if typing.get_origin(kind) is typing.Literal for x in typing.get_args(kind)
        )

    @property
    def bounds(self) -> str:
        """The bounds in words; empty without bounds."""
        return _bounds_in_words(self.about)

    @property
    def text_kinds(self) -> tuple[Any, ...]:
        """Which of text and list of texts the option takes; empty where it takes anything else."""
        return text_kinds(self.hint)

    @property
    def is_number(self) -> bool:
        """Whether the option takes one number (or ``None``), never several."""
        several = any(typing.get_origin(kind) is tuple for kind in self.kinds)
        return not several and any(kind in (bool, int, float) for kind in self.kinds)

    def has(self, mark: Mark) -> bool:
        """Return whether the option is declared with this mark."""
        return mark in self.about

    def traces(self, value: Any, *, counts: bool = False) -> bool:
        """Return whether this value is traced in a run; a whole number is traced only if ``counts`` is True."""
        if not self.has(Mark.TRACED) or isinstance(value, bool):
            return False
        return isinstance(value, float) or (counts and isinstance(value, int))

    def parsed(self, value: Any) -> Any:
        """Read a text as a value of the type (see ``options.values.value_of``); return others unchanged."""
        return value_of(value, self.text_kinds) if isinstance(value, str) else value

    def fit(self, value: Any, argument: str = "") -> Any:
        """Convert a value to the option's type (see :func:`fedjax_layers.options.conform`), and check its bounds.

        ``argument`` names the option in messages; the empty string means the option's own name.

        Raises:
          ValueError: the value has another type, or a number is out of bounds.
        """
        found = conform(argument or self.name, value, self.hint)
        self.check(found, argument, value)
        return found

    def check(self, value: Any, argument: str = "", given: Any = None) -> None:
        """Raise ``ValueError`` if a number, or one of several, is out of bounds; a traced number is not checked."""
        for number in _numbers(value):
            complaint = _complaint(number, self.about)
            if complaint:
                told = value if given is None else given
                raise ValueError(f"{argument or self.name}: expected {complaint}, got {told}")

    def check_layers(self, value: Any, num_layers: int, argument: str = "") -> None:
        """Check that an option which counts layers does not exceed the model's; a traced number is not checked.

        Raises:
          ValueError: the model has fewer layers.
        """
        if self.has(Mark.LAYERS) and isinstance(value, int) and value > num_layers:
            expected = f"at most the model's {num_layers} layers"
            raise ValueError(f"{argument or self.name}: expected {expected}, got {value}")


def options_of(taker: Callable[..., Any]) -> dict[str, Option]:
    """Return the options of a function by name, in order: its keyword-only parameters.

    A function with an attribute ``option_parts``, a tuple of functions, has their options; a later one's come first.
    """
    return dict(_options_of(taker))


@functools.cache
def _options_of(taker: Callable[..., Any]) -> dict[str, Option]:
    if hasattr(taker, "option_parts"):
        return {name: option for part in taker.option_parts for name, option in options_of(part).items()}
    parameters = inspect.signature(taker).parameters.values()
    return declared(taker, {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY})


def declared(taker: Callable[..., Any], defaults: dict[str, Any]) -> dict[str, Option]:
    """Return options of these names and defaults, described by the annotations and the docstring of ``taker``."""
    plain = taker.func if isinstance(taker, functools.partial) else taker
    hints, told = typing.get_type_hints(plain), described(plain)
    marked = typing.get_type_hints(plain, include_extras=True)
    return {
        name: Option(name, hints.get(name, Any), default, _about(marked.get(name)), *sentences(told.get(name, "")))
        for name, default in defaults.items()
    }


def defaults_of(taker: Callable[..., Any]) -> dict[str, Any]:
    """Return the defaults of those options of ``taker`` that have one, by name."""
    return {name: option.default for name, option in options_of(taker).items() if not option.required}


def taken_from_config(taker: Callable[..., Any], field: str) -> bool:
    """Return whether ``taker`` has an option whose value is the config's field of this name."""
    option = options_of(taker).get(field)
    return option is not None and option.has(Mark.FIELD)


def _about(hint: Any) -> tuple[Any, ...]:
    """Collect the bounds and marks anywhere in an annotation."""
    own = hint.__metadata__ if typing.get_origin(hint) is Annotated else ()
    return (*own, *(x for part in typing.get_args(hint) for x in _about(part) if x not in own))


def _numbers(value: Any) -> list[int | float]:
    """List the numbers in a value, also those of an array; traced arrays give none."""
    found: list[int | float] = []
    jax = sys.modules.get("jax")  # if JAX is not imported, no value is a JAX array; the data modules do without JAX
    for one in value if isinstance(value, tuple) else (value,):
        known = jax is not None and isinstance(one, jax.Array) and not isinstance(one, jax.core.Tracer)
        found += np.ravel(one).tolist() if known or isinstance(one, np.ndarray | np.generic) else [one]
    return [x for x in found if isinstance(x, int | float) and not isinstance(x, bool)]


def _complaint(number: int | float, about: tuple[Any, ...]) -> str:
    """Say what is expected of a number that is out of bounds; empty for one within."""
    if isinstance(number, float) and not math.isfinite(number):  # a whole number may be beyond the floats
        return "a finite number"
    least, more, most, less = _bounds(about)
    if most is None and isinstance(number, int) and abs(number) > _LARGEST_COUNT:
        return f"at most {_LARGEST_COUNT}"
    low = (least is None or number >= least) and (more is None or number > more)
    if low and (most is None or number <= most) and (less is None or number < less):
        return ""
    return _bounds_in_words(about)


def _bounds_in_words(about: tuple[Any, ...]) -> str:
    least, more, most, less = _bounds(about)
    if least is not None and most is not None:
        return f"{least} to {most}"
    if more == 0 and most is less is None:
        return "a positive number"
    said = [(least, "at least"), (more, "more than"), (most, "at most"), (less, "less than")]
    return " and ".join(f"{words} {bound}" for bound, words in said if bound is not None)


@functools.cache
def _bounds(about: tuple[Any, ...]) -> tuple[Any, Any, Any, Any]:
    """Return the bounds "at least", "more than", "at most" and "less than"; ``None`` for each that is not declared."""
    parts = [p for one in about for p in (one if isinstance(one, at.GroupedMetadata) else (one,))]
    return _only(parts, at.Ge, "ge"), _only(parts, at.Gt, "gt"), _only(parts, at.Le, "le"), _only(parts, at.Lt, "lt")


def _only(parts: Collection[Any], kind: type, name: str) -> Any:
    """Return the bound of this kind; ``None`` without one."""
    return next((getattr(part, name) for part in parts if isinstance(part, kind)), None)
