"""The memory of this process and its devices: what is free now, and the peak."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import jax

from fedjax_layers.host_memory import free_host_memory


def free_memory() -> int | None:
    """Return the free bytes of one accelerator, or on a CPU those of the host; ``None`` if not known."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    return free_host_memory()


def peak_memory() -> dict[str, int | None]:
    """Return the peak memory of this process: ``host`` bytes, and ``device`` bytes (``None`` if not known).

    ``device`` sums the local devices' peaks; a CPU has none. Both count from the start of the process, so that a run is
    measured alone only in a process of its own.
    """
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    peaks = [int(one["peak_bytes_in_use"]) for one in stats if "peak_bytes_in_use" in one]
    return {"host": _host_peak(), "device": sum(peaks) if peaks else None}


def peak_memory_bytes() -> int:
    """Return the larger of the two numbers of :func:`peak_memory`."""
    return max(value for value in peak_memory().values() if value is not None)


def _host_peak() -> int:
    """Return the peak resident bytes; on Linux not by ``ru_maxrss``, which starts at the parent process's peak."""
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
