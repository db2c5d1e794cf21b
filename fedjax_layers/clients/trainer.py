"""A local solver bound to a task, to the clients' data and to the client axis."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fedjax_layers.clients.batches import batches_per_epoch
from fedjax_layers.clients.local_objective import LocalObjective
from fedjax_layers.clients.privacy import Privacy
from fedjax_layers.clients.running_statistics import refuse_statistics, weights_only
from fedjax_layers.clients.solver import LocalSolver
from fedjax_layers.clients.work import (
    Epochs,
    Steps,
    as_epochs,
    as_steps,
    largest,
    per_client,
    steps_of,
    steps_of_epochs,
)
from fedjax_layers.ops import ClientAxis
from fedjax_layers.ops.optimizer_update import refuse_objective
from fedjax_layers.ops.robust import Rule
from fedjax_layers.types import Array, Cohort, Key, Params, Task


@dataclasses.dataclass(frozen=True)
class Setting:
    """The setting of a local solver in a run: the task, the sizes of the data, and the client axis.

    Attributes:
      task: the task with model and loss.
      num_clients: C, the number of clients.
      max_examples: number of training examples of the largest client.
      uniform: whether every client holds exactly ``max_examples``: then no step is ever empty, and the loop has a fixed
        length (and therefore a reverse-mode derivative) where all clients do the same work.
      axis: width and devices of the client axis.

    Raises:
      ValueError: a count below 1.
    """

    task: Task
    num_clients: int
    max_examples: int
    _: dataclasses.KW_ONLY
    uniform: bool = False
    axis: ClientAxis = ClientAxis()

    def __post_init__(self) -> None:
        for name in ("num_clients", "max_examples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected an integer of at least 1, got {getattr(self, name)}")

    def bind(self, solver: LocalSolver) -> Trainer:
        """Make the trainer of a solver in this setting; no batch is larger than the largest client.

        Raises:
          ValueError: epochs or steps are given for another number of clients.
        """
        fields = {f.name: getattr(part, f.name) for part in (solver, self) for f in dataclasses.fields(part)}
        size = min(solver.batch_size, self.max_examples)
        least = None if solver.min_batch is None else min(solver.min_batch, size)
        return Trainer(**fields | {"batch_size": size, "min_batch": least})


Collude = Callable[[Array, Params, Array, Params], Params]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trainer(LocalSolver, Setting):
    """A local solver in its setting, with which algorithms train clients. :meth:`Setting.bind` makes it.

    Attributes:
      attack: ``(key, client id, start, trained) -> params`` that a client sends in place of its trained model, which it
        keeps for itself; ``None`` without bad clients.
      aggregate: the rule that makes one model of the clients' models in place of their weighted mean; ``None`` for the
        mean.
      collude: ``(client ids [K], models [K, ...], weight [K], model that was sent) -> models``, in which clients that
        know the others' models have replaced their own; ``None`` without such clients. It needs a rule, see
        :func:`fedjax_layers.algorithms.colluded`.
      keep_nonfinite: whether results that are not finite (NaN or infinite) are used as they are. By default such a
        client is left out of its round, as if it were absent; see docs/robustness.md.
      privacy: the clipping and noise of client-level differential privacy; ``None`` without it.
      objective: what clients minimise where that is not the plain loss; ``None`` for the plain loss. Only algorithms
        whose factory has ``objectives`` take one, see :func:`fedjax_layers.algorithms.with_objective`.
    """

    attack: Callable[[Key, Array, Params, Params], Params] | None = None
    aggregate: Rule | None = None
    collude: Collude | None = None
    keep_nonfinite: bool = False
    privacy: Privacy | None = None
    objective: LocalObjective | None = None

    def __post_init__(self) -> None:
        Setting.__post_init__(self)
        LocalSolver.__post_init__(self)

    def _known_clients(self) -> int:
        return self.num_clients

    def phase(self, name: str, *, epochs: Epochs | None, steps: Steps | None = None, **changes: Any) -> Trainer:
        """Make the trainer of another phase of the round; ``epochs`` and ``steps`` are one number or ``[C]``.

        Raises:
          ValueError: ``{name}_epochs`` or ``{name}_steps`` is out of range, or of another length.
        """
        if epochs is not None:
            epochs = as_epochs(f"{name}_epochs", epochs, self.num_clients)
        if steps is not None:
            steps = as_steps(f"{name}_steps", steps, self.num_clients)
        return dataclasses.replace(self, epochs=epochs if steps is None else None, steps=steps, **changes)

    def rule_of(self, ids: Array) -> Rule | None:
        """Return the rule for a cohort ``ids [K]``, whose models those that collude replace before it is applied."""
        rule, collude = self.aggregate, self.collude
        if rule is None or collude is None:
            return rule

        def reduce(rows: Params, weight: Array, centre: Params) -> Params:
            return rule.reduce(collude(ids, rows, weight, centre), weight, centre)

        return dataclasses.replace(rule, reduce=reduce)

    @property
    def goes_by_steps(self) -> bool:
        """Whether work is counted in steps and not in epochs; static."""
        return self.steps is not None

    @property
    def orders(self) -> int:
        """The number of shuffled orders drawn per round."""
        return 1 if self.epochs is None else largest(self.epochs)

    @property
    def smallest_batch(self) -> int:
        """The number of examples below which an epoch's last batch is left out; see ``min_batch``."""
        if self.min_batch is not None:
            return self.min_batch
        return 1 if self.task.batch_norm is None else min(max(4, self.batch_size // 8), self.batch_size)

    @property
    def own_work(self) -> bool:
        """Whether each client has its own number of epochs or steps; static."""
        return per_client(self.epochs) or per_client(self.steps)

    def num_steps(
        self, count: int | Array, client: int | Array | None = None, work: Array | None = None
    ) -> int | Array:
        """Return the local steps per round of a client with ``count`` training examples; 0 for an empty client.

        Args:
          count: ``[]``, or ``[K]`` for several clients.
          client: the client's number ``[]``, or ``[K]``; needed where each client has its own work.
          work: the share of its steps that the client does, ``[]`` or ``[K]``; ``None`` means all.
        """
        if self.steps is not None:
            steps = steps_of(self.steps, count, client)
        else:
            assert self.epochs is not None  # one of epochs and steps is given
            steps = steps_of_epochs(self.epochs, batches_per_epoch(count, self), client)
        return steps if work is None else jnp.ceil(work * steps).astype(jnp.int32)

    def steps_of_slots(self, cohort: Cohort) -> Array:
        """Return the local steps of a cohort's slots in a round, ``[K]`` int32; 0 for padding."""
        steps = self.num_steps(cohort.train.count, cohort.ids, cohort.faults.work)
        return jnp.where(cohort.weight > 0, steps, 0)

    def heard(self, cohort: Cohort, loss: Array) -> Cohort:
        """Return a cohort after its pass, in which slots that were left out are padding, of weight 0.

        Args:
          cohort: the cohort that was passed over.
          loss: ``[K]``, the losses that the pass returned, which are NaN for slots that were left out.
        """
        out: Array | bool = jnp.isnan(loss)
        if self.keep_nonfinite:
            out = False if cohort.faults.lost is None else cohort.faults.lost
        return dataclasses.replace(cohort, weight=jnp.where(out, 0, cohort.weight))

    def scale_of(self, round_number: Array) -> Array | None:
        """Return the factor ``[]`` on a round's updates; ``None`` without a ``learning_rate_factor``.

        Raises:
          ValueError: ``learning_rate_factor`` gives anything but one number.
        """
        if self.learning_rate_factor is None:
            return None
        scale = jnp.asarray(self.learning_rate_factor(round_number))
        if scale.shape != ():
            raise ValueError(f"learning_rate_factor: expected one number for all clients, got shape {scale.shape}")
        return scale

    def init_optimizer(self, params: Params) -> Any:
        """Return the optimiser states of all clients ``[C, ...]`` if they are kept between rounds, else ``()``."""
        if not self.keep_optimizer:
            return ()
        one = self.optimizer.init(weights_only(self.task, params))
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (self.num_clients, *jnp.shape(x))), one)


def refuse_own_steps(trainer: Trainer, algorithm: str) -> None:
    """Check the trainer for an algorithm whose local steps are no gradient steps on the loss of one batch.

    Raises:
      ValueError: the model has batch normalisation, or the optimiser needs more than gradients.
    """
    refuse_statistics(trainer.task, algorithm)
    shapes = jax.eval_shape(trainer.task.init, jax.random.key(0))
    refuse_objective("optimizer", algorithm, trainer.optimizer, shapes)
