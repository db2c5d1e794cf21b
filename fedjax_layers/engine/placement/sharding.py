"""The layout of a run's arrays: clients' rows are spread over the mesh, everything else is on every device."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from fedjax_layers.ops import ClientAxis

_SMALL = 2**16  # bytes, below which a copy on each device costs nothing


def replicate(tree: Any, axis: ClientAxis) -> Any:
    """Put a tree on every device of the axis once, so that no later call copies it.

    CPU devices share the host's memory, so that all of them use one copy. XLA does not own that copy; where it is
    donated, XLA therefore copies it and does not write into it.
    """
    if axis.mesh is None:
        return tree
    sharding = NamedSharding(axis.mesh, P())

    def place(x: Any) -> Any:
        plain = isinstance(x, jax.Array) and not jax.dtypes.issubdtype(x.dtype, jax.dtypes.extended)
        large = plain and x.nbytes >= _SMALL and x.is_fully_addressable and sharding.is_fully_addressable
        return _seen_by_all(x, sharding) if large else jax.device_put(x, sharding)

    return jax.tree.map(place, tree)


def _seen_by_all(x: jax.Array, sharding: NamedSharding) -> jax.Array:
    """Put an array on all devices, unless it is there already; CPU devices share the same memory."""
    there = {shard.device: shard.data for shard in x.addressable_shards} if x.is_fully_replicated else {}
    on_cpu = all(device.platform == "cpu" for device in (*there, *sharding.mesh.devices.flat))
    source = np.asarray(x) if on_cpu else x  # on a CPU this is a view
    parts = [
        there[device] if device in there and not on_cpu else jax.device_put(source, device, may_alias=on_cpu)
        for device in sharding.mesh.devices.flat
    ]
    return jax.make_array_from_single_device_arrays(x.shape, sharding, parts)


def constrain_state(state: Any, axis: ClientAxis) -> Any:
    """Fix the layout of a state inside jit, so that it is the same before and after every interval.

    Fields marked :func:`fedjax_layers.types.per_client` are sharded along their leading axis where the number of
    clients is a multiple of the number of devices (JAX has no uneven sharding); the rest is replicated.

    Args:
      state: an algorithm's state, a dataclass, which may contain others.
      axis: the client axis; without a mesh nothing is done.
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
