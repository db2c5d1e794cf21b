"""What a run stands on: versions, commit, devices, and the most memory that its process has held."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

from fedjax_layers.memory import free_host_memory

PACKAGES = ("fedjax-layers", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "orbax-checkpoint")
SETTINGS = ("default_prng_impl", "threefry_partitionable", "enable_x64", "default_matmul_precision")


def environment() -> dict[str, Any]:
    """Describe what a run stands on: versions, commit, platform, devices, and how random numbers are made."""
    commit, modified = _git_commit(Path(__file__))
    devices = jax.devices()
    return {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "commit": commit,
        "commit_modified": modified,
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "devices": {
            "backend": jax.default_backend(),
            "count": len(devices),
            "kinds": sorted({device.device_kind for device in devices}),
            "processes": jax.process_count(),
        },
        "compilation_cache": _compilation_cache(),
        "jax_settings": {name: getattr(jax.config, f"jax_{name}") for name in SETTINGS},
    }


def free_memory() -> int | None:
    """Bytes that are free now, of one accelerator, or on a CPU of the host; ``None`` if nobody tells."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    return free_host_memory()


def peak_memory() -> dict[str, int | None]:
    """Most memory this process has held so far: ``host`` bytes, and ``device`` bytes (``None`` if not told).

    ``device`` sums the local devices' peaks; a CPU tells none. Both count from the start of the process, so
    that a run is measured alone only in a process of its own.
    """
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    peaks = [int(one["peak_bytes_in_use"]) for one in stats if "peak_bytes_in_use" in one]
    return {"host": _host_peak(), "device": sum(peaks) if peaks else None}


def peak_memory_bytes() -> int:
    """The larger of the two numbers of :func:`peak_memory`."""
    return max(value for value in peak_memory().values() if value is not None)


def _compilation_cache() -> str | None:
    """The folder in which JAX keeps compiled programs; ``None`` where it keeps none."""
    enabled, folder = (
        getattr(jax.config, f"jax_{name}") for name in ("enable_compilation_cache", "compilation_cache_dir")
    )
    return folder if enabled else None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit(file: Path) -> tuple[str | None, bool | None]:
    """Commit of the checkout that tracks ``file``, and whether tracked files differ; else ``None`` twice."""

    def git(*command: str) -> str:
        # Without optional locks, asking for the status writes nothing into the checkout.
        line = ["git", "--no-optional-locks", "-C", str(file.parent), *command]
        return subprocess.run(line, capture_output=True, check=True, timeout=10).stdout.decode().strip()

    try:
        git("ls-files", "--error-unmatch", file.name)  # an installed copy may lie in somebody else's checkout
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _host_peak() -> int:
    """Peak resident bytes. On Linux not by ``ru_maxrss``, which begins at the peak of the parent process."""
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
