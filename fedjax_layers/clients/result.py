"""The result of one client's local training."""

from __future__ import annotations

from typing import Any, NamedTuple

from fedjax_layers.types import Array, Params


class LocalResult(NamedTuple):
    """The result of local training; stacked ``[K, ...]`` where it comes from :func:`train_cohort`.

    Attributes:
      params: the trained parameters, which the client keeps for itself where the algorithm lets it.
      opt_state: the optimiser state, ``()`` unless it is kept.
      loss: the mean training loss over the steps; 0 for a client without steps.
      gradient: the mean of the steps' gradients where asked for, else ``()``.
      carried: what a :class:`StepGradient` carries after the last step, else ``()``.
      observed: what the cohort's observer computed from the trained model, set by :func:`train_cohort`.
      poisoned: the parameters that a client sends in their place, ``None`` in a run without bad clients.
    """

    params: Params
    opt_state: Any
    loss: Array
    gradient: Any
    carried: Any = ()
    observed: Any = ()
    poisoned: Params | None = None

    @property
    def sent(self) -> Params:
        """The parameters that the client sends: those that it trained, unless it is a bad client."""
        return self.params if self.poisoned is None else self.poisoned
