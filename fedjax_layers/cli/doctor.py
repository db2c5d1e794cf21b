"""``fedjax-layers doctor``: check the machine by running a round, or whether a run fits into its memory."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from fedjax_layers import data
from fedjax_layers.cli.arguments import config_of
from fedjax_layers.cli.compilation_cache import use_compilation_cache
from fedjax_layers.cli.given import refuse_unused
from fedjax_layers.cli.run import usage_errors
from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.memory.forecast import parts
from fedjax_layers.engine.memory.process import free_memory
from fedjax_layers.engine.run_loop import run_intervals, start_state
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.environment import environment
from fedjax_layers.experiment.setup.attack import corrupted
from fedjax_layers.experiment.setup.design import make_design
from fedjax_layers.experiment.setup.early import check_early
from fedjax_layers.experiment.setup.foreseen import foreseen, outlined, refuse_too_large
from fedjax_layers.experiment.setup.prepare import load_clients, prepare
from fedjax_layers.host_memory import spoken


def command(options: argparse.Namespace) -> int:
    """Print versions, devices and data, and run one round; or forecast the memory of the run whose flags are given.

    Returns:
      The exit code, 0 if the round ran, or the run fits.
    """
    console = options.status.console
    config = _config_of_flags(options)
    use_compilation_cache(None)  # as in a run
    about = environment() | {"data_folder": os.environ.get(data.DATA_DIR_VARIABLE)}
    _tell_environment(console, about)
    if config is not None:
        about["memory"] = _tell_memory(options, config)
    else:
        start = time.perf_counter()
        experiment = prepare(RunConfig(rounds=1, client_width="all"), say=options.status.say)
        options.status.say("compiling and running one round")
        state = start_state(experiment.builder, experiment.plan, experiment.inputs)
        for done, *_ in run_intervals(experiment.builder, experiment.plan, experiment.inputs, state, History(), 1):
            about["seconds_of_one_round"] = seconds = time.perf_counter() - start
            console.print(f"{'one round of PLayer-FL':24} ran ({done} of 1) in {seconds:.1f} s with compilation")
    options.status.print_result(about)
    return 0 if jax.devices() else 1


def _tell_environment(console: Console, about: Mapping[str, Any]) -> None:
    for name, version in about["versions"].items():
        console.print(f"{name:24} {version or 'not installed'}")
    devices = about["devices"]
    console.print(f"{'devices':24} {devices['count']} × {', '.join(devices['kinds'])} ({devices['backend']})")
    console.print(f"{'random numbers':24} {about['jax_settings']}")
    folder = about["data_folder"]
    where = f"{folder}{'' if folder and Path(folder).is_dir() else ' (no such folder)'}" if folder else "not set"
    console.print(f"{data.DATA_DIR_VARIABLE:24} {where}", soft_wrap=True)
    console.print(f"{'compiled programs':24} {about['compilation_cache'] or 'not kept'}", soft_wrap=True)


def _config_of_flags(options: argparse.Namespace) -> RunConfig | None:
    """Make the config of the run whose flags are given; ``None`` if none are."""
    if not options.unknown and not options.given - {"command", "json"}:
        return None
    config = config_of(options, options.algorithm)
    refuse_unused(options, [config])
    with usage_errors():
        check_early(config, options.data_dir)
    return config


def _tell_memory(options: argparse.Namespace, config: RunConfig) -> dict[str, Any]:
    """Print the memory that the run would take, and return it in bytes; or raise the error of a run that cannot fit."""
    with usage_errors():
        found = outlined(config)
        if found is None:
            options.status.say(f"loading {config.dataset}")
            clients = corrupted(config, load_clients(config, options.data_dir))
            found = foreseen(config, make_design(config, clients), loaded=True)
        free = free_memory()
        rows = {"memory": f"{spoken(found.total)} for {config.algorithm} on {config.dataset}"} | parts(found)
        rows |= {"free": "not told" if free is None else spoken(free + found.held)}
        for name, size in rows.items():
            options.status.console.print(f"{name:24} {size}", soft_wrap=True)
        refuse_too_large(found)
    return {"bytes": found.total, "free_bytes": None if free is None else free + found.held}
