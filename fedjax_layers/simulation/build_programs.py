"""Compiled programs of a ``build``: shared by value where it has one, gone with it where it is a function.

A function that is defined anew for every run, inside an objective say, compiles anew each time, and compiled programs
take memory maps, of which a process has about 65,000. So a function's programs live as long as the function does.
"""

from __future__ import annotations

import collections
import functools
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import jax

_TOLD_AFTER = 3  # functions of the same line of code that came and went

_gone: collections.Counter[Any] = collections.Counter()
_programs: weakref.WeakKeyDictionary[Callable[..., Any], dict[int, Any]] = weakref.WeakKeyDictionary()


class BuildProgram:
    """A function ``(build, *args)``, jitted; equal builds, and all calls with one function, share what is compiled."""

    def __init__(self, fn: Callable[..., Any], static: tuple[int, ...], donated: tuple[int, ...]) -> None:
        self._fn, self._static, self._donated = fn, static, donated
        self._shared = jax.jit(fn, static_argnums=(0, *static), donate_argnums=donated)
        functools.update_wrapper(self, fn)

    def __call__(self, build: Callable[..., Any], *args: Any) -> Any:
        """Call it, compiled."""
        hashed: Any = type(build).__hash__
        if hashed is not object.__hash__:  # it is compared by value
            return self._shared(build, *args)
        own = _programs_of(build)
        if id(self) not in own:
            own[id(self)] = self._of(weakref.ref(build))
        return own[id(self)](*args)

    def lower(self, build: Callable[..., Any], *args: Any) -> Any:
        """As of any jitted function."""
        return self._shared.lower(build, *args)

    def _of(self, build: weakref.ref[Any]) -> Any:
        """The program of one function, which it must not keep alive."""
        static, donated = (tuple(place - 1 for place in places) for places in (self._static, self._donated))
        return jax.jit(lambda *args: self._fn(build(), *args), static_argnums=static, donate_argnums=donated)


def build_program(
    *, static: tuple[int, ...] = (), donated: tuple[int, ...] = ()
) -> Callable[[Callable[..., Any]], BuildProgram]:
    """Decorates a function whose first argument is a ``build``.

    Args:
      static: places of further static arguments.
      donated: places of donated ones.
    """
    return lambda fn: BuildProgram(fn, static, donated)


def forget_builds() -> None:
    """Begin to count anew how many functions of the same code came and went."""
    _gone.clear()


def _programs_of(build: Callable[..., Any]) -> dict[int, Any]:
    if build not in _programs:
        kind = _kind(build)
        if _gone[kind] == _TOLD_AFTER:
            name = getattr(build, "__qualname__", repr(build))
            found = f"got {name} as a new object for the {_TOLD_AFTER + 1}th time, and each compiles anew"
            advice = "define it once, and put what varies into hyper"
            warnings.warn(f"build: expected one function for all runs, {found}; {advice}", stacklevel=6)
        programs: dict[int, Any] = {}
        _programs[build] = programs
        weakref.finalize(build, _drop, kind, programs)
    return _programs[build]


def _kind(build: Callable[..., Any]) -> Any:
    """What function objects have in common that one line of code makes."""
    inner = build.func if isinstance(build, functools.partial) else build
    return getattr(inner, "__code__", type(inner))


def _drop(kind: Any, programs: dict[int, Any]) -> None:
    _gone[kind] += 1
    for program in programs.values():
        program.clear_cache()
    programs.clear()
