"""What a client minimises in a round, as a value that is independent of which layers are shared and how.

An objective says how one client trains from the model that a sharing rule gives it, what the client and the server
keep for that from round to round, and what of it goes to the server. Objectives are in ``algorithms/objectives``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fedjax_layers.clients.client import Client
from fedjax_layers.clients.result import LocalResult
from fedjax_layers.clients.step_gradient import LocalOptions
from fedjax_layers.types import Array, Cohort, Key, Params


class Begin(NamedTuple):
    """What one client has at the start of its local training.

    Attributes:
      params: the model that the sharing rule gives it.
      opt_state: its kept optimiser state, or ``()``.
      shared: bool ``[L]``, the layers of ``params`` that are the server's; ``None`` means all.
      row: what the objective keeps for this client.
      common: what the server keeps for the objective, the same for all clients.
    """

    params: Params
    opt_state: Any
    shared: Array | np.ndarray | None
    row: Any
    common: Any


class Trained(NamedTuple):
    """What one client's local training leads to.

    Attributes:
      result: the trained model that the sharing rule sees: it is scored, sent, and kept in part.
      row: the client's new row.
      sums: a tree of :class:`fedjax_layers.ops.Term`, sent to the server beside the model; ``()`` for nothing.
      own: the model that the client uses itself, where that is not ``result.params``, with the loss of its training.
    """

    result: LocalResult
    row: Any = ()
    sums: Any = ()
    own: tuple[Params, Array] | None = None


Trainer = Any  # of ``trainer.py``, which holds an objective


def _nothing(*_: Any) -> Any:
    return ()


@dataclasses.dataclass(frozen=True)
class LocalObjective:
    """What clients minimise, and what is kept for it.

    Attributes:
      name: its name, for messages.
      train: ``(trainer, round's key, client, begin, options) -> Trained``, the local training of one client.
      row: ``(trainer, params) -> row`` of one client before its first round; ``()`` for nothing.
      common: ``params -> tree`` that the server keeps, before the first round; ``()`` for nothing.
      step: ``(common, sums of the clients that were heard) -> common``, the server's step.
      own: ``row -> params``, the model that a client uses itself; ``None`` where it is the sharing rule's.
      with_own: ``(row, params) -> row`` with this model in it; ``None`` where the sharing rule's model is used.
      more_steps: ``(trainer, cohort) -> []``, the local steps of the cohort beside those on the rule's model.
      copies: how many trees of a layer's size go each way with each shared layer: 1 is the model alone.
      memory: how many more models and optimiser states a round holds for each client that is computed at once, and how
        many more models once.
      check: ``trainer -> None``, which raises ``ValueError`` where the objective does not fit.
    """

    name: str
    train: Callable[[Trainer, Key, Client, Begin, LocalOptions], Trained]
    row: Callable[[Trainer, Params], Any] = _nothing
    common: Callable[[Params], Any] = _nothing
    step: Callable[[Any, Any], Any] = _nothing
    own: Callable[[Any], Params] | None = None
    with_own: Callable[[Any, Params], Any] | None = None
    more_steps: Callable[[Trainer, Cohort], int | Array] = lambda *_: 0
    copies: int = 1
    memory: tuple[float, float, float] = (0, 0, 0)
    check: Callable[[Trainer], None] = _nothing
