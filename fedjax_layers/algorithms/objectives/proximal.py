"""FedProx's objective (Li et al. 2020): the loss plus a pull to what the server sent."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from annotated_types import Ge

from fedjax_layers.algorithms.objectives.declared import declared
from fedjax_layers.clients import Begin, Client, LocalObjective, LocalOptions, Trained, Trainer, train
from fedjax_layers.ops.prox import with_proximal_term
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Array, Key, LayerMap


@declared
def proximal(*, mu: Annotated[Traced[float], Ge(0)] = 0.1, published_self_reference: bool = False) -> LocalObjective:
    """Make the objective ``f_c(w) + mu/2 * ||w - w_t||^2`` over the layers that the server sent as ``w_t``.

    Layers that stay with their client have nothing to be pulled to, and are trained on the loss alone.

    Args:
      mu: strength of the pull to the global model. 0.1 is PLayer-FL's setting on every data set. May be traced.
      published_self_reference: repeat an error of PLayer-FL's code before April 2025, in which the pull had no effect.
        It took the model being trained as its own reference, so that term and gradient vanished and FedProx was FedAvg.
    """

    def train_one(trainer: Trainer, key: Key, client: Client, begin: Begin, options: LocalOptions) -> Trained:
        if not published_self_reference:
            where = None if begin.shared is None else _leaves_of(begin.shared, trainer.task.layers)
            optimizer = with_proximal_term(trainer.optimizer, mu, where)
            trainer = dataclasses.replace(trainer, optimizer=optimizer)
        return Trained(train(trainer, key, client, begin.params, opt_state=begin.opt_state, options=options))

    return LocalObjective("fedprox", train_one)


def _leaves_of(mask: Any, layers: LayerMap) -> Any:
    """Spread a mask ``[L]`` over the leaves of the params, bool ``[]`` each."""
    flags: Array = jnp.asarray(mask)
    return jax.tree.map(lambda layer: flags[layer], layers.tree)
