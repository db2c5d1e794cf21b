"""How an option is declared: once, as a parameter of whoever takes it.

Its annotation says the type, what bounds its numbers, and what else is to be known of it; its default is the default;
the docstring says what it is for, and where its value comes from::

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

from fedjax_layers.options.docstrings import described, first_sentence
from fedjax_layers.options.values import conform, text_kinds, value_of

_LARGEST_COUNT = 2**31 - 1  # counts are int32 on the devices


class Mark(enum.Enum):
    """What an annotation says of an option beside its type and its bounds.

    Attributes:
      TRACED: another value is the same program: the number may be an array inside a compiled function.
      FIELD: a run's config holds it in its own field of this name, and not among the options.
      FROM_DATA: without a value the data decide it.
      LAYERS: it counts layers of the model, and cannot be more than there are.
      PER_CLIENT: beside one number for all, one for each client or each team will do.
    """

    TRACED = enum.auto()
    FIELD = enum.auto()
    FROM_DATA = enum.auto()
    LAYERS = enum.auto()
    PER_CLIENT = enum.auto()


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of one taker.

    Attributes:
      name: of the parameter.
      hint: its type, without bounds and marks.
      default: its default; ``inspect.Parameter.empty`` where one has to be given.
      about: its bounds and marks.
      help: the first sentence that the taker's docstring says of it, without its full stop.
    """

    name: str
    hint: Any
    default: Any
    about: tuple[Any, ...] = ()
    help: str = ""

    @property
    def required(self) -> bool:
        """Whether a value has to be given."""
        return self.default is inspect.Parameter.empty

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The types that a value may have."""
        union = typing.get_origin(self.hint) in (typing.Union, types.UnionType)
        return typing.get_args(self.hint) if union else (self.hint,)

    @property
    def choices(self) -> tuple[str, ...]:
        """All values there are, where the type lists them."""
        return tuple(
            x for kind in self.kinds if typing.get_origin(kind) is typing.Literal for x in typing.get_args(kind)
        )

    @property
    def bounds(self) -> str:
        """What its numbers are within, in words; empty without bounds."""
        return _bounds_in_words(self.about)

    @property
    def text_kinds(self) -> tuple[Any, ...]:
        """Of one that is text or a list of texts, which of the two; else nothing."""
        return text_kinds(self.hint)

    @property
    def is_number(self) -> bool:
        """Whether it is one number, or none, and never several."""
        several = any(typing.get_origin(kind) is tuple for kind in self.kinds)
        return not several and any(kind in (bool, int, float) for kind in self.kinds)

    def has(self, mark: Mark) -> bool:
        """Whether it is declared with this mark."""
        return mark in self.about

    def traces(self, value: Any, *, counts: bool = False) -> bool:
        """Whether this value of it is traced in a run; a whole number only where ``counts`` asks for it."""
        if not self.has(Mark.TRACED) or isinstance(value, bool):
            return False
        return isinstance(value, float) or (counts and isinstance(value, int))

    def parsed(self, value: Any) -> Any:
        """A text as a value of the type, see :func:`~fedjax_layers.options.values.value_of`; another value as it is."""
        return value_of(value, self.text_kinds) if isinstance(value, str) else value

    def fit(self, value: Any, argument: str = "") -> Any:
        """The value as the type has it (see :func:`~fedjax_layers.options.values.conform`), within its bounds.

        ``argument`` stands for the option in messages, where that is not its name.

        Raises:
          ValueError: another type, or a number out of bounds.
        """
        found = conform(argument or self.name, value, self.hint)
        self.check(found, argument, value)
        return found

    def check(self, value: Any, argument: str = "", given: Any = None) -> None:
        """Refuse a number, or one of several, that is out of bounds; a traced one cannot be looked at."""
        for number in _numbers(value):
            complaint = _complaint(number, self.about)
            if complaint:
                told = value if given is None else given
                raise ValueError(f"{argument or self.name}: expected {complaint}, got {told}")

    def check_layers(self, value: Any, num_layers: int, argument: str = "") -> None:
        """Refuse more layers than a model has, of an option that counts them; a traced number cannot be looked at.

        Raises:
          ValueError: there are fewer.
        """
        if self.has(Mark.LAYERS) and isinstance(value, int) and value > num_layers:
            expected = f"at most the model's {num_layers} layers"
            raise ValueError(f"{argument or self.name}: expected {expected}, got {value}")


def options_of(taker: Callable[..., Any]) -> dict[str, Option]:
    """The options that a function takes: its keyword-only parameters, by name, in their order."""
    return dict(_options_of(taker))


@functools.cache
def _options_of(taker: Callable[..., Any]) -> dict[str, Option]:
    parameters = inspect.signature(taker).parameters.values()
    return declared(taker, {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY})


def declared(taker: Callable[..., Any], defaults: dict[str, Any]) -> dict[str, Option]:
    """The options of these names and defaults, as the annotations and the docstring of ``taker`` have them."""
    plain = taker.func if isinstance(taker, functools.partial) else taker
    hints, told = typing.get_type_hints(plain), described(plain)
    marked = typing.get_type_hints(plain, include_extras=True)
    return {
        name: Option(name, hints.get(name, Any), default, _about(marked.get(name)), first_sentence(told.get(name, "")))
        for name, default in defaults.items()
    }


def defaults_of(taker: Callable[..., Any]) -> dict[str, Any]:
    """Defaults of the options of ``taker`` that have one."""
    return {name: option.default for name, option in options_of(taker).items() if not option.required}


def taken_from_config(taker: Callable[..., Any], field: str) -> bool:
    """Whether ``taker`` has an option that the config's field of this name decides."""
    option = options_of(taker).get(field)
    return option is not None and option.has(Mark.FIELD)


def _about(hint: Any) -> tuple[Any, ...]:
    """The bounds and marks anywhere in an annotation."""
    own = hint.__metadata__ if typing.get_origin(hint) is Annotated else ()
    return (*own, *(x for part in typing.get_args(hint) for x in _about(part) if x not in own))


def _numbers(value: Any) -> list[int | float]:
    """The numbers in a value, an array's too; of what is traced none."""
    found: list[int | float] = []
    jax = sys.modules.get("jax")  # without which nothing is one of its arrays; the data room does without
    for one in value if isinstance(value, tuple) else (value,):
        known = jax is not None and isinstance(one, jax.Array) and not isinstance(one, jax.core.Tracer)
        found += np.ravel(one).tolist() if known or isinstance(one, np.ndarray | np.generic) else [one]
    return [x for x in found if isinstance(x, int | float) and not isinstance(x, bool)]


def _complaint(number: int | float, about: Collection[Any]) -> str:
    """What was expected of a number that is out of bounds; empty for one that is not."""
    if not math.isfinite(number):
        return "a finite number"
    least, more, most, less = _bounds(about)
    if most is None and isinstance(number, int) and abs(number) > _LARGEST_COUNT:
        return f"at most {_LARGEST_COUNT}"
    low = (least is None or number >= least) and (more is None or number > more)
    if low and (most is None or number <= most) and (less is None or number < less):
        return ""
    return _bounds_in_words(about)


def _bounds_in_words(about: Collection[Any]) -> str:
    least, more, most, less = _bounds(about)
    if least is not None and most is not None:
        return f"{least} to {most}"
    if more == 0 and most is less is None:
        return "a positive number"
    said = [(least, "at least"), (more, "more than"), (most, "at most"), (less, "less than")]
    return " and ".join(f"{words} {bound}" for bound, words in said if bound is not None)


def _bounds(about: Collection[Any]) -> tuple[Any, Any, Any, Any]:
    """At least, more than, at most, less than: ``None`` for each that is not said."""
    parts = [p for one in about for p in (one if isinstance(one, at.GroupedMetadata) else (one,))]
    return _only(parts, at.Ge, "ge"), _only(parts, at.Gt, "gt"), _only(parts, at.Le, "le"), _only(parts, at.Lt, "lt")


def _only(parts: Collection[Any], kind: type, name: str) -> Any:
    """The bound of this kind; ``None`` without one."""
    return next((getattr(part, name) for part in parts if isinstance(part, kind)), None)
