"""The clients' rows of a state: separated from the rest, and kept on the host."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fedjax_layers.data.packing import aligned_empty
from fedjax_layers.storage import StorageError


def rows_of(state: Any) -> list[Any]:
    """List the leaves of a state's fields that are marked ``per_client``, in flatten order."""
    return [x for x, own in zip(jax.tree.leaves(state), _own(state), strict=True) if own]


def with_rows(state: Any, rows: Sequence[Any]) -> Any:
    """Replace a state's per-client leaves by ``rows``."""
    leaves, tree = jax.tree.flatten(state)
    new = iter(rows)
    return jax.tree.unflatten(tree, [next(new) if own else x for x, own in zip(leaves, _own(state), strict=True)])


def map_rows(fn: Callable[[Any], Any], state: Any) -> Any:
    """Replace each per-client leaf of a state by ``fn`` of it."""
    return with_rows(state, [fn(x) for x in rows_of(state)])


def _own(state: Any) -> list[bool]:
    """Return for each leaf whether it is marked ``per_client``."""
    return jax.tree.leaves(_marked(state, False))


def _marked(tree: Any, own: bool) -> Any:
    if dataclasses.is_dataclass(tree) and not own:
        fields = dataclasses.fields(tree)
        marked = {f.name: _marked(getattr(tree, f.name), bool(f.metadata.get("per_client"))) for f in fields}
        return dataclasses.replace(tree, **marked)  # type: ignore[type-var]
    return jax.tree.map(lambda _: own, tree)


def lies_on_host(state: Any) -> bool:
    """Return whether the clients' rows of a state are on the host."""
    rows = rows_of(state)
    return bool(rows) and all(isinstance(x, np.ndarray) for x in rows)


def empty_rows(shapes: Sequence[Any], store: str | os.PathLike[str] | None) -> list[np.ndarray]:
    """Make uninitialised arrays of these shapes and dtypes on the host.

    Args:
      shapes: anything with ``shape`` and ``dtype``.
      store: a folder for memory-mapped files of the rows, which have no names and vanish with the process;
        ``None`` keeps them in memory.

    Raises:
      StorageError: the folder is full or cannot be written.
    """
    if store is None:
        return [aligned_empty(x.shape, x.dtype) for x in shapes]
    folder = Path(store)
    needed = sum(math.prod(x.shape) * np.dtype(x.dtype).itemsize for x in shapes)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < needed:  # checked before files fill the disk
            raise OSError("there is less room")
        return [_mapped(x, folder) for x in shapes]
    except OSError as error:
        got = f"{folder}: {error.strerror or error}"
        raise StorageError(f"store: expected a folder in which {needed:,} bytes can be written, got {got}") from error


def _mapped(like: Any, folder: Path) -> np.ndarray:
    kind, size = np.dtype(like.dtype), math.prod(like.shape)
    if not size:
        return aligned_empty(like.shape, kind)
    with tempfile.TemporaryFile(dir=folder) as file:  # without a name; the mapping stays valid after it is closed
        if hasattr(os, "posix_fallocate"):  # writing to a page for which the disk has no room would kill the process
            os.posix_fallocate(file.fileno(), 0, size * kind.itemsize)
        return np.memmap(file, kind, "r+" if hasattr(os, "posix_fallocate") else "w+", shape=like.shape)


def take(rows: Sequence[np.ndarray], ids: np.ndarray) -> list[np.ndarray]:
    """Copy the rows ``[n, ...]`` of clients ``ids [n]``."""
    taken = []
    for x in rows:
        out = aligned_empty((len(ids), *x.shape[1:]), x.dtype)
        np.take(x, ids, axis=0, out=out, mode="clip")  # other modes fill a buffer first
        taken.append(out)
    return taken


def put(rows: Sequence[np.ndarray], ids: np.ndarray, new: Sequence[Any], counted: np.ndarray) -> None:
    """Write the new rows ``[n, ...]`` of those clients ``ids [n]`` that ``counted [n]`` marks."""
    for x, renewed in zip(rows, new, strict=True):
        x[ids[counted]] = np.asarray(renewed)[counted]
