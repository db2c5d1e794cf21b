"""Local training: every client trains alone from the common start."""

from __future__ import annotations

import numpy as np

from fedjax_layers.algorithms.factory import factory
from fedjax_layers.algorithms.sharing.fixed_sharing import fixed_sharing
from fedjax_layers.clients import Trainer
from fedjax_layers.types import Algorithm, Personal


@factory(averages=False)
def local(trainer: Trainer) -> Algorithm:
    """Train every client alone, as the baseline that federated training must exceed for each client.

    Args:
      trainer: how each client trains.

    Returns:
      The algorithm; it offers personal models only, and no byte is sent. A client that never took part has the common
      start, since nothing of the others reaches it.
    """
    alone = fixed_sharing(trainer, shared=np.zeros(trainer.task.layers.num_layers, bool))
    personal = lambda state: Personal(state.clients, (), lambda row, *_: row)  # noqa: E731
    return alone._replace(personal=personal, welcome=None)
