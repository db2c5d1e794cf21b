"""Local training of a whole cohort whose trained models are all kept: for rules that need them at once."""

from __future__ import annotations

from typing import Any

import chex
import jax
import jax.numpy as jnp

from fedjax_layers.clients.one_pass import Client, ClientVisit, one_pass, train
from fedjax_layers.clients.step_gradient import LocalOptions
from fedjax_layers.clients.train import LocalResult
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
    server_of_slot: Array | None = None,
    opt_state: Any = (),
    anchor: Params | None = None,
    options: LocalOptions = LocalOptions(),
    place_in_order: tuple[Array, Array] | None = None,
) -> LocalResult:
    """Train every slot of the cohort, each from its own start.

    A slot begins at ``server`` where ``own`` is ``None``, at ``own`` where ``server`` is ``None``, and with both at
    the server's layers where ``shared`` is true and its own elsewhere. With ``server_of_slot`` there are several
    servers (teams). The start is put together client by client inside the map, so that K copies of it are never held
    at once.

    Args:
      trainer: how.
      key: the round's key; slot k uses ``fold_in(key, ids[k])``, so a client's result does not depend on its slot.
      cohort: who, with which examples. What slots of weight 0 compute is for nobody.
      server: params of one model, or of several, ``[T, ...]``, with ``server_of_slot``.
      own: params stacked ``[K, ...]``.
      shared: bool ``[L]``.
      server_of_slot: ``[K]`` integers, which of the servers is each slot's.
      opt_state: kept optimiser states ``[K, ...]``, or ``()``.
      anchor: stacked ``[K, ...]``; ``None`` is where each slot began.
      options: what the algorithm changes.
      place_in_order: the slots' shuffled orders ``[K, orders, M]`` of :func:`draw_order`, and the step, ``[]`` or
        ``[K]``, at which to go on in them; ``None`` shuffles afresh.

    Returns:
      Stacked results ``[K, ...]``: K models are held. :func:`fedjax_layers.clients.one_pass` lets each one go.

    Raises:
      ValueError: neither ``server`` nor ``own``, or both without ``shared``.
    """
    if server is None and own is None:
        raise ValueError("server, own: expected at least one of them, found neither")
    if server is not None and own is not None and shared is None:
        raise ValueError("shared: expected a mask [L] beside server and own, found None")
    mask = jnp.ones(trainer.task.layers.num_layers, bool) if shared is None else shared
    slots = cohort.ids.shape[0]
    chex.assert_tree_shape_prefix((cohort.weight, cohort.train, server_of_slot, own, opt_state, anchor), (slots,))

    def visit(client: Client, _: Any) -> ClientVisit:
        server_of_slot, own, opt_state, anchor, going_on = client.slot
        common = client.shared if server_of_slot is None else jax.tree.map(lambda x: x[server_of_slot], client.shared)
        if common is None or own is None:
            params = own if common is None else common
        else:
            params = select(mask, trainer.task.layers, common, own)
        result = train(
            trainer, key, client, params, opt_state=opt_state, anchor=anchor, options=options, place_in_order=going_on
        )
        return ClientVisit(result.params, result.loss, out=result)

    going_on = None if place_in_order is None else (place_in_order[0], jnp.broadcast_to(place_in_order[1], (slots,)))
    rows = (server_of_slot, own, opt_state, anchor, going_on)
    passed = one_pass(trainer.axis, cohort, visit, slots=rows, shared=server)
    result: LocalResult = passed.out
    return result._replace(observed=passed.observed)
