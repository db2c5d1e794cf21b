"""Runs of the same data share them, and what no run holds is let go of before more is loaded."""

import dataclasses
import gc
import weakref

from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.setup import shared_data
from fedjax_layers.experiment.setup.prepare import prepare
from fedjax_layers.experiment.setup.shared_data import SharedData
from fedjax_layers.sweeps.config_sweep import check_runs
from fedjax_layers.sweeps.configs import SweptRun
from fedjax_layers.sweeps.request import Stopping

CONFIG = RunConfig(algorithm="fedavg", dataset="digits", clients=3, rounds=1, client_width="all", model="mlp")


def other(**changes):
    return dataclasses.replace(CONFIG, **changes)


def test_the_same_data_are_loaded_once():
    said = []
    shared = SharedData(None, said.append)
    first = shared.of(CONFIG)
    assert shared.of(other(algorithm="local", learning_rate=0.3, seed=1, partition_seed=0)) is first
    assert shared.of(other(seed=1)) is not first
    assert shared.of(CONFIG) is first, "somebody holds them"
    assert said == ["loading digits, seed 0", "loading digits, seed 1"]


def test_data_that_nobody_holds_are_gone_before_others_are_loaded(monkeypatch):
    shared, alive = SharedData(None), []
    gone = weakref.ref(shared.of(CONFIG))
    real = shared_data.load_clients
    gc.disable()  # nothing waits for the collector
    monkeypatch.setattr(shared_data, "load_clients", lambda *a: alive.append(gone()) or real(*a))
    try:
        shared.of(other(seed=1))
    finally:
        gc.enable()
    assert alive == [None]


def test_a_run_takes_the_shared_data_and_a_sweep_is_checked_with_one_set(monkeypatch):
    shared = SharedData(None)
    held = prepare(CONFIG, shared=shared).data
    assert held is shared.of(CONFIG)
    loads = []
    real = shared_data.load_clients
    monkeypatch.setattr(shared_data, "load_clients", lambda *a: loads.append(a) or real(*a))
    configs = [other(batch_size=size) for size in (8, 16, 32)]  # three programs
    runs = [SweptRun(i, {"batch_size": c.batch_size}, 0, c) for i, c in enumerate(configs)]
    check_runs(runs, Stopping(), None)
    assert len(loads) == 1
