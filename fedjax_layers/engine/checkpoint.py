"""Checkpoints of a run, saved with Orbax between intervals and restored to continue it."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fedjax_layers.ops.checks import leaf_path
from fedjax_layers.storage import storing

_PATTERN = set("[]*?")  # the special characters of glob patterns


def saved_rounds(folder: Path) -> int:
    """Read the rounds done at the newest checkpoint from the files' names; 0 without one."""
    steps = [int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal()] if folder.is_dir() else []
    return max(steps, default=0)


class Checkpoints:
    """The checkpoints of one run: the whole state, named by the rounds done, up to which records are kept.

    Saves are atomic and asynchronous; the newest ``keep`` are kept. Random keys are not saved, since they follow from
    the run's seed, the round and the client.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        import orbax.checkpoint as ocp  # noqa: PLC0415  (slow to import)

        self._ocp, self._folder = ocp, Path(folder)
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        # A new manager needs explicit handlers to read what an earlier process saved.
        handlers = {"state": ocp.StandardCheckpointHandler()}
        self._alias: tempfile.TemporaryDirectory[str] | None = None
        with self._storing():
            self._manager = ocp.CheckpointManager(self._plain(Path(folder)), options=options, item_handlers=handlers)

    def _plain(self, folder: Path) -> Path:
        """Return the folder, or a link to it if Orbax would read its path as a pattern and lose checkpoints."""
        path = folder.absolute()
        if not set(str(path)) & _PATTERN:
            return path
        path.mkdir(parents=True, exist_ok=True)
        self._alias = tempfile.TemporaryDirectory(prefix="fedjax_layers-", ignore_cleanup_errors=True)
        link = Path(self._alias.name) / "checkpoints"
        link.symlink_to(path, target_is_directory=True)
        return link

    def save(self, rounds_done: int, state: Any) -> None:
        """Copy the state off the device, then write it in the background.

        Raises:
          StorageError: this save, or the one before, could not be written.
        """
        args = self._ocp.args.Composite(state=self._ocp.args.StandardSave(_named(state)))
        with self._storing():
            _check_room(self._folder, state)
            self._manager.save(rounds_done, args=args)
            if any(isinstance(x, np.ndarray) for x in jax.tree.leaves(state)):  # the next round changes these in place
                self._manager.wait_until_finished()

    def restore(self, like: Any) -> tuple[int, Any] | None:
        """Load the newest checkpoint: the rounds done and the state; ``None`` if there is none.

        Args:
          like: a state of the same run (arrays or shapes), which gives structure, dtypes and shardings. NumPy arrays in
            it are filled in place and returned.

        Raises:
          ValueError: the saved state has other leaves; the first path that differs is named.
        """
        self._manager.wait_until_finished()  # a save of this process may still be in progress
        step = self._manager.latest_step()
        if step is None:
            return None
        abstract = jax.tree.map(self._ocp.utils.to_shape_dtype_struct, _named(like))
        saved = self._manager.item_metadata(step)["state"]
        _check_same(dict(saved.tree if hasattr(saved, "tree") else saved), abstract)
        args = self._ocp.args.Composite(state=self._ocp.args.StandardRestore(abstract))
        restored = self._manager.restore(step, args=args)
        leaves = [_filled(old, restored["state"].pop(name)) for name, old in _named(like).items()]
        return int(step), jax.tree.unflatten(jax.tree.structure(like), leaves)

    def close(self) -> None:
        """Wait until the last checkpoint is on disk.

        Raises:
          StorageError: it could not be written.
        """
        with self._storing():
            self._manager.wait_until_finished()
        self._manager.close()
        if self._alias is not None:
            self._alias.cleanup()

    def _storing(self) -> AbstractContextManager[None]:
        return storing(self._folder, (OSError, ValueError, RuntimeError))  # all of which Orbax's writer may raise


def _filled(old: Any, new: Any) -> Any:
    """Return the new array; if the old one is a NumPy array, copy the new values into it and return it."""
    if not isinstance(old, np.ndarray):
        return new
    old[...] = np.asarray(new)
    return old


def _check_room(folder: Path, state: Any) -> None:
    """Raise ``OSError`` if the disk is too full, before Orbax starts threads, whose errors would fill the screen."""
    needed, free = sum(x.nbytes for x in jax.tree.leaves(state)), shutil.disk_usage(folder).free
    if free < needed:
        words = os.strerror(errno.ENOSPC)
        raise OSError(errno.ENOSPC, f"{words}, {needed:,} bytes are needed and {free:,} are free")


def _named(state: Any) -> dict[str, Any]:
    """Return the leaves by path, so that Orbax need not know the state's classes."""
    return {leaf_path(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]}


def _check_same(saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name in (*wanted, *saved):
        if name not in saved or name not in wanted:
            raise ValueError(f"checkpoint: expected the leaf {name!r} in both run and save, found it in one")
        if tuple(saved[name].shape) != tuple(wanted[name].shape):
            found, expected = tuple(saved[name].shape), tuple(wanted[name].shape)
            raise ValueError(f"checkpoint: expected shape {expected} at {name!r}, found {found}")
