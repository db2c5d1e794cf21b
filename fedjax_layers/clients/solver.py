"""The settings of local training that a user chooses, without what the data or the machine decide."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import optax

from fedjax_layers.clients.work import Epochs, Steps, as_epochs, as_steps
from fedjax_layers.types import Array


@dataclasses.dataclass(frozen=True)
class LocalSolver:
    """The local training of every client in a round. Numbers typed ``Array`` as well may be traced; the rest is static.

    Attributes:
      optimizer: each client's optax optimiser; its ``update`` is called per client, under the client axis.
      batch_size: B. The last batch of an epoch holds the remainder; a client with fewer examples has them all in one.
      epochs: passes over the client's training examples per round, each in a fresh order; one number, or one for each
        client ``[C]``. A fraction of an epoch is that fraction of its batches, rounded half up: 0.25 of 8 batches are
        2. A client with examples takes at least one step. ``None`` means 1 where there are no ``steps``.
      steps: local steps per round instead of epochs; one number, or one for each client ``[C]``; may be traced. Batches
        go round one shuffle of the client's examples, none twice in a batch.
      min_batch: an epoch's last batch is left out if it has fewer examples than this; the next epoch shuffles anew. A
        client with fewer examples in all keeps its one batch. ``None`` means 1, which leaves nothing out; and for a
        task with batch normalisation an eighth of ``batch_size`` or 4, whichever is more, since the statistics of a few
        examples spoil the model.
      keep_optimizer: whether clients keep their optimiser state from round to round in place of starting afresh.
      learning_rate_factor: ``round number -> factor []`` on every update of that round, a learning-rate schedule over
        rounds; ``None`` means 1.

    Raises:
      ValueError: a count below 1, a ``min_batch`` above ``batch_size``, or both ``epochs`` and ``steps``.
    """

    optimizer: optax.GradientTransformation
    batch_size: int
    _: dataclasses.KW_ONLY
    epochs: Epochs | None = None
    steps: Steps | None = None
    min_batch: int | None = None
    keep_optimizer: bool = False
    learning_rate_factor: Callable[[Array], Array] | None = None

    def __post_init__(self) -> None:
        if self.epochs is not None and self.steps is not None:
            raise ValueError(f"epochs, steps: expected at most one of them, got {self.epochs} and {self.steps}")
        if self.epochs is None and self.steps is None:
            object.__setattr__(self, "epochs", 1)
        for name in ("batch_size", "min_batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: expected an integer of at least 1, got {value}")
        if self.min_batch is not None and self.min_batch > self.batch_size:
            raise ValueError(f"min_batch: expected at most the batch size, {self.batch_size}, got {self.min_batch}")
        for name, checked in (("epochs", as_epochs), ("steps", as_steps)):
            value = getattr(self, name)
            if value is not None:  # tuples instead of arrays: a solver is compared and hashed by value
                object.__setattr__(self, name, checked(name, value, self._known_clients()))

    def _known_clients(self) -> int | None:
        """Return C, the number of clients, where it is known."""
        return None
