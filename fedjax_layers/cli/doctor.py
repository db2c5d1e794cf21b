"""``fedjax-layers doctor``: what this machine has, and whether a round runs on it."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import jax

from fedjax_layers import data
from fedjax_layers.simulation.config import RunConfig
from fedjax_layers.simulation.environment import environment
from fedjax_layers.simulation.history import History
from fedjax_layers.simulation.setup import prepare
from fedjax_layers.simulation.simulate import run_periods, start_state


def command(options: argparse.Namespace) -> int:
    """Print versions, devices and data, and run one round; returns 0 if it ran."""
    console = options.status.console
    about = environment()
    for name, version in about["versions"].items():
        console.print(f"{name:24} {version or 'not installed'}")
    devices = about["devices"]
    console.print(f"{'devices':24} {devices['count']} × {', '.join(devices['kinds'])} ({devices['backend']})")
    console.print(f"{'random numbers':24} {about['jax_settings']}")
    folder = os.environ.get(data.DATA_DIR_VARIABLE)
    where = f"{folder}{'' if folder and Path(folder).is_dir() else ' (no such folder)'}" if folder else "not set"
    console.print(f"{data.DATA_DIR_VARIABLE:24} {where}", soft_wrap=True)
    console.print(f"{'compiled programs':24} {about['compilation_cache'] or 'not kept'}", soft_wrap=True)
    start = time.perf_counter()
    experiment = prepare(RunConfig(rounds=1, client_width="all"), say=options.status.say)
    options.status.say("compiling and running one round")
    state = start_state(experiment.builder, experiment.plan, experiment.inputs)
    for done, *_ in run_periods(experiment.builder, experiment.plan, experiment.inputs, state, History(), 1):
        seconds = time.perf_counter() - start
        console.print(f"{'one round of PLayer-FL':24} ran ({done} of 1) in {seconds:.1f} s with compilation")
    return 0 if jax.devices() else 1
