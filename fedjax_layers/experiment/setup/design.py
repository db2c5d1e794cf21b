"""The parts of a run on its data, made and checked against each other before anything is on a device."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from fedjax_layers import algorithms, data
from fedjax_layers.clients import Setting
from fedjax_layers.data.changes.drift import Phase, drift_phases
from fedjax_layers.engine.on_host.check import check_rows
from fedjax_layers.engine.sampling import Sampling, all_clients, by_size, fixed, uniform
from fedjax_layers.experiment.config.aggregation_fields import check_bad, static_rule, traced_settings
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.config.traced import traced_numbers
from fedjax_layers.experiment.privacy import refuse_without_privacy
from fedjax_layers.experiment.setup.attack import collusion_of, poison_of, traced_attack
from fedjax_layers.experiment.setup.builder import Builder, sorted_items
from fedjax_layers.experiment.setup.early import check_early
from fedjax_layers.experiment.setup.tasks import make_task
from fedjax_layers.experiment.setup.teams import count_teams, run_teams
from fedjax_layers.ops.poison import Poison
from fedjax_layers.options import options_of
from fedjax_layers.types import Task

_MOST_PLACES = 2**27  # largest size of one client's shuffled orders in a round: half a gigabyte


class Design(NamedTuple):
    """The parts of a run, before anything is on a device."""

    task: Task
    phases: list[Phase]
    sampling: Sampling
    builder: Builder
    hyper: dict[str, Any]
    setting: Setting


def make_design(config: RunConfig, clients: data.ClientData, counts: Collection[str] = ()) -> Design:
    """Make and check the run's parts, on data to which an attack has been applied already."""
    _check_patience(config, clients)
    task = make_task(config, clients)
    check_layers(config, task)
    phases = make_phases(config, clients)
    sampling = make_sampling(config, clients)
    num_teams = count_teams(config, clients)
    poison = poison_of(config, task.layers)
    hyper = traced_inputs(config, clients, counts)
    check_bad(config, sampling.size, hyper.get("team_of"))
    builder = make_builder(config, set(hyper["options"]), num_teams, poison)
    setting = make_setting(config, task, phases)
    algorithm = builder(hyper).bind(setting)  # raises for a wrong option value, before any work
    check_rows(config.on_host, algorithm, config.algorithm)
    refuse_without_privacy(config, task, algorithm, clients, sampling.size)
    return Design(task, phases, sampling, builder, hyper, setting)


def traced_inputs(config: RunConfig, clients: data.ClientData, counts: Collection[str]) -> dict[str, Any]:
    """Make the builder's inputs in a run: traced numbers, teams that need no training, and the bad clients."""
    hyper = traced_numbers(config, counts)
    num_teams = count_teams(config, clients)
    if num_teams is not None and config.team_formation != "by_updates":
        hyper["team_of"] = run_teams(config, clients, num_teams)
    if config.aggregate is not None:
        hyper["aggregate"] = traced_settings(config)
    return hyper | traced_attack(config, clients)


def deciding_sizes(clients: data.ClientData) -> np.ndarray:
    """Return the clients' numbers of training examples ``[C]``, 0 for those that never take part, as weights."""
    return np.where(clients.unseen, 0, clients.sizes["train"])


def _check_patience(config: RunConfig, clients: data.ClientData) -> None:
    if config.patience is not None and not (clients.sizes["val"] * deciding_sizes(clients)).any():
        raise ValueError(f"patience: expected clients with validation examples, got none with {config.patience}")


def check_layers(config: RunConfig, task: Task) -> None:
    """Raise ``ValueError`` for an option that counts more layers than the model has."""
    for name, option in options_of(algorithms.registry[config.algorithm]).items():
        option.check_layers(config.algorithm_options.get(name), task.layers.num_layers, f"option {name}")


def make_phases(config: RunConfig, clients: data.ClientData) -> list[Phase]:
    """Make the phases of the config's data, which may change during its rounds.

    Raises:
      ValueError: a change makes no sense, or comes after the last round.
    """
    check_early(config)
    return drift_phases(clients, config.drift, config.seed)


def make_sampling(config: RunConfig, clients: data.ClientData) -> Sampling:
    """Make the config's cohort rule over the clients that train."""
    total = clients.num_clients
    seen = np.flatnonzero(~clients.unseen) if clients.unseen.any() else None
    if config.cohort is None or config.cohort == (total if seen is None else len(seen)):
        return all_clients(total) if seen is None else fixed(seen, total)
    return {"uniform": uniform, "by_size": by_size}[config.sampling](config.cohort, total, seen)


def make_setting(config: RunConfig, task: Task, phases: Sequence[Phase]) -> Setting:
    """Make the setting of local training, with a client axis on one device for now."""
    counts = np.stack([phase.data.sizes["train"] for phase in phases])
    largest = int(counts.max())
    _check_epochs(config, largest)
    return Setting(task, counts.shape[1], max(largest, 1), uniform=bool((counts == largest).all()))


def make_builder(
    config: RunConfig,
    traced: set[str],
    num_teams: int | None = None,
    poison: tuple[Poison, tuple[bool, ...]] | None = None,
) -> Builder:
    """Make the static part of the algorithm; floats among its options, and the clients' teams, are traced instead."""
    work = {
        "batch_size": config.batch_size,
        "epochs": config.epochs,
        "steps": config.steps,
        "min_batch": config.min_batch,
        "keep_optimizer": config.keep_optimizer,
    }
    static = {k: v for k, v in config.algorithm_options.items() if k not in traced}
    if num_teams is not None:
        static["num_teams"] = num_teams
    fields = (sorted_items(static), config.optimizer, config.server_optimizer, sorted_items(work), poison)
    return Builder(
        config.algorithm,
        *fields,
        config.fault_kinds,
        config.nonfinite == "keep",
        aggregate=static_rule(config),
        collusion=collusion_of(config),
        privacy=config.privacy_kind,
    )


def _check_epochs(config: RunConfig, largest: int) -> None:
    """Raise ``ValueError`` for more epochs than there is room for in shuffled orders of ``largest`` examples."""
    most = _MOST_PLACES // max(largest, 1)
    if config.epochs is not None and np.max(config.epochs) > most:
        raise ValueError(f"epochs: expected at most {most} for clients of {largest} examples, got {config.epochs}")
