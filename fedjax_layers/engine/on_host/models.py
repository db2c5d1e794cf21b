"""The models of a state whose clients' rows are on the host, built for some clients at a time."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.clients import Setting
from fedjax_layers.engine import intervals
from fedjax_layers.engine.intervals import Build, bound
from fedjax_layers.engine.on_host import programs
from fedjax_layers.engine.on_host.rows import lies_on_host, rows_of
from fedjax_layers.engine.on_host.run import Gathered, overview_of, parts_of, rows_to_device
from fedjax_layers.ops import ClientAxis
from fedjax_layers.types import Models

_MODEL_BYTES = 2**26  # of personal models that are built at a time


def models_of(build: Build, setting: Setting, hyper: Any, state: Any) -> Models:
    """Build the models of a state; the clients' models ``[C, ...]`` stay on the host if the state's rows do."""
    if not lies_on_host(state):
        found: Models = intervals.models_of(build, setting, hyper, state)
        return found
    axis, clients = ClientAxis(), len(rows_of(state)[0])
    models: Models = programs.common_models(build, setting, rows_to_device(state, np.zeros(1, np.int32), axis), hyper)
    if bound(build, setting, hyper).personal is None:
        return models
    each = sum(x.nbytes for x in jax.tree.leaves(state)) // clients
    number = max(1, _MODEL_BYTES // max(1, each))
    total, _ = overview_of(build, setting, hyper, state, parts_of(clients, number), axis)
    gathered = Gathered(clients)
    tree: Any = None
    for part in parts_of(clients, number):
        rows = rows_to_device(state, part.ids, axis)
        leaves, tree = jax.tree.flatten(
            programs.personal_models(build, setting, rows, hyper, jnp.asarray(part.ids), total)
        )
        gathered.add(part.ids, dict(enumerate(leaves)))
    return models._replace(personal=jax.tree.unflatten(tree, list(gathered.found.values())))
