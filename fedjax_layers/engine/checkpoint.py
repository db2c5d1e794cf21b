"""Checkpoints of a run, saved with Orbax between intervals and restored to continue it."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import tempfile
import warnings
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fedjax_layers.ops.checks import leaf_path
from fedjax_layers.storage import storing

_PATTERN = set("[]*?")  # the special characters of glob patterns
_COMPLETE = "_CHECKPOINT_METADATA"  # what Orbax writes into a checkpoint last


def saved_rounds(folder: Path) -> int:
    """Read the rounds done at the newest complete checkpoint from the files' names; 0 without one."""
    entries = folder.iterdir() if folder.is_dir() else ()
    return max((int(e.name) for e in entries if e.name.isdecimal() and (e / _COMPLETE).is_file()), default=0)


class Checkpoints:
    """The checkpoints of one run: the whole state, named by the rounds done, up to which records are kept.

    Saves are atomic and asynchronous. With each checkpoint there are the checksums (CRC-32) of the leaves. A thread
    reads each one back when it is written; only if the checksums are right are older ones deleted, except the newest
    ``keep``. Random keys are not saved, since they follow from the run's seed, the round and the client.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        import orbax.checkpoint as ocp  # noqa: PLC0415  (slow to import)

        self._ocp, self._folder, self._keep = ocp, Path(folder), keep
        self._thread = ThreadPoolExecutor(1, "checkpoint")  # uses the manager while nobody else does
        self._verified: Future[None] | None = None
        options = ocp.CheckpointManagerOptions(create=True)
        # A new manager needs explicit handlers to read what an earlier process saved.
        handlers = {"state": ocp.StandardCheckpointHandler(), "checksums": ocp.JsonCheckpointHandler()}
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
        """Copy the state off the device, then write it and read it back in the background.

        Raises:
          StorageError: this save, or the one before, could not be written.
        """
        named, save = _named(state), self._ocp.args
        checksums = _checksums(named)
        args = save.Composite(state=save.StandardSave(named), checksums=save.JsonSave(checksums))
        like = {name: np.broadcast_to(np.zeros((), x.dtype), x.shape) for name, x in named.items()}
        with self._storing():
            self._wait()
            _check_room(self._folder, state)
            self._manager.save(rounds_done, args=args)
            if any(isinstance(x, np.ndarray) for x in jax.tree.leaves(state)):  # the next round changes these in place
                self._manager.wait_until_finished()
        self._verified = self._thread.submit(self._verify, rounds_done, like, checksums)

    def _verify(self, step: int, like: dict[str, Any], checksums: dict[str, int]) -> None:
        """Read a checkpoint back; then delete old ones, or set it aside if it is not what was saved."""
        self._manager.wait_until_finished()
        try:
            self._read(step, like, checksums)
        except MemoryError:  # says nothing of the file
            return
        except Exception as error:  # as in :meth:`restore`
            _forget_unread()
            told = str(error).partition("\n")[0] or type(error).__name__
            self._set_aside({step: told}, "the one before is kept")
            return
        for old in sorted(self._manager.all_steps())[: -self._keep]:
            self._manager.delete(old)

    def _wait(self) -> None:
        """Wait until the last save is written and verified."""
        if self._verified is not None:
            self._verified.result()
            self._verified = None
        self._manager.wait_until_finished()

    def restore(self, like: Any) -> tuple[int, Any] | None:
        """Load the newest undamaged checkpoint: the rounds done and the state; ``None`` if there are no checkpoints.

        A damaged one is moved to ``damaged/`` beside the checkpoints, with a warning that says which one is taken.

        Args:
          like: a state of the same run (arrays or shapes), which gives structure, dtypes and shardings. NumPy arrays in
            it are filled in place and returned.

        Raises:
          ValueError: the saved state has other leaves (the first path that differs is named), or all are damaged.
        """
        self._wait()  # a save of this process may still be in progress
        failures: dict[int, str] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                state = self._load(step, like)
            except MemoryError:
                raise
            except Exception as error:  # a damaged file may raise anything in Orbax and below
                failures[step] = str(error).partition("\n")[0] or type(error).__name__
            if step in failures:
                _forget_unread()
                continue
            self._set_aside(failures, f"continuing from round {step}")
            return int(step), state
        if failures:
            newest = failures[max(failures)]
            damaged = f"checkpoint: expected an undamaged one in {self._folder}, found none: {newest}"
            raise ValueError(newest if newest.startswith("checkpoint: ") else damaged)
        return None

    def _load(self, step: int, like: Any) -> Any:
        named = _named(like)
        abstract = jax.tree.map(self._ocp.utils.to_shape_dtype_struct, named)
        saved = self._manager.item_metadata(step)["state"]
        _check_same(dict(saved.tree if hasattr(saved, "tree") else saved), abstract)
        found = self._read(step, abstract)
        leaves = [_filled(old, found.pop(name)) for name, old in named.items()]
        return jax.tree.unflatten(jax.tree.structure(like), leaves)

    def _read(self, step: int, like: dict[str, Any], checksums: dict[str, int] | None = None) -> dict[str, Any]:
        """Read the leaves of a checkpoint; raise ``ValueError`` unless they and ``checksums`` are what was stored."""
        load = self._ocp.args
        args = load.Composite(state=load.StandardRestore(like), checksums=load.JsonRestore())
        found = self._manager.restore(step, args=args)
        if _checksums(found["state"]) != found["checksums"] or checksums not in (None, found["checksums"]):
            raise ValueError("other checksums than when it was saved")
        state: dict[str, Any] = found["state"]
        return state

    def _set_aside(self, failures: dict[int, str], then: str) -> None:
        for step, told in failures.items():
            place = self._folder.parent / "damaged" / str(step)
            shutil.rmtree(place, ignore_errors=True)
            place.parent.mkdir(exist_ok=True)
            shutil.move(self._folder / str(step), place)
            warnings.warn(
                f"the checkpoint of round {step} is damaged ({told}), it is now {place}; {then}", stacklevel=3
            )
        if failures:
            self._manager.reload()

    def close(self) -> None:
        """Wait until the last checkpoint is on disk and verified.

        Raises:
          StorageError: it could not be written.
        """
        try:
            with self._storing():
                self._wait()
        finally:
            self._thread.shutdown()
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


def _forget_unread() -> None:
    """Collect what a read that failed has left in Orbax, whose unawaited coroutines would warn at any later time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        gc.collect()


def _checksums(named: dict[str, Any]) -> dict[str, int]:
    """Compute the CRC-32 of each leaf's bytes, which finds any single flipped bit."""
    return {name: zlib.crc32(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data) for name, x in named.items()}


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
