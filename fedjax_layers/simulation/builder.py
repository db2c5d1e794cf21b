"""The algorithm of a config as a function of its traced numbers, compared by value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from fedjax_layers import algorithms
from fedjax_layers.local_training import Trainer
from fedjax_layers.ops import ClientAxis
from fedjax_layers.ops.poison import Poison
from fedjax_layers.simulation.attack import make_attack
from fedjax_layers.simulation.optimizers import client_optimizer, server_optimizer
from fedjax_layers.types import Algorithm, Task


@dataclasses.dataclass(frozen=True)
class Builder:
    """``hyper -> Algorithm`` by value: two equal builders share their compiled programs.

    Attributes:
      task: the model.
      algorithm: registry name.
      options: the algorithm's static options, sorted.
      optimizer: name of the clients' optimiser.
      server: name of the server's, or ``None``.
      trainer: the trainer's static fields, sorted.
      poison: kind of the attack on updates and the layers ``[L]`` that it hits, or ``None``.
    """

    task: Task
    algorithm: str
    options: tuple[tuple[str, Any], ...]
    optimizer: str
    server: str | None
    trainer: tuple[tuple[str, Any], ...]
    poison: tuple[Poison, tuple[bool, ...]] | None = None

    def on(self, axis: ClientAxis) -> Builder:
        """The same with clients computed along this axis."""
        return dataclasses.replace(self, trainer=sorted_items(dict(self.trainer) | {"axis": axis}))

    def make_trainer(self, hyper: Mapping[str, Any]) -> Trainer:
        """How clients train, with the numbers of ``hyper``."""
        optimizer = client_optimizer(
            self.optimizer,
            hyper["learning_rate"],
            momentum=hyper["momentum"],
            weight_decay=hyper["weight_decay"],
        )
        decay = hyper["learning_rate_decay"]
        attack = None if self.poison is None else make_attack(self.task.layers, *self.poison, hyper)
        fields = dict(self.trainer) | {"attack": attack}
        return Trainer(self.task, optimizer, step_scale=lambda t: decay ** t.astype(jnp.float32), **fields)

    def __call__(self, hyper: Mapping[str, Any]) -> Algorithm:
        """The algorithm with the numbers of ``hyper``."""
        options = dict(self.options) | dict(hyper["options"])
        if "team_of" in hyper:
            options["team_of"] = hyper["team_of"]
        if self.server is not None:
            options["server_optimizer"] = server_optimizer(self.server, hyper["server_learning_rate"])
        return algorithms.registry[self.algorithm](self.make_trainer(hyper), **options)


def sorted_items(mapping: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """By name, hashable."""
    return tuple(sorted(mapping.items()))
