"""What makes a function of a trainer an algorithm's factory: it also takes a solver, and looks after its numbers.

A factory is written for a :class:`fedjax_layers.clients.Trainer`, which knows the task and the clients. Given a
:class:`fedjax_layers.clients.LocalSolver` alone it makes a :class:`Method`, which waits for these.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast, overload

import numpy as np

from fedjax_layers.algorithms.numbers import number_options
from fedjax_layers.clients import LocalSolver, Setting, Trainer
from fedjax_layers.types import Algorithm, Array, Key, Params

P = ParamSpec("P")
T = TypeVar("T")
Attack = Callable[[Key, Array, Params, Params], Params]


@dataclasses.dataclass(frozen=True)
class Method(Generic[T]):
    """An algorithm with its options and its local solver, before it is bound to a task and to clients.

    Attributes:
      solver: how clients learn.
      make: ``trainer -> Algorithm``, or whatever else a bound solver is wanted for.
    """

    solver: LocalSolver
    make: Callable[[Trainer], T]

    def bind(self, setting: Setting) -> T:
        """The algorithm for this task and these clients.

        Raises:
          ValueError: the solver or an option does not fit them.
        """
        return self.make(setting.bind(self.solver))


class Factory(Protocol[P]):
    """Makes a :class:`Method` of a solver and options, or of a bound one, a trainer, the algorithm itself."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a trainer is a solver whose algorithm can be made at once
        self, solver: Trainer, /, *args: P.args, **options: P.kwargs
    ) -> Algorithm: ...
    @overload
    def __call__(self, solver: LocalSolver, /, *args: P.args, **options: P.kwargs) -> Method[Algorithm]: ...


def factory(*besides: str) -> Callable[[Callable[Concatenate[Trainer, P], Algorithm]], Factory[P]]:
    """Decorates a function ``(trainer, *, options) -> Algorithm``.

    Each option that is a number, by its annotation, is one for all clients: an array of C numbers would go with
    whatever axis of the parameters is C long, the classes say, and not with the clients. Options that may be tuples
    have a meaning of their own for several numbers, and look after themselves.

    Args:
      *besides: names of options that take a number for each client, or each team; the algorithm acts on them so.

    Returns:
      The decorator; what it makes raises ``ValueError`` for an array, and ``TypeError`` for what is no solver.
    """

    def decorate(fn: Callable[Concatenate[Trainer, P], Algorithm]) -> Factory[P]:
        signature = inspect.signature(fn)

        @functools.wraps(fn)
        def made(solver: LocalSolver, *args: P.args, **options: P.kwargs) -> Algorithm | Method[Algorithm]:
            _check_numbers(options, number_options(fn) - set(besides))
            if isinstance(solver, Trainer):
                return fn(solver, *args, **options)
            if not isinstance(solver, LocalSolver):
                raise TypeError(f"solver: expected a LocalSolver, got {type(solver).__name__}")
            signature.bind(solver, *args, **options)  # a misspelt option shows here, and not when it is bound
            return Method(solver, lambda trainer: fn(trainer, *args, **options))

        own = signature.parameters.values()
        first = inspect.Parameter("solver", inspect.Parameter.POSITIONAL_ONLY, annotation="LocalSolver")
        told = signature.replace(parameters=[first, *list(own)[1:]], return_annotation="Method")
        made.__signature__ = told  # type: ignore[attr-defined]  # as users call it
        made.__doc__ = (fn.__doc__ or "").replace("\n      trainer: ", "\n      solver: ")
        return cast(Factory[P], made)

    return decorate


def attacked(method: Method[T], attack: Callable[[Trainer], Attack]) -> Method[T]:
    """The method where clients send what ``attack`` makes of their models.

    Args:
      method: what good clients do.
      attack: ``trainer ->`` the :attr:`fedjax_layers.clients.Trainer.attack`.
    """
    return Method(method.solver, lambda trainer: method.make(dataclasses.replace(trainer, attack=attack(trainer))))


def _check_numbers(options: dict[str, Any], numbers: set[str] | frozenset[str]) -> None:
    for name in options.keys() & numbers:
        shape = np.shape(options[name])
        if shape != ():
            raise ValueError(f"{name}: expected one number for all clients, got shape {shape}")
