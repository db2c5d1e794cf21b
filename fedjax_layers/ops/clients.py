"""Functions mapped over the client axis: how many clients at once, on which devices, and which results are kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh
from jax.sharding import PartitionSpec as P

from fedjax_layers.ops.reduce import add_terms, empty_sums
from fedjax_layers.ops.trace import traced_once
from fedjax_layers.types import Array


@dataclasses.dataclass(frozen=True)
class ClientAxis:
    """The way in which a function of one client is run over many.

    Attributes:
      width: number of clients vectorised at once: 1 is a sequential scan, ``None`` is one ``vmap`` over all, and k in
        between is a scan over chunks of k.
      mesh: the devices over which the clients are spread, each running its own share at ``width``; ``None`` means one
        device.
      name: the mesh axis over which clients are spread.

    Raises:
      ValueError: ``width`` is below 1, or ``name`` is not an axis of ``mesh`` of type ``Auto``.
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
            if kind != AxisType.Auto:  # for other types, shard_map would want every argument resharded by hand
                raise ValueError(f"mesh: expected axis {self.name!r} of type Auto, as axis_types makes it, got {kind}")

    @property
    def num_devices(self) -> int:
        """The number of devices over which the clients are spread."""
        return 1 if self.mesh is None else self.mesh.shape[self.name]


class Visit(NamedTuple):
    """The results of computing one client.

    Attributes:
      out: a pytree that is kept for every client; keep it small, since its memory grows with their number.
      sums: a pytree of :class:`fedjax_layers.ops.Term`, of which only the sums over clients are kept.
      row: the client's new row of the store, with the tree, shapes and dtypes of the old one.
      counted: ``[]`` bool; where it is False, the client adds to no sum and keeps its row. ``None`` means True.
    """

    out: Any = ()
    sums: Any = ()
    row: Any = ()
    counted: Any = None


class Visited(NamedTuple):
    """The results of computing all clients.

    Attributes:
      out: leaves ``[K, ...]``.
      sums: the sums over clients, one in place of each :class:`fedjax_layers.ops.Term`.
      store: leaves ``[C, ...]``.
    """

    out: Any
    sums: Any
    store: Any


def map_clients(
    fn: Callable[..., Any], *rows: Any, shared: tuple[Any, ...] = (), axis: ClientAxis = ClientAxis()
) -> Any:
    """Map a function of one client over the leading axis of ``rows``, as :func:`visit_clients` without sums and store.

    The result depends on ``axis`` only through the rounding of the backend's kernels for other batch shapes.

    Args:
      fn: ``(*row, *shared) -> pytree``, pure.
      *rows: pytrees with leaves ``[K, ...]``.
      shared: pytrees that every client gets whole.
      axis: width and devices.

    Returns:
      The pytree of ``fn``'s results, leaves ``[K, ...]``.

    Raises:
      ValueError: ``rows`` have no leaf, or leaves of unequal length.
    """
    return visit_clients(lambda _, *args: Visit(fn(*args)), *rows, shared=shared, axis=axis).out


def visit_clients(
    fn: Callable[..., Visit],
    *rows: Any,
    store: Any = (),
    places: Array | None = None,
    present: Array | None = None,
    shared: tuple[Any, ...] = (),
    axis: ClientAxis = ClientAxis(),
) -> Visited:
    """Compute clients in chunks of ``axis.width``; each gives an output, terms of sums, and its new row of the store.

    Between two chunks only outputs, sums and the store exist, and the store is updated in place, so that memory grows
    with the width and not with the number of clients. Outputs and rows depend on ``axis`` only through the rounding of
    the backend's kernels for other batch shapes; sums also through the order in which they are added up. On several
    devices each computes its own share, with one reduction of the sums at the end. ``shard_map`` keeps the clients'
    axis sharded where automatic partitioning would gather a vmapped convolution.

    Args:
      fn: ``(own, *row, *shared) -> Visit``, pure; ``own`` is the client's row of the store, ``()`` without a store.
      *rows: pytrees with leaves ``[K, ...]``.
      store: a pytree with leaves ``[C, ...]``.
      places: ``[K]`` integers, each client's row of the store, all different where ``present``; ``None`` means that
        client k has row k.
      present: ``[K]`` bool; the other clients add to no sum and keep their row. ``None`` means all.
      shared: pytrees that every client gets whole.
      axis: width and devices.

    Returns:
      Outputs ``[K, ...]``, sums in the precision of their values but at least float32, and the store.

    Raises:
      ValueError: ``rows`` have no leaf, or leaves of unequal length; a store has not K rows and no ``places`` are
        given.
    """
    lengths = {x.shape[0] if jnp.ndim(x) else None for x in jax.tree.leaves(rows)}
    if len(lengths) != 1 or None in lengths:
        raise ValueError(f"rows: expected leaves of one common length along axis 0, got {sorted(map(str, lengths))}")
    num = jax.tree.leaves(rows)[0].shape[0]
    rows, store, present = jax.tree.map(jnp.asarray, (rows, store, jnp.ones(num, bool) if present is None else present))
    if places is None and any(len(x) != num for x in jax.tree.leaves(store)):
        raise ValueError(f"store: expected {num} rows, one for each client, where no places are given")
    if axis.mesh is None:
        return _visit(fn, rows, present, store, places, shared, axis.width)
    return _visit_on_mesh(fn, rows, present, store, places, shared, axis, axis.mesh)


def _visit_on_mesh(
    fn: Callable[..., Visit],
    rows: Any,
    present: Array,
    store: Any,
    places: Array | None,
    shared: tuple[Any, ...],
    axis: ClientAxis,
    mesh: Mesh,
) -> Visited:
    """Compute each device's share there; rows of the store that lie elsewhere are sent to it and back."""
    num, extra = len(present), -len(present) % axis.num_devices
    own = _take(store, places)
    padded_rows, padded_own = _pad((rows, own), extra)
    there = jnp.concatenate([present, jnp.zeros(extra, bool)])

    def local(rows: Any, present: Array, own: Any, shared: tuple[Any, ...]) -> Visited:
        found = _visit(fn, rows, present, own, None, shared, axis.width)
        return found._replace(sums=jax.lax.psum(found.sums, axis.name))

    split, whole = P(axis.name), P()
    found = jax.shard_map(
        local, mesh=mesh, in_specs=(split, split, split, whole), out_specs=Visited(split, whole, split), check_vma=False
    )(padded_rows, there, padded_own, shared)
    if extra:
        found = found._replace(**{f: jax.tree.map(lambda x: x[:num], getattr(found, f)) for f in ("out", "store")})
    return found if places is None else found._replace(store=_put(store, places, present, found.store))


def _visit(
    fn: Callable[..., Visit],
    rows: Any,
    present: Array,
    store: Any,
    places: Array | None,
    shared: tuple[Any, ...],
    width: int | None,
) -> Visited:
    num = len(present)
    width = min(width or num, num)

    def visit(own: Any, rows: Any) -> Visit:
        if width > 1:
            return jax.vmap(lambda own, row: fn(own, *row, *shared))(own, rows)
        own, rows = jax.tree.map(lambda x: x[0], (own, rows))
        return jax.tree.map(lambda x: jnp.asarray(x)[None], fn(own, *rows, *shared))

    if width == num:
        found = visit(_take(store, places), rows)
        present = _counted(present, found)
        sums = add_terms(empty_sums(found.sums), found.sums, present)
        return Visited(found.out, sums, _put(store, places, present, found.row))

    first = jax.tree.map(lambda x: jax.ShapeDtypeStruct((width, *x.shape[1:]), x.dtype), (store, rows))
    again, shapes = traced_once(visit, *first)

    def rows_at(i: Array) -> tuple[Array, Array]:
        """Return the first client of chunk i, and the chunk's rows of the store."""
        # The last chunk reaches back over clients that are already computed; `fresh` below leaves those out.
        at = jnp.minimum(i * width, num - width)
        # By index even where rows are adjacent: XLA keeps a copy of the store if a slice of it is written back.
        return at, jnp.arange(width, dtype=at.dtype) + at if places is None else _slice(places, at, width)

    def chunk(i: Array, carry: tuple[Visited, Any]) -> tuple[Visited, Any]:
        before, own = carry
        at, where = rows_at(i)
        part, there = jax.tree.map(lambda x: _slice(x, at, width), (rows, present))
        fresh = jnp.arange(width, dtype=at.dtype) + at >= i * width
        found = again(own, part)
        there = _counted(there & fresh, found)
        out = found.out
        if jax.tree.leaves(store):  # without a store, recomputed outputs equal the first ones
            out = _where(fresh, out, jax.tree.map(lambda x: _slice(x, at, width), before.out))
        out = jax.tree.map(lambda all_, x: jax.lax.dynamic_update_slice_in_dim(all_, x, at, 0), before.out, out)
        renewed = _put(before.store, where, there, found.row)
        # The next rows are read here into the carry: if `fn` read the store itself, XLA would copy all of it.
        return Visited(out, add_terms(before.sums, found.sums, there), renewed), _take(renewed, rows_at(i + 1)[1])

    out = jax.tree.map(lambda x: jnp.zeros((num, *x.shape[1:]), x.dtype), shapes.out)
    begin = Visited(out, empty_sums(shapes.sums), store), _take(store, rows_at(jnp.int32(0))[1])
    return jax.lax.fori_loop(0, -(-num // width), chunk, begin)[0]


def _counted(present: Array, found: Visit) -> Array:
    return present if found.counted is None else present & found.counted


def _slice(x: Array, at: Array, width: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(x, at, width)


def _take(store: Any, places: Array | None) -> Any:
    """Return rows ``[K, ...]`` of the store at ``places``; all rows where ``places`` is ``None``."""
    return store if places is None else jax.tree.map(lambda x: x[places], store)


def _put(store: Any, places: Array | None, present: Array, rows: Any) -> Any:
    """Return the store with ``rows`` in place of the rows of present clients."""
    if places is None:
        return _where(present, rows, store)

    def put(s: Array, r: Array) -> Array:  # absent rows get an index past the end, which the scatter drops
        target = jnp.where(present, places, len(s) + jnp.arange(len(places), dtype=places.dtype))
        return s.at[target].set(r, mode="drop", unique_indices=True)

    return jax.tree.map(put, store, rows)


def _where(flags: Array, on: Any, off: Any) -> Any:
    """Return rows of ``on`` where ``flags [K]`` is True, else of ``off``."""
    return jax.tree.map(lambda a, b: jnp.where(flags.reshape(-1, *(1,) * (a.ndim - 1)), a, b), on, off)


def _pad(rows: Any, extra: int) -> Any:
    """Append copies of row 0: padding with real values cannot cause a NaN or an endless loop."""
    if extra == 0:
        return rows
    return jax.tree.map(lambda x: jnp.concatenate([x, jnp.broadcast_to(x[:1], (extra, *x.shape[1:]))]), rows)
