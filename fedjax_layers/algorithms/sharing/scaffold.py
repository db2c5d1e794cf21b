"""SCAFFOLD (Karimireddy et al. 2020): FedAvg with control variates against the drift of clients."""

from __future__ import annotations

from typing import Literal

from fedjax_layers.algorithms.composition import with_objective
from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.objectives.variates import variates
from fedjax_layers.algorithms.sharing.fedavg import fedavg
from fedjax_layers.clients import Trainer
from fedjax_layers.types import Algorithm


@factory(aggregates=False)
def scaffold(
    trainer: Trainer, *, option: Literal["I", "II"] = "II", server_optimizer: ServerOptimizer = None
) -> Algorithm:
    """Correct every local step by ``c - c_i``, the difference of the server's and the client's control variates.

    Models are averaged by the clients' weights, which the paper has equal. Variates are averaged equally over all
    clients: ``c <- c + (1/C) * sum of the changes of c_i`` over those that took part. A client sends and gets a tree of
    the model's size beside the model.

    Args:
      trainer: how each client trains, with plain SGD or SGD with momentum. The paper has plain SGD.
      option: how the client's variate is renewed, ``"I"`` or ``"II"`` of the paper. Option II takes the mean gradient
        of the local steps; option I the mean gradient at the server's model, which doubles the local work.
      server_optimizer: as in :func:`fedavg`; the paper's server step eta_g is ``optax.sgd(eta_g)``.

    Returns:
      The algorithm; it offers the global model.

    Raises:
      ValueError: an optimiser without a fixed step, a rule of aggregation, or differential privacy.

    Source: Karimireddy et al. 2020 (arXiv 1910.06378), Algorithm 1.
    """
    rule = lambda bound: fedavg(bound, server_optimizer=server_optimizer)  # noqa: E731
    return with_objective(rule, variates(option=option))(trainer)
