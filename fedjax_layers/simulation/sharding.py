"""Where a run's arrays live: clients' states spread over the mesh, everything else on every device."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from fedjax_layers.ops import ClientAxis


def replicate(tree: Any, axis: ClientAxis) -> Any:
    """Put a tree on every device of the axis, once, so that no call copies it again."""
    return tree if axis.mesh is None else jax.device_put(tree, NamedSharding(axis.mesh, P()))


def constrain_state(state: Any, axis: ClientAxis) -> Any:
    """Fix the layout of a state inside jit, so that it enters and leaves every period alike.

    Fields marked :func:`fedjax_layers.types.per_client` are sharded along their leading axis where the number of
    clients is a multiple of the devices (JAX has no uneven sharding), the rest is replicated.

    Args:
      state: an algorithm's state, a dataclass; nested ones are walked.
      axis: names the mesh; without one nothing is done.
    """
    return state if axis.mesh is None else _walk(state, axis, axis.mesh, per_client=False)


def _walk(tree: Any, axis: ClientAxis, mesh: jax.sharding.Mesh, per_client: bool) -> Any:
    if dataclasses.is_dataclass(tree) and not per_client:
        placed = {
            f.name: _walk(getattr(tree, f.name), axis, mesh, f.metadata.get("per_client", False))
            for f in dataclasses.fields(tree)
        }
        return dataclasses.replace(tree, **placed)  # type: ignore[type-var]

    def place(x: jax.Array) -> jax.Array:
        spread = per_client and x.shape[0] % axis.num_devices == 0
        sharding = NamedSharding(mesh, P(axis.name) if spread else P())
        return jax.lax.with_sharding_constraint(x, sharding)

    return jax.tree.map(place, tree)
