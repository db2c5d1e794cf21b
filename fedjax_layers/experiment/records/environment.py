"""The environment of a run: versions, commit and devices."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("fedjax-layers", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "orbax-checkpoint")
SETTINGS = ("default_prng_impl", "threefry_partitionable", "enable_x64", "default_matmul_precision")


def environment() -> dict[str, Any]:
    """Describe the environment: versions, commit, platform, devices, and JAX's settings of random numbers."""
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


def _compilation_cache() -> str | None:
    """Return the folder in which JAX keeps compiled programs; ``None`` where it keeps none."""
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
    """Return the commit of the checkout that tracks ``file``, and whether tracked files differ; else ``None`` twice."""

    def git(*command: str) -> str:
        # Without optional locks, `git status` writes nothing into the checkout.
        line = ["git", "--no-optional-locks", "-C", str(file.parent), *command]
        return subprocess.run(line, capture_output=True, check=True, timeout=10).stdout.decode().strip()

    try:
        git("ls-files", "--error-unmatch", file.name)  # fails if an installed copy lies in another project's checkout
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None
