"""The decorator that makes a function of a trainer an algorithm's factory, which also takes a solver.

A factory is written for a :class:`fedjax_layers.clients.Trainer`, which knows the task and the clients. Given a
:class:`fedjax_layers.clients.LocalSolver` alone, it makes a :class:`Method`, which is bound to these later.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast, overload

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fedjax_layers.algorithms.report import Decision, Report
from fedjax_layers.clients import Faults, LocalSolver, Privacy, Setting, Trainer, struck
from fedjax_layers.clients.trainer import Collude
from fedjax_layers.ops import Rule, weighted_mean
from fedjax_layers.options import Mark, Option, options_of
from fedjax_layers.types import Algorithm, Array, Cohort, Key, Params, RoundInfo

P = ParamSpec("P")
T = TypeVar("T")
_KNOWN_MODELS = 2.0  # held for each slot, beside those of the rule, while bad clients look at all updates
Attack = Callable[[Key, Array, Params, Params], Params]
ServerOptimizer = Annotated[optax.GradientTransformation | None, Mark.FIELD]
"""The server's optimiser; ``None`` replaces the shared model by the clients' mean."""


@dataclasses.dataclass(frozen=True)
class Method(Generic[T]):
    """An algorithm with its options and its local solver, before it is bound to a task and to clients.

    Attributes:
      solver: the settings of local training.
      make: ``trainer -> Algorithm``, or another function of a bound solver.
    """

    solver: LocalSolver
    make: Callable[[Trainer], T]

    def bind(self, setting: Setting) -> T:
        """Make the algorithm for a task and its clients.

        Raises:
          ValueError: the solver or an option does not fit them.
        """
        return self.make(setting.bind(self.solver))


class Factory(Protocol[P]):
    """A function that makes a :class:`Method` from a solver and options, or from a trainer the algorithm itself.

    Attributes:
      report: what the algorithm reports of a run beside its scores; ``None`` for nothing.
      decision: ``options -> Decision`` for the option whose only effect is a decision; ``None`` if there is none.
      averages: whether clients' models are averaged, so that the clients' weights matter.
      aggregates: whether these averages are sums of a pass over the clients, so that a rule may take their place.
      objectives: whether clients may train on another objective than the plain loss, see
        :mod:`fedjax_layers.algorithms.objectives`.
    """

    report: Report | None
    decision: Callable[[Mapping[str, Any]], Decision | None]
    averages: bool
    aggregates: bool
    objectives: bool

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a trainer is a solver whose algorithm can be made at once
        self, solver: Trainer, /, *args: P.args, **options: P.kwargs
    ) -> Algorithm: ...
    @overload
    def __call__(self, solver: LocalSolver, /, *args: P.args, **options: P.kwargs) -> Method[Algorithm]: ...


def no_decision(options: Mapping[str, Any]) -> None:
    """Return ``None``: the algorithm has no option whose only effect is a decision."""


def factory(
    *,
    report: Report | None = None,
    decision: Callable[[Mapping[str, Any]], Decision | None] = no_decision,
    averages: bool = True,
    aggregates: bool = True,
    objectives: bool = False,
) -> Callable[[Callable[Concatenate[Trainer, P], Algorithm]], Factory[P]]:
    """Make a decorator of functions ``(trainer, *, options) -> Algorithm``.

    Options are declared by their annotations, see :mod:`fedjax_layers.options`. An option that is a number is the same
    for all clients, unless it has :attr:`~fedjax_layers.options.Mark.PER_CLIENT`: an array of C numbers would broadcast
    along any axis of the parameters of length C, the classes say, and not along the clients. Options that may be tuples
    are checked by the algorithm.

    Args:
      report: see :class:`Factory`.
      decision: see :class:`Factory`; it gets all options, including those left at their defaults.
      averages: see :class:`Factory`; False for local training alone.
      aggregates: see :class:`Factory`; False for algorithms that mix models by weights of their own.
      objectives: see :class:`Factory`; True for algorithms whose clients train in
        :func:`~fedjax_layers.algorithms.sharing.round.local_phase` alone.

    Returns:
      The decorator. The factory raises ``ValueError`` for an option that is out of bounds or an array, and
      ``TypeError`` for an argument that is no solver.
    """

    def decorate(fn: Callable[Concatenate[Trainer, P], Algorithm]) -> Factory[P]:
        signature = inspect.signature(fn)

        @functools.wraps(fn)
        def made(solver: LocalSolver, *args: P.args, **options: P.kwargs) -> Algorithm | Method[Algorithm]:
            known = options_of(fn)
            for name in options.keys() & known.keys():
                check_option(known[name], options[name])

            def bound(trainer: Trainer) -> Algorithm:
                _refuse_objective(fn.__name__, trainer, objectives)
                _refuse_rule(fn.__name__, trainer, averages and aggregates)
                for name in options.keys() & known.keys():
                    known[name].check_layers(options[name], trainer.task.layers.num_layers)
                algorithm = fn(trainer, *args, **options)
                if trainer.aggregate is None:
                    return algorithm
                return algorithm._replace(memory=algorithm.memory._replace(rows=trainer.aggregate.models))

            if isinstance(solver, Trainer):
                return bound(solver)
            if not isinstance(solver, LocalSolver):
                raise TypeError(f"solver: expected a LocalSolver, got {type(solver).__name__}")
            signature.bind(solver, *args, **options)  # raises for a misspelt option here, before the method is bound
            return Method(solver, bound)

        own = signature.parameters.values()
        first = inspect.Parameter("solver", inspect.Parameter.POSITIONAL_ONLY, annotation="LocalSolver")
        told = signature.replace(parameters=[first, *list(own)[1:]], return_annotation="Method")
        made.__signature__ = told  # type: ignore[attr-defined]  # as users call it
        made.report, made.decision = report, decision  # type: ignore[attr-defined]
        made.averages, made.aggregates = averages, averages and aggregates  # type: ignore[attr-defined]
        made.objectives = objectives  # type: ignore[attr-defined]
        made.__doc__ = (fn.__doc__ or "").replace("\n      trainer: ", "\n      solver: ")
        return cast(Factory[P], made)

    return decorate


def attacked(method: Method[T], attack: Callable[[Trainer], Attack]) -> Method[T]:
    """Return a method in which clients send their models changed by ``attack``.

    Args:
      method: the method without bad clients.
      attack: ``trainer -> attack``, see :attr:`fedjax_layers.clients.Trainer.attack`.
    """
    return Method(method.solver, lambda trainer: method.make(dataclasses.replace(trainer, attack=attack(trainer))))


def aggregated(method: Method[T], rule: Callable[[Trainer], Rule]) -> Method[T]:
    """Return a method in which a rule makes one model of the clients' models, in place of their weighted mean.

    Args:
      method: the method that averages.
      rule: ``trainer -> rule``, see :func:`fedjax_layers.ops.make_rule`.
    """
    return Method(method.solver, lambda trainer: method.make(dataclasses.replace(trainer, aggregate=rule(trainer))))


def colluded(method: Method[T], collude: Collude) -> Method[T]:
    """Return a method in which bad clients know the models of a round's others and replace their own together.

    All models of a round are then kept as rows, for the method's rule, or else for the mean.

    Args:
      method: the method that averages, without such clients.
      collude: see :attr:`fedjax_layers.clients.Trainer.collude`.
    """

    def make(trainer: Trainer) -> T:
        rule = trainer.aggregate or Rule(lambda rows, weight, centre: weighted_mean(rows, weight))
        rule = dataclasses.replace(rule, models=rule.models + _KNOWN_MODELS)
        return method.make(dataclasses.replace(trainer, aggregate=rule, collude=collude))

    return Method(method.solver, make)


def faulty(method: Method[Algorithm], faults: Faults) -> Method[Algorithm]:
    """Return a method whose clients drop out, do less work or return broken numbers, drawn anew in every round.

    Args:
      method: the method without faults.
      faults: how likely each fault is.
    """

    def bound(trainer: Trainer) -> Algorithm:
        algorithm = method.make(trainer)

        def round_(key: Key, state: Any, cohort: Cohort) -> tuple[Any, RoundInfo]:
            hit = struck(faults, key, cohort)
            state, info = algorithm.round(key, state, hit)
            gone = (cohort.weight > 0) & (hit.weight == 0)
            dropped = gone if hit.faults.lost is None else gone | ((hit.weight > 0) & hit.faults.lost)
            loss = jnp.where(dropped, jnp.nan, info.loss)
            extra = info.extra
            if hit.faults.broken is not None:
                extra = extra | {"broken": ((hit.weight > 0) & hit.faults.broken & ~dropped).sum(dtype=jnp.int32)}
            return state, dataclasses.replace(info, loss=loss, dropped=dropped, extra=extra)

        return algorithm._replace(round=round_)

    return Method(method.solver, bound)


def private(method: Method[T], privacy: Privacy) -> Method[T]:
    """Return a method with client-level differential privacy of what the server learns.

    An algorithm can have it if its clients send updates alone, which the server averages. With another one ``simulate``
    raises ``ValueError``.

    Args:
      method: the method without privacy.
      privacy: clipping and noise.
    """
    return Method(method.solver, lambda trainer: method.make(dataclasses.replace(trainer, privacy=privacy)))


def _refuse_objective(name: str, trainer: Trainer, objectives: bool) -> None:
    if trainer.objective is not None and not objectives:
        found = f"got {name} with {trainer.objective.name}"
        raise ValueError(f"objective: expected an algorithm that shares layers trained on the plain loss, {found}")


def _refuse_rule(name: str, trainer: Trainer, aggregates: bool) -> None:
    if trainer.aggregate is not None and not aggregates:
        what = "aggregate: expected none" if trainer.collude is None else "attack: expected none together"
        raise ValueError(f"{what} for {name}, in which no rule can take the place of a mean over the round")


def check_option(option: Option, value: Any) -> None:
    """Raise ``ValueError`` for an array, an unknown choice or a number out of bounds; traced values are not bounded."""
    if option.is_number and not option.has(Mark.PER_CLIENT) and np.shape(value) != ():
        raise ValueError(f"{option.name}: expected one number for all clients, got shape {np.shape(value)}")
    if isinstance(value, jax.core.Tracer):
        return
    if option.choices and isinstance(value, str) and value not in option.choices:
        raise ValueError(f"{option.name}: expected one of {', '.join(option.choices)}, got {value!r}")
    if int in option.kinds and float not in option.kinds and np.ndim(value) == 0 and isinstance(value, float):
        raise ValueError(f"{option.name}: expected a whole number, got {value}")
    option.check(value)
