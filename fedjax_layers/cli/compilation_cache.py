"""JAX's persistent compilation cache, which keeps compiled programs from one process to the next."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import jax

from fedjax_layers.data.tables.cache import cache_dir

_LEAST_SECONDS = 0.2  # of compiling, below which a program is not saved
_MOST_BYTES = 2 * 2**30  # size of the default folder, beyond which the oldest programs are deleted
_LEAST_SECONDS_VARIABLE = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


def use_compilation_cache(where: str | None) -> None:
    """Switch on JAX's cache of compiled programs on disk, before the first one is compiled.

    Args:
      where: a folder; ``"off"``; or ``None`` for a folder of this user and machine, unless JAX's own environment
        variables decide.

    Raises:
      ValueError: the folder cannot be made or written.
    """
    if where == "off":
        jax.config.update("jax_enable_compilation_cache", False)
        return
    told, enabled = (
        getattr(jax.config, f"jax_{name}") for name in ("compilation_cache_dir", "enable_compilation_cache")
    )
    if where is None and (told or not enabled):
        return
    folder = _usual_folder() if where is None else Path(where).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # its files are executed: only the user may write there
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if not writable:
        if where is None:  # the user has not asked for the cache
            return
        raise ValueError(f"--compilation-cache: expected off or a folder that can be written, got {where}")
    if where is None:
        _prune(folder)
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", str(folder.absolute()))
    if _LEAST_SECONDS_VARIABLE not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)


def _usual_folder() -> Path:
    """Return a folder for this kind of processor, since different machines may share a home folder."""
    about = [platform.machine(), platform.processor()]
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        about += sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    return cache_dir() / "compiled" / hashlib.sha256("\n".join(about).encode()).hexdigest()[:12]


def _prune(folder: Path) -> None:
    """Delete the oldest files of a folder that has grown too large, down to half of its limit."""
    files = sorted(_files(folder))
    total = sum(size for _, size, _ in files)
    if total <= _MOST_BYTES:
        return
    for _, size, path in files:
        if total <= _MOST_BYTES // 2:
            break
        with contextlib.suppress(OSError):
            path.unlink()
        total -= size


def _files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process may have deleted the file
            about = path.stat()
            yield about.st_mtime, about.st_size, path
