"""The clients' rows of a state: told apart from the rest, and kept on the host."""

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
    """The leaves of a state's fields that are marked ``per_client``, in flatten order."""
    return [x for x, own in zip(jax.tree.leaves(state), _own(state), strict=True) if own]


def with_rows(state: Any, rows: Sequence[Any]) -> Any:
    """The state with these in place of its per-client leaves."""
    leaves, tree = jax.tree.flatten(state)
    new = iter(rows)
    return jax.tree.unflatten(tree, [next(new) if own else x for x, own in zip(leaves, _own(state), strict=True)])


def map_rows(fn: Callable[[Any], Any], state: Any) -> Any:
    """The state with ``fn`` of each per-client leaf in its place."""
    return with_rows(state, [fn(x) for x in rows_of(state)])


def _own(state: Any) -> list[bool]:
    """For each leaf whether it is the clients'."""
    return jax.tree.leaves(_marked(state, False))


def _marked(tree: Any, own: bool) -> Any:
    if dataclasses.is_dataclass(tree) and not own:
        fields = dataclasses.fields(tree)
        marked = {f.name: _marked(getattr(tree, f.name), bool(f.metadata.get("per_client"))) for f in fields}
        return dataclasses.replace(tree, **marked)  # type: ignore[type-var]
    return jax.tree.map(lambda _: own, tree)


def lies_on_host(state: Any) -> bool:
    """Whether the clients' rows of a state are kept on the host."""
    rows = rows_of(state)
    return bool(rows) and all(isinstance(x, np.ndarray) for x in rows)


def empty_rows(shapes: Sequence[Any], store: str | os.PathLike[str] | None) -> list[np.ndarray]:
    """Arrays of these shapes and dtypes on the host, not filled yet.

    Args:
      shapes: anything with ``shape`` and ``dtype``.
      store: a folder where they are kept as memory-mapped files, which nobody else sees and which go with the process;
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
        if shutil.disk_usage(folder).free < needed:  # before files are made that would fill it
            raise OSError("there is less room")
        return [_mapped(x, folder) for x in shapes]
    except OSError as error:
        got = f"{folder}: {error.strerror or error}"
        raise StorageError(f"store: expected a folder in which {needed:,} bytes can be written, got {got}") from error


def _mapped(like: Any, folder: Path) -> np.ndarray:
    kind, size = np.dtype(like.dtype), math.prod(like.shape)
    if not size:
        return aligned_empty(like.shape, kind)
    with tempfile.TemporaryFile(dir=folder) as file:  # it has no name: what is mapped stays until it is let go
        if hasattr(os, "posix_fallocate"):  # a page of a file that the disk has no room for would kill the process
            os.posix_fallocate(file.fileno(), 0, size * kind.itemsize)
        return np.memmap(file, kind, "r+" if hasattr(os, "posix_fallocate") else "w+", shape=like.shape)


def take(rows: Sequence[np.ndarray], ids: np.ndarray) -> list[np.ndarray]:
    """Copies ``[n, ...]`` of the rows of clients ``ids [n]``."""
    taken = []
    for x in rows:
        out = aligned_empty((len(ids), *x.shape[1:]), x.dtype)
        np.take(x, ids, axis=0, out=out, mode="clip")  # another mode would fill a buffer first
        taken.append(out)
    return taken


def put(rows: Sequence[np.ndarray], ids: np.ndarray, new: Sequence[Any], counted: np.ndarray) -> None:
    """Write the new rows ``[n, ...]`` of clients ``ids [n]`` that are counted ``[n]`` in their places."""
    for x, renewed in zip(rows, new, strict=True):
        x[ids[counted]] = np.asarray(renewed)[counted]
