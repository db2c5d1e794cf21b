"""The static part of a run: what is evaluated, and how often."""

from __future__ import annotations

import dataclasses

from fedjax_layers.ops import ClientAxis
from fedjax_layers.types import Task

MOST_ROUNDS = 1_000_000  # between two evaluations, since the rounds' records stay on the device until the next one


@dataclasses.dataclass(frozen=True)
class Plan:
    """The static part of a run; with the same plan, ``build`` and shapes, nothing compiles twice.

    Attributes:
      task: the task.
      eval_every: number of rounds per interval.
      axis: the client axis of the evaluation.
      evaluated_models: ``"trained"``, each client's model after local training and before the server's step, and
        ``"served"``, the model that it would use after that step.
      on_host: what stays on the host, while a round gets only its cohort's part: ``"data"``, ``"state"``, both or none.
    """

    task: Task
    eval_every: int
    axis: ClientAxis = ClientAxis()
    evaluated_models: tuple[str, ...] = ("trained", "served")
    on_host: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.eval_every < 1:
            raise ValueError(f"eval_every: expected at least 1 round, got {self.eval_every}")
        unknown = [m for m in self.evaluated_models if m not in ("trained", "served")]
        if unknown:
            raise ValueError(f"evaluated_models: expected 'trained' and 'served', got {unknown[0]!r}")
        check_on_host(self.on_host)


def check_on_host(names: tuple[str, ...]) -> None:
    """Raise ``ValueError`` for names of what cannot stay on the host."""
    if not set(names) <= {"data", "state"} or len(set(names)) < len(names):
        raise ValueError(f"on_host: expected data, state or both, got {', '.join(names)}")


def rounds_per_interval(eval_every: int, rounds: int) -> int:
    """Return the number of rounds between two evaluations in a run of ``rounds`` rounds, the last always evaluated.

    Raises:
      ValueError: it is below 1, or more than can be recorded at once.
    """
    if eval_every < 1:
        raise ValueError(f"eval_every: expected at least 1 round, got {eval_every}")
    if min(eval_every, rounds) > MOST_ROUNDS:
        raise ValueError(f"eval_every: expected at most {MOST_ROUNDS} rounds, got {eval_every}")
    return max(1, min(eval_every, rounds))
