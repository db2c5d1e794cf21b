"""Local training of a whole cohort that keeps all trained models, for algorithms that need them at once."""

from __future__ import annotations

from typing import Any

import chex
import jax.numpy as jnp

from fedjax_layers.clients.client import Client, ClientVisit
from fedjax_layers.clients.one_pass import one_pass, train
from fedjax_layers.clients.result import LocalResult
from fedjax_layers.clients.step_gradient import LocalOptions
from fedjax_layers.clients.trainer import Trainer
from fedjax_layers.ops import select
from fedjax_layers.types import Array, Cohort, Key, Params


def train_cohort(
    trainer: Trainer,
    key: Key,
    cohort: Cohort,
    *,
    server: Params | None = None,
    own: Params | None = None,
    shared: Array | None = None,
    opt_state: Any = (),
    anchor: Params | None = None,
    options: LocalOptions = LocalOptions(),
) -> LocalResult:
    """Train every slot of the cohort, each from its own start.

    A slot begins at ``server`` where ``own`` is ``None``, at ``own`` where ``server`` is ``None``, and with both at
    the server's layers where ``shared`` is True and its own elsewhere. Each start is put together inside the map
    over clients, so that K copies are never held at once.

    Args:
      trainer: the local training and its setting.
      key: the round's key; slot k uses ``fold_in(key, ids[k])``, so a client's result does not depend on its slot.
      cohort: the clients and their examples. Results of slots of weight 0 are meaningless.
      server: params of one model.
      own: params stacked ``[K, ...]``.
      shared: bool ``[L]``, the layers that start at the server's.
      opt_state: kept optimiser states ``[K, ...]``, or ``()``.
      anchor: the params to which a proximal term pulls, stacked ``[K, ...]``; ``None`` means each slot's start.
      options: the algorithm's changes to local training.

    Returns:
      Stacked results ``[K, ...]``, with K models; :func:`fedjax_layers.clients.one_pass` keeps none.

    Raises:
      ValueError: neither ``server`` nor ``own``, or both without ``shared``.
    """
    if server is None and own is None:
        raise ValueError("server, own: expected at least one of them, found neither")
    if server is not None and own is not None and shared is None:
        raise ValueError("shared: expected a mask [L] beside server and own, found None")
    mask = jnp.ones(trainer.task.layers.num_layers, bool) if shared is None else shared
    slots = cohort.ids.shape[0]
    chex.assert_tree_shape_prefix((cohort.weight, cohort.train, own, opt_state, anchor), (slots,))

    def visit(client: Client, _: Any) -> ClientVisit:
        own, opt_state, anchor = client.slot
        if client.shared is None or own is None:
            params = own if client.shared is None else client.shared
        else:
            params = select(mask, trainer.task.layers, client.shared, own)
        result = train(trainer, key, client, params, opt_state=opt_state, anchor=anchor, options=options)
        return ClientVisit(result.params, result.loss, out=result)

    passed = one_pass(trainer, cohort, visit, slots=(own, opt_state, anchor), shared=server)
    result: LocalResult = passed.out
    return result._replace(observed=passed.observed)
