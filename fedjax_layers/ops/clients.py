"""The client axis: how many clients are computed at once, and on which devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh
from jax.sharding import PartitionSpec as P


@dataclasses.dataclass(frozen=True)
class ClientAxis:
    """How a function of one client is run over many.

    Attributes:
      width: clients vectorised at once: 1 is a sequential scan, ``None`` (all) one full ``vmap``, any k between
        scans over chunks of k.
      mesh: devices that the clients are spread over; ``None`` is one device. Each device runs its own share
        at ``width``.
      name: the mesh axis that carries clients.

    Raises:
      ValueError: ``width`` is below 1, or ``name`` is no axis of ``mesh``, or not one of type ``Auto``.
    """

    width: int | None = None
    mesh: Mesh | None = None
    name: str = "clients"

    def __post_init__(self) -> None:
        if self.width is not None and self.width < 1:
            raise ValueError(f"width: expected None or an integer of at least 1, got {self.width}")
        if self.mesh is not None and self.name not in self.mesh.axis_names:
            raise ValueError(f"name: expected one of the mesh axes {self.mesh.axis_names}, got {self.name!r}")
        if self.mesh is not None:
            kind = self.mesh.axis_types[self.mesh.axis_names.index(self.name)]
            if kind != AxisType.Auto:  # shard_map would want every argument resharded by hand
                raise ValueError(f"mesh: expected axis {self.name!r} of type Auto, as axis_types makes it, got {kind}")

    @property
    def num_devices(self) -> int:
        """Number of devices that the clients are spread over."""
        return 1 if self.mesh is None else self.mesh.shape[self.name]


def map_clients(
    fn: Callable[..., Any], *rows: Any, shared: tuple[Any, ...] = (), axis: ClientAxis = ClientAxis()
) -> Any:
    """Map a function of one client over the leading axis of ``rows``.

    The result does not depend on ``axis`` beyond the rounding of the backend's kernels for other batch shapes.
    ``shard_map`` with a local ``vmap`` or ``scan`` inside keeps the clients' axis sharded where a vmapped
    convolution under automatic partitioning would be gathered.

    Args:
      fn: ``(*row, *shared) -> pytree``, pure.
      *rows: pytrees with leaves ``[K, ...]``.
      shared: pytrees handed to every client whole.
      axis: width and devices.

    Returns:
      The pytree of ``fn``'s results, leaves ``[K, ...]``.

    Raises:
      ValueError: ``rows`` hold no leaf, or leaves of unequal length.
    """
    lengths = {x.shape[0] if jnp.ndim(x) else None for x in jax.tree.leaves(rows)}
    if len(lengths) != 1 or None in lengths:
        raise ValueError(f"rows: expected leaves of one common length along axis 0, got {sorted(map(str, lengths))}")
    num = jax.tree.leaves(rows)[0].shape[0]
    if axis.mesh is None:
        return _map_local(fn, rows, shared, axis.width)
    padded = _pad(rows, -num % axis.num_devices)
    mapped = jax.shard_map(
        lambda r, s: _map_local(fn, r, s, axis.width),
        mesh=axis.mesh,
        in_specs=(P(axis.name), P()),
        out_specs=P(axis.name),
        check_vma=False,
    )(padded, shared)
    return jax.tree.map(lambda x: x[:num], mapped)


def _map_local(fn: Callable[..., Any], rows: Any, shared: tuple[Any, ...], width: int | None) -> Any:
    num = jax.tree.leaves(rows)[0].shape[0]
    if width is None or width >= num:
        return jax.vmap(lambda r: fn(*r, *shared))(rows)
    if width == 1:
        return jax.lax.map(lambda r: fn(*r, *shared), rows)
    # The last chunk is filled up rather than traced a second time at another width.
    padded = _pad(rows, -num % width)
    chunks = jax.tree.map(lambda x: x.reshape(-1, width, *x.shape[1:]), padded)
    out = jax.lax.map(jax.vmap(lambda r: fn(*r, *shared)), chunks)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:num], out)


def _pad(rows: Any, extra: int) -> Any:
    """Repeat row 0 at the end: real values, so that padding can't produce a NaN or an endless loop of its own."""
    if extra == 0:
        return rows
    return jax.tree.map(lambda x: jnp.concatenate([x, jnp.broadcast_to(x[:1], (extra, *x.shape[1:]))]), rows)
