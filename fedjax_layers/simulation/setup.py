"""From a config to the objects of a run: data, task, algorithm, cohorts, client axis."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers import data
from fedjax_layers.data.drift import Phase, schedule
from fedjax_layers.ops.poison import POISONS, Poison
from fedjax_layers.simulation.announce import Say, say_nothing
from fedjax_layers.simulation.attack import bad_clients, corrupted, poison_of
from fedjax_layers.simulation.builder import Builder, sorted_items
from fedjax_layers.simulation.config import RunConfig
from fedjax_layers.simulation.early import check_early
from fedjax_layers.simulation.environment import free_memory
from fedjax_layers.simulation.federation import federation
from fedjax_layers.simulation.initial import make_start
from fedjax_layers.simulation.periods import Inputs, cohort_of, common_start
from fedjax_layers.simulation.plan import Plan, rounds_per_period
from fedjax_layers.simulation.probe import AxisChoice, choose_axis, pinned_axis, recorded_axis
from fedjax_layers.simulation.remembered import axis_key, recall_axis, remember_axis
from fedjax_layers.simulation.sampling import Sampling, by_size, everyone, fixed, uniform
from fedjax_layers.simulation.sharding import replicate
from fedjax_layers.simulation.simulate import make_inputs
from fedjax_layers.simulation.tasks import make_task
from fedjax_layers.simulation.team_formation import count_teams, local_updates, run_teams
from fedjax_layers.simulation.traced import traced_numbers
from fedjax_layers.types import Task

_MOST_PLACES = 2**27  # of one client's shuffled orders in a round: half a gigabyte
_COUNTS_LAYERS = ("personal_layers", "head_layers", "fixed_cut")


class Experiment(NamedTuple):
    """A run that is ready to start."""

    config: RunConfig
    data: data.ClientData
    builder: Builder
    plan: Plan
    inputs: Inputs
    axis: AxisChoice

    @property
    def team_of(self) -> np.ndarray | None:
        """Each client's team ``[C]``; ``None`` for an algorithm without teams."""
        return np.asarray(self.inputs.hyper["team_of"]) if "team_of" in self.inputs.hyper else None


def prepare(
    config: RunConfig,
    data_dir: str | None = None,
    axis: AxisChoice | None = None,
    *,
    counts: Collection[str] = (),
    runs: int = 1,
    say: Say = say_nothing,
) -> Experiment:
    """Load the data, build the model, choose the client axis.

    Args:
      config: the run.
      data_dir: folder of the data files; the environment's, else TFDS's own.
      axis: a choice already made, of a run that is resumed or compared.
      counts: whole numbers among the algorithm's options that are traced too, some of
        :func:`fedjax_layers.simulation.traced.traceable_counts`.
      runs: how many will use the client axis that is chosen: for more of them it may be measured longer.
      say: told what begins: loading, building, measuring.

    Raises:
      ValueError: a name, option or number that does not fit the data or the model.
      FileNotFoundError: data files are missing.
    """
    check_early(config, data_dir)
    say(f"loading {config.dataset}")
    return assemble(config, load_clients(config, data_dir), axis, counts=counts, runs=runs, say=say)


def assemble(
    config: RunConfig,
    clients: data.ClientData,
    axis: AxisChoice | None = None,
    *,
    counts: Collection[str] = (),
    runs: int = 1,
    say: Say = say_nothing,
) -> Experiment:
    """The config's run on data that are loaded already; see :func:`prepare`."""
    say("building the model")
    clients = corrupted(config, clients)
    design = _design(config, clients, counts)
    task, builder = design.task, design.builder
    weights = np.ones(clients.num_clients) if config.weighting == "uniform" else None
    source, sampling = federation(design.phases), design.sampling
    inputs = make_inputs(source, hyper=design.hyper, seed=config.seed, sampling=sampling, weights=weights)
    inputs = inputs._replace(start=make_start(config, task))
    if axis is None:
        axis = pick_axis(config, builder, inputs, say, runs=runs)
    moments = ("trained", "served") if config.moments == "both" else (config.moments,)
    plan = Plan(task, rounds_per_period(config.eval_every, config.rounds), axis.axis, moments)
    experiment = Experiment(config, clients, builder.on(axis.axis), plan, replicate(inputs, axis.axis), axis)
    return _with_learnt_teams(experiment)


class _Design(NamedTuple):
    """What a run is made of, before anything is on a device."""

    task: Task
    phases: list[Phase]
    sampling: Sampling
    builder: Builder
    hyper: dict[str, Any]


def _design(config: RunConfig, clients: data.ClientData, counts: Collection[str] = ()) -> _Design:
    """The run's parts on data that an attack has changed already; what does not fit is refused."""
    _check_patience(config, clients)
    task = make_task(config, clients)
    _check_model(config, task)
    phases = make_phases(config, clients)
    sampling = make_sampling(config, clients)
    num_teams = count_teams(config, clients)
    poison = poison_of(config, task.layers)
    hyper = _traced_inputs(config, clients, counts)
    builder = make_builder(config, task, phases, set(hyper["options"]), num_teams, poison)
    builder(hyper)  # a wrong option value shows here, before any work
    return _Design(task, phases, sampling, builder, hyper)


def check_fit(config: RunConfig, clients: data.ClientData) -> None:
    """Raise ``ValueError`` for a run that these data, or its own start, do not allow; compiles nothing."""
    design = _design(config, corrupted(config, clients))
    if config.init_from is not None:
        make_start(config, design.task)


def vary(experiment: Experiment, config: RunConfig) -> Experiment:
    """Another run of the same program on the same data: only traced numbers, the seed and the start may differ.

    Arrays that do not differ are shared with the first run, on the host and on the devices.
    """
    hyper = jax.tree.map(jnp.asarray, _traced_inputs(config, experiment.data, experiment.inputs.hyper["options"]))
    same_start = config.init_from is not None and config.init_from == experiment.config.init_from
    start = experiment.inputs.start if same_start else make_start(config, experiment.builder.task)
    own = replicate((hyper, jax.random.key(config.seed), start), experiment.axis.axis)
    inputs = experiment.inputs._replace(hyper=own[0], key=own[1], start=own[2])
    return _with_learnt_teams(experiment._replace(config=config, inputs=inputs))


def check_numbers(experiment: Experiment, config: RunConfig) -> None:
    """Raise ``ValueError`` for an option of another run of the same program that its algorithm or model refuses.

    Traced, a number is not looked at: the algorithm is built once with whole numbers as they are.
    """
    _check_model(config, experiment.builder.task)
    usual = traced_numbers(config)
    hyper = experiment.inputs.hyper | usual
    builder = experiment.builder
    named = {name: config.algorithm_options[name] for name in experiment.inputs.hyper["options"]}
    counts = {name: value for name, value in named.items() if name not in usual["options"]}
    dataclasses.replace(builder, options=sorted_items(dict(builder.options) | counts))(hyper)


def _traced_inputs(config: RunConfig, clients: data.ClientData, counts: Collection[str]) -> dict[str, Any]:
    """What the builder gets in a run: traced numbers, teams that need no training to be known, and who is bad."""
    hyper = traced_numbers(config, counts)
    num_teams = count_teams(config, clients)
    if num_teams is not None and config.team_formation != "by_updates":
        hyper["team_of"] = run_teams(config, clients, num_teams)
    if config.attack in POISONS:
        hyper |= {"bad": bad_clients(config, clients), "attack_strength": config.attack_strength}
    return hyper


def _with_learnt_teams(experiment: Experiment) -> Experiment:
    """The run with the teams that one local phase of training decides on, where its config asks for them."""
    config, clients, inputs = experiment.config, experiment.data, experiment.inputs
    num_teams = count_teams(config, clients)
    if num_teams is None or "team_of" in inputs.hyper:
        return experiment
    team_of = run_teams(config, clients, num_teams, local_updates(experiment.builder, inputs, clients))
    hyper = inputs.hyper | {"team_of": replicate(jnp.asarray(team_of), experiment.axis.axis)}
    return experiment._replace(inputs=inputs._replace(hyper=hyper))


def deciding_sizes(clients: data.ClientData) -> np.ndarray:
    """The clients' training examples ``[C]``, 0 for those that never take part: they decide nothing."""
    return np.where(clients.unseen, 0, clients.sizes["train"])


def _check_patience(config: RunConfig, clients: data.ClientData) -> None:
    if config.patience is not None and not (clients.sizes["val"] * deciding_sizes(clients)).any():
        raise ValueError(f"patience: expected clients with validation examples, got none with {config.patience}")


def _check_model(config: RunConfig, task: Task) -> None:
    """Refuse a model that is larger than the memory, and more layers than it has."""
    needed, free = sum(task.layers.bytes), free_memory()
    if free is not None and needed > free:
        found = f"{config.model_name} of {sum(task.layers.sizes):,} parameters, {needed / 1e9:,.3g} GB"
        raise ValueError(f"model: expected one that fits into the free {free / 1e9:.3g} GB, got {found}")
    most = task.layers.num_layers
    for name in _COUNTS_LAYERS:
        value = config.algorithm_options.get(name)
        if value is not None and value > most:
            raise ValueError(f"option {name}: expected at most the model's {most} layers, got {value}")


def load_clients(config: RunConfig, data_dir: str | None = None) -> data.ClientData:
    """The config's data, partitioned and split."""
    seed = config.seed if config.partition_seed is None else config.partition_seed
    return data.load(
        config.dataset,
        partition=config.partition,
        clients=config.clients,
        seed=seed,
        data_dir=data_dir,
        **config.data_options,
    )


def make_phases(config: RunConfig, clients: data.ClientData) -> list[Phase]:
    """The config's data as they change during its rounds.

    Raises:
      ValueError: a change makes no sense, or comes after the last round.
    """
    check_early(config)
    return schedule(clients, config.drift, config.seed)


def make_sampling(config: RunConfig, clients: data.ClientData) -> Sampling:
    """The config's cohort rule over the clients that train."""
    total = clients.num_clients
    seen = np.flatnonzero(~clients.unseen) if clients.unseen.any() else None
    if config.cohort is None or config.cohort == (total if seen is None else len(seen)):
        return everyone(total) if seen is None else fixed(seen, total)
    return {"uniform": uniform, "by_size": by_size}[config.sampling](config.cohort, total, seen)


def make_builder(
    config: RunConfig,
    task: Task,
    phases: Sequence[Phase],
    traced: set[str],
    num_teams: int | None = None,
    poison: tuple[Poison, tuple[bool, ...]] | None = None,
) -> Builder:
    """The static part of the algorithm; floats among its options, and who is in which team, are traced instead."""
    counts = np.stack([phase.data.sizes["train"] for phase in phases])
    largest = int(counts.max())
    _check_epochs(config, largest)
    trainer = {
        "num_clients": counts.shape[1],
        "max_examples": largest,
        "batch_size": min(config.batch_size, max(largest, 1)),  # nobody could fill a larger one
        "epochs": config.epochs,
        "steps": config.steps,
        "min_batch": config.min_batch,
        "uniform": bool((counts == counts[0, 0]).all()),
        "keep_optimizer": config.keep_optimizer,
    }
    static = {k: v for k, v in config.algorithm_options.items() if k not in traced}
    if num_teams is not None:
        static["num_teams"] = num_teams
    fields = (sorted_items(static), config.optimizer, config.server_optimizer, sorted_items(trainer), poison)
    return Builder(task, config.algorithm, *fields)


def _check_epochs(config: RunConfig, largest: int) -> None:
    """Refuse more epochs than their shuffled orders have room for, with so many examples of one client."""
    most = _MOST_PLACES // max(largest, 1)
    if config.epochs is not None and np.max(config.epochs) > most:
        raise ValueError(f"epochs: expected at most {most} for clients of {largest} examples, got {config.epochs}")


def pick_axis(
    config: RunConfig, builder: Builder, inputs: Inputs, say: Say = say_nothing, *, runs: int = 1
) -> AxisChoice:
    """The pinned axis, or the fastest of a timed probe: of this one, or of an earlier one of the same training.

    ``runs`` is how many runs will use the choice.
    """
    if config.client_width != "auto":
        return pinned_axis(None if config.client_width == "all" else int(config.client_width))
    say("measuring the client axis")
    cohort = cohort_of(inputs, inputs.key, jnp.int32(0))
    key, rounds = axis_key(config, builder.task, cohort), config.rounds * runs
    before = recall_axis(key, rounds)
    choice = None if before is None else recorded_axis(before, "remembered")
    if choice is None:
        trainer, params = builder.make_trainer(inputs.hyper), common_start(builder.task, inputs)  # the run's program
        choice = choose_axis(trainer, inputs.key, params, cohort, rounds=rounds, say=say)
        remember_axis(key, choice.record)
    return choice
