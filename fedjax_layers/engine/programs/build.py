"""Compiled programs of a ``build``, shared by equal programs even where the build is a newly defined function.

A function cannot be compared by what it does. One that was not seen before is therefore traced, and the result is
compiled only if no equal program is held (:mod:`fedjax_layers.engine.programs.store`). A function that was seen before
is not traced again. Large arrays that a function closed over are arguments of its program, whatever their values.
"""

from __future__ import annotations

import collections
import functools
import weakref
from collections.abc import Callable
from typing import Any

import jax

from fedjax_layers.engine.programs.constants import as_arguments, large_constants, placed_beside
from fedjax_layers.engine.programs.store import MOST_PROGRAMS, compiled_once, find

MOST_BUILDS = 256  # number of builds compared by value whose programs' keys are remembered
_SETTINGS = (  # settings of JAX under which the same function is another program
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_numpy_dtype_promotion",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_debug_key_reuse",
    "jax_debug_nans",
    "jax_debug_infs",
)

_config: Any = jax.config
_of_functions: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()
_of_values: collections.OrderedDict[Any, dict[Any, Any]] = collections.OrderedDict()


class BuildProgram:
    """A jitted function ``(build, *args)``, whose compiled programs are shared by all builds with equal programs."""

    def __init__(self, fn: Callable[..., Any], static: tuple[int, ...], donated: tuple[int, ...]) -> None:
        self._fn, self._static, self._donated = fn, static, donated
        self._options: dict[str, Any] = {
            "static_argnums": tuple(place - 1 for place in static),
            "donate_argnums": tuple(place - 1 for place in donated),
            "keep_unused": True,
        }
        functools.update_wrapper(self, fn)

    def __call__(self, build: Any, *args: Any) -> Any:
        """Call the compiled function; inside a function that is being traced, it is traced as part of that."""
        dynamic = self._dynamic(args)
        if _config.jax_disable_jit or any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(dynamic)):
            return self._fn(build, *args)
        try:
            return self.compiled(build, *args)(*dynamic)
        except Exception:
            if not (_config.jax_debug_nans or _config.jax_debug_infs):
                raise
            return self._jitted(build)(*args)  # jit finds the operation that made the NaN, and names it

    def compiled(self, build: Any, *args: Any) -> Any:
        """Return the compiled program for these arguments, to be called with the arguments that are not static."""
        seen = _seen(build)
        leaves, tree = jax.tree.flatten(self._dynamic(args))
        placed = tuple((getattr(x, "sharding", None), getattr(x, "committed", False)) for x in leaves)
        static = tuple(args[place - 1] for place in self._static)
        settings = tuple(getattr(_config, name) for name in _SETTINGS)
        where = (placed, _config.jax_default_device, jax.sharding.get_abstract_mesh())
        call = (id(self), static, tree, tuple(map(jax.typeof, leaves)), settings, where)
        key, given = seen.get(call, (None, []))
        program = find(key)
        if program is None:
            user = weakref.ref(build) if _is_function(build) else None
            traced, given = self._traced(build, args)
            given = placed_beside(given, leaves) if given else given
            key, program = compiled_once(traced, where, user)
            seen[call] = key, given
            if len(seen) > MOST_PROGRAMS:  # the store holds no more than these
                seen.pop(next(iter(seen)))
        return _With(program, given) if given else program

    def _traced(self, build: Any, args: tuple[Any, ...]) -> tuple[Any, list[Any]]:
        """Trace one build; return its large constants as well, which are the traced function's first argument."""
        traced = self._jitted(build).trace(*args)
        given = large_constants(traced)
        if not given:
            return traced, given
        fn = as_arguments(traced)
        functools.update_wrapper(fn, self._fn)
        left = [place for place in range(1, len(args) + 1) if place not in self._static]
        donated = tuple(1 + left.index(place) for place in self._donated)
        return jax.jit(fn, donate_argnums=donated, keep_unused=True).trace(given, *self._dynamic(args)), given

    def _dynamic(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(x for place, x in enumerate(args, start=1) if place not in self._static)

    def _jitted(self, build: Any) -> Any:
        """Return the jitted function of one build, under its own name for profiles and error messages."""
        fn = functools.partial(self._fn, build)
        functools.update_wrapper(fn, self._fn)
        return jax.jit(fn, **self._options)


class _With:
    """A program with its large constants."""

    def __init__(self, program: Any, constants: list[Any]) -> None:
        self._program, self._constants = program, constants

    def __call__(self, *args: Any) -> Any:
        return self._program(self._constants, *args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._program, name)


def build_program(
    *, static: tuple[int, ...] = (), donated: tuple[int, ...] = ()
) -> Callable[[Callable[..., Any]], BuildProgram]:
    """Make a decorator of functions whose first argument is a ``build``, or anything else static.

    Args:
      static: positions of further static arguments.
      donated: positions of donated arguments.
    """
    return lambda fn: BuildProgram(fn, static, donated)


def _seen(build: Any) -> dict[Any, Any]:
    """Return the keys of a build's programs by the call's arguments; those of a function vanish with it."""
    if type(build).__hash__ is None:  # a mutable build must be traced at each call
        return {}
    if _is_function(build):
        return _of_functions.setdefault(build, {})
    found = _of_values.setdefault(build, {})
    _of_values.move_to_end(build)
    while len(_of_values) > MOST_BUILDS:
        _of_values.popitem(last=False)
    return found


def _is_function(build: Any) -> bool:
    """Return whether a build is equal only to itself, as functions are."""
    hashed: Any = type(build).__hash__
    return hashed is object.__hash__
