"""A config's algorithm as a function of its traced numbers, compared by value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax.numpy as jnp

from fedjax_layers import algorithms
from fedjax_layers.algorithms.factory import Method, aggregated, attacked, colluded, faulty, private
from fedjax_layers.clients import Faults, LocalSolver, Privacy, Setting, Trainer
from fedjax_layers.experiment.config.optimizers import client_optimizer, server_optimizer
from fedjax_layers.experiment.setup.attack import make_attack, make_collusion
from fedjax_layers.ops import make_rule
from fedjax_layers.ops.collusion import Collusion, Direction
from fedjax_layers.ops.poison import Poison
from fedjax_layers.options import renamed
from fedjax_layers.types import Algorithm

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Builder:
    """The function ``hyper -> Method`` of a config, compared by value, so that equal builders share compiled programs.

    Attributes:
      algorithm: the algorithm's name in the registry.
      options: the algorithm's static options, sorted.
      optimizer: name of the clients' optimiser.
      server: name of the server's optimiser, or ``None``.
      work: the local solver's other static fields, sorted.
      poison: the kind of attack on updates and the layers ``[L]`` that it changes, or ``None``.
      faults: the kinds of faults that clients have, names of fields of :class:`fedjax_layers.clients.Faults`.
      keep_nonfinite: whether results that are not finite are used, see :class:`fedjax_layers.clients.Trainer`.
      aggregate: the rule in place of the mean, its settings that are not traced, sorted, and whether it judges each
        layer by itself; ``None`` for the mean.
      collusion: the attack of clients that know the benign updates, and its direction; ``None`` where there is none.
      privacy: noise, whether each layer is clipped by itself, and the quantile of the bound; ``None`` without privacy.
    """

    algorithm: str
    options: tuple[tuple[str, Any], ...]
    optimizer: str
    server: str | None
    work: tuple[tuple[str, Any], ...]
    poison: tuple[Poison, tuple[bool, ...]] | None = None
    faults: tuple[str, ...] = ()
    keep_nonfinite: bool = False
    aggregate: tuple[str, tuple[tuple[str, Any], ...], bool] | None = None
    collusion: tuple[Collusion, Direction] | None = None
    privacy: tuple[float, bool, float | None] | None = None

    def method(self, hyper: Mapping[str, Any], make: Callable[[Trainer], T]) -> Method[T]:
        """Make a method whose ``make`` gets a trainer of the run's solver, with the attack of bad clients, if any."""
        optimizer = client_optimizer(
            self.optimizer,
            hyper["learning_rate"],
            momentum=hyper["momentum"],
            weight_decay=hyper["weight_decay"],
        )
        decay = hyper["learning_rate_decay"]
        solver = LocalSolver(
            optimizer, learning_rate_factor=lambda t: decay ** t.astype(jnp.float32), **dict(self.work)
        )
        keep = self.keep_nonfinite
        method = Method(solver, lambda trainer: make(dataclasses.replace(trainer, keep_nonfinite=keep)))
        if self.privacy is not None:
            noise, per_layer, quantile = self.privacy
            with renamed({name: f"dp_{name}" for name in ("noise", "clip", "per_layer", "quantile", "clip_rate")}):
                privacy = Privacy(noise, hyper["dp_clip"], per_layer, quantile, hyper["dp_clip_rate"])
            method = private(method, privacy)
        if self.poison is None:
            return method
        kind, where = self.poison
        return attacked(method, lambda trainer: make_attack(trainer.task.layers, kind, where, hyper))

    def make_trainer(self, hyper: Mapping[str, Any], setting: Setting) -> Trainer:
        """Make the trainer with the numbers of ``hyper``."""
        return self.method(hyper, lambda trainer: trainer).bind(setting)

    def __call__(self, hyper: Mapping[str, Any]) -> Method[Algorithm]:
        """Make the algorithm with the numbers of ``hyper``."""
        options = dict(self.options) | dict(hyper["options"])
        if "team_of" in hyper:
            options["team_of"] = hyper["team_of"]
        if self.server is not None:
            options["server_optimizer"] = server_optimizer(self.server, hyper["server_learning_rate"])
        method = self.method(hyper, lambda trainer: algorithms.registry[self.algorithm](trainer, **options))
        if self.collusion is not None:
            method = colluded(method, make_collusion(*self.collusion, hyper))
        if self.aggregate is not None:
            name, static, per_layer = self.aggregate
            settings = dict(static) | dict(hyper["aggregate"])
            method = aggregated(method, lambda t: make_rule(name, settings, t.task.layers if per_layer else None))
        if not self.faults:
            return method
        return faulty(method, Faults(**{name: hyper[name] for name in (*self.faults, "straggle_work")}))


def sorted_items(mapping: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return the items sorted by name, with hashable values."""
    return tuple(sorted(mapping.items()))
