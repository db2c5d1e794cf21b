"""The client axis: how many clients are computed at once, on which devices, and what of each is kept."""

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


class Visit(NamedTuple):
    """What one client's visit leaves behind.

    Attributes:
      out: a pytree that is kept of every client; small, or memory grows with their number.
      sums: a pytree of :class:`fedjax_layers.ops.Term`, of which the sums over clients are kept.
      row: the client's row of the store, as it is to be from now on: the tree, shapes and dtypes of the old one.
    """

    out: Any = ()
    sums: Any = ()
    row: Any = ()


class Visited(NamedTuple):
    """What the visits of all clients leave.

    Attributes:
      out: leaves ``[K, ...]``.
      sums: over the clients, in place of each :class:`fedjax_layers.ops.Term`.
      store: leaves ``[C, ...]``.
    """

    out: Any
    sums: Any
    store: Any


def map_clients(
    fn: Callable[..., Any], *rows: Any, shared: tuple[Any, ...] = (), axis: ClientAxis = ClientAxis()
) -> Any:
    """Map a function of one client over the leading axis of ``rows``: :func:`visit_clients` without sums and store.

    The result does not depend on ``axis`` beyond the rounding of the backend's kernels for other batch shapes.

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
    """Visit clients in chunks of ``axis.width``: each leaves small outputs, adds to sums and renews its row of a store.

    Between two chunks nothing is held but outputs, sums and the store, which is renewed in place: memory follows the
    width, not the number of clients. Outputs and rows do not depend on ``axis`` beyond the rounding of the backend's
    kernels for other batch shapes, and sums not beyond the order in which they are added up. On several devices each
    visits its own share, with one reduction of the sums at the end; ``shard_map`` keeps the clients' axis sharded where
    a vmapped convolution under automatic partitioning would be gathered.

    Args:
      fn: ``(own, *row, *shared) -> Visit``, pure; ``own`` is the client's row of the store, ``()`` without one.
      *rows: pytrees with leaves ``[K, ...]``.
      store: a pytree with leaves ``[C, ...]``.
      places: ``[K]`` integers, each client's row of the store, all different where ``present``; ``None`` is row k.
      present: ``[K]`` bool; others add to no sum and leave their row as it is. ``None`` is all.
      shared: pytrees handed to every client whole.
      axis: width and devices.

    Returns:
      Outputs ``[K, ...]``, sums in float32 or their values' precision, and the store.

    Raises:
      ValueError: ``rows`` hold no leaf, or leaves of unequal length; a store of another length without ``places``.
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
    """Each device visits its share; rows of the store that lie elsewhere are brought to it, and back."""
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
        sums = add_terms(empty_sums(found.sums), found.sums, present)
        return Visited(found.out, sums, _put(store, places, present, found.row))

    first = jax.tree.map(lambda x: jax.ShapeDtypeStruct((width, *x.shape[1:]), x.dtype), (store, rows))
    again, shapes = traced_once(visit, *first)

    def rows_at(i: Array) -> tuple[Array, Array]:
        """Where chunk i begins, and its rows of the store."""
        # The last chunk reaches back over clients that have been visited: nothing of them is taken a second time.
        at = jnp.minimum(i * width, num - width)
        # By index, also where the rows lie side by side: of a slice that is written back XLA keeps a copy of the store.
        return at, jnp.arange(width, dtype=at.dtype) + at if places is None else _slice(places, at, width)

    def chunk(i: Array, carry: tuple[Visited, Any]) -> tuple[Visited, Any]:
        before, own = carry
        at, where = rows_at(i)
        part, there = jax.tree.map(lambda x: _slice(x, at, width), (rows, present))
        fresh = jnp.arange(width, dtype=at.dtype) + at >= i * width
        there &= fresh
        found = again(own, part)
        out = found.out
        if jax.tree.leaves(store):  # else what is computed again is the same
            out = _where(fresh, out, jax.tree.map(lambda x: _slice(x, at, width), before.out))
        out = jax.tree.map(lambda all_, x: jax.lax.dynamic_update_slice_in_dim(all_, x, at, 0), before.out, out)
        renewed = _put(before.store, where, there, found.row)
        # The next rows are read here, once, into the carry: where a visit reads the store itself, XLA copies all of it.
        return Visited(out, add_terms(before.sums, found.sums, there), renewed), _take(renewed, rows_at(i + 1)[1])

    out = jax.tree.map(lambda x: jnp.zeros((num, *x.shape[1:]), x.dtype), shapes.out)
    begin = Visited(out, empty_sums(shapes.sums), store), _take(store, rows_at(jnp.int32(0))[1])
    return jax.lax.fori_loop(0, -(-num // width), chunk, begin)[0]


def _slice(x: Array, at: Array, width: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(x, at, width)


def _take(store: Any, places: Array | None) -> Any:
    """Rows ``[K, ...]`` of the store at ``places``; all of them where none are given."""
    return store if places is None else jax.tree.map(lambda x: x[places], store)


def _put(store: Any, places: Array | None, present: Array, rows: Any) -> Any:
    """The store with these rows in place of those of clients that are present."""
    if places is None:
        return _where(present, rows, store)

    def put(s: Array, r: Array) -> Array:  # what is absent is sent past the end, where the scatter drops it
        target = jnp.where(present, places, len(s) + jnp.arange(len(places), dtype=places.dtype))
        return s.at[target].set(r, mode="drop", unique_indices=True)

    return jax.tree.map(put, store, rows)


def _where(flags: Array, on: Any, off: Any) -> Any:
    """Rows of ``on`` where flagged ``[K]``, else of ``off``."""
    return jax.tree.map(lambda a, b: jnp.where(flags.reshape(-1, *(1,) * (a.ndim - 1)), a, b), on, off)


def _pad(rows: Any, extra: int) -> Any:
    """Repeat row 0 at the end: real values, so that padding can't produce a NaN or an endless loop of its own."""
    if extra == 0:
        return rows
    return jax.tree.map(lambda x: jnp.concatenate([x, jnp.broadcast_to(x[:1], (extra, *x.shape[1:]))]), rows)
