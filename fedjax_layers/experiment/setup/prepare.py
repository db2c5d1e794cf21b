"""``prepare``, which makes the objects of a run from its config."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers import data
from fedjax_layers.engine.announce import Say, say_nothing
from fedjax_layers.engine.device_data import to_device
from fedjax_layers.engine.intervals import Inputs, algorithm_of, cohort_of, common_start, place_inputs, setting_of
from fedjax_layers.engine.memory.forecast import Forecast
from fedjax_layers.engine.on_host import first_cohort
from fedjax_layers.engine.placement.sharding import replicate
from fedjax_layers.engine.placement.width import AxisChoice, choose_axis, pinned_axis, recorded_axis
from fedjax_layers.engine.plan import Plan, rounds_per_interval
from fedjax_layers.engine.simulate import make_inputs
from fedjax_layers.experiment.config.aggregation_fields import check_bad
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.config.traced import traced_numbers
from fedjax_layers.experiment.setup.attack import corrupted
from fedjax_layers.experiment.setup.builder import Builder, sorted_items
from fedjax_layers.experiment.setup.design import check_layers, make_design, traced_inputs
from fedjax_layers.experiment.setup.early import check_early
from fedjax_layers.experiment.setup.foreseen import foreseen, refuse_early, refuse_too_large
from fedjax_layers.experiment.setup.initial import make_start
from fedjax_layers.experiment.setup.remembered import axis_key, recall_axis, remember_axis
from fedjax_layers.experiment.setup.shared_data import SharedData, load_clients
from fedjax_layers.experiment.setup.teams import count_teams, local_updates, run_teams


class Experiment(NamedTuple):
    """A run that is ready to start."""

    config: RunConfig
    data: data.ClientData
    builder: Builder
    plan: Plan
    inputs: Inputs
    axis: AxisChoice
    memory: Forecast

    @property
    def team_of(self) -> np.ndarray | None:
        """The team of each client ``[C]``; ``None`` for an algorithm without teams."""
        return np.asarray(self.inputs.hyper["team_of"]) if "team_of" in self.inputs.hyper else None


def prepare(
    config: RunConfig,
    data_dir: str | None = None,
    axis: AxisChoice | None = None,
    *,
    counts: Collection[str] = (),
    runs: int = 1,
    say: Say = say_nothing,
    shared: SharedData | None = None,
) -> Experiment:
    """Load the data, build the model, and choose the client axis.

    Args:
      config: the run's config.
      data_dir: folder of the data files; ``None`` means that of the environment variable, or else TFDS's own.
      axis: the choice of a client axis that was already made, for a run that is resumed or compared; ``None`` makes
        one.
      counts: names of the algorithm's whole-number options that are traced, too, among
        :func:`fedjax_layers.experiment.config.traced.traceable_counts`.
      runs: number of runs that will use the chosen client axis; for more of them it may be measured longer.
      say: called with what starts: loading, building, measuring.
      shared: the source of the data, in place of ``data_dir``.

    Raises:
      ValueError: a name, option or number does not fit the data or the model.
      FileNotFoundError: data files are missing.
    """
    check_early(config, data_dir)
    refuse_early(config)
    say(f"loading {config.dataset}")
    clients = load_clients(config, data_dir) if shared is None else shared.of(config)
    return assemble(config, clients, axis, counts=counts, runs=runs, say=say)


def assemble(
    config: RunConfig,
    clients: data.ClientData,
    axis: AxisChoice | None = None,
    *,
    counts: Collection[str] = (),
    runs: int = 1,
    say: Say = say_nothing,
) -> Experiment:
    """Make the config's run on data that are loaded already; see :func:`prepare`."""
    say("building the model")
    clients = corrupted(config, clients)
    design = make_design(config, clients, counts)
    refuse_too_large(foreseen(config, design, loaded=True, axis=None if axis is None else axis.axis))
    task, builder = design.task, design.builder
    weights = np.ones(clients.num_clients) if config.weighting == "uniform" else None
    source, sampling = to_device(design.phases, on_host="data" in config.on_host), design.sampling
    inputs = make_inputs(source, hyper=design.hyper, seed=config.seed, sampling=sampling, weights=weights)
    inputs = inputs._replace(start=make_start(config, task))
    evaluated_models = ("trained", "served") if config.evaluated_models == "both" else (config.evaluated_models,)
    plan = Plan(
        task,
        rounds_per_interval(config.eval_every, config.rounds),
        evaluated_models=evaluated_models,
        on_host=config.on_host,
    )
    if axis is None:
        axis = pick_axis(config, builder, plan, inputs, say, runs=runs)
    plan = dataclasses.replace(plan, axis=axis.axis)
    memory = foreseen(config, design, loaded=True, axis=axis.axis)
    experiment = Experiment(config, clients, builder, plan, place_inputs(inputs, axis.axis), axis, memory)
    return _with_learnt_teams(experiment)


def check_fit(config: RunConfig, clients: data.ClientData) -> None:
    """Raise ``ValueError`` for a run that does not fit its data or its start, without compiling anything."""
    design = make_design(config, corrupted(config, clients))
    refuse_too_large(foreseen(config, design, loaded=True))
    if config.init_from is not None:
        make_start(config, design.task)


def vary(experiment: Experiment, config: RunConfig) -> Experiment:
    """Make another run of the same program and data, which differs in traced numbers, the seed or the start only.

    Equal arrays are shared with the first run, on the host and on the devices.
    """
    hyper = jax.tree.map(jnp.asarray, traced_inputs(config, experiment.data, experiment.inputs.hyper["options"]))
    same_start = config.init_from is not None and config.init_from == experiment.config.init_from
    start = experiment.inputs.start if same_start else make_start(config, experiment.plan.task)
    own = replicate((hyper, jax.random.key(config.seed), start), experiment.axis.axis)
    inputs = experiment.inputs._replace(hyper=own[0], key=own[1], start=own[2])
    return _with_learnt_teams(experiment._replace(config=config, inputs=inputs))


def check_numbers(experiment: Experiment, config: RunConfig) -> None:
    """Raise ``ValueError`` for an option of another run of the same program that algorithm or model do not accept.

    A traced number is not checked, so the algorithm is built once with concrete whole numbers.
    """
    check_layers(config, experiment.plan.task)
    check_bad(config, experiment.inputs.sampling.size, experiment.inputs.hyper.get("team_of"))
    usual = traced_numbers(config)
    hyper = experiment.inputs.hyper | usual
    builder = experiment.builder
    named = {name: config.algorithm_options[name] for name in experiment.inputs.hyper["options"]}
    counts = {name: value for name, value in named.items() if name not in usual["options"]}
    whole = dataclasses.replace(builder, options=sorted_items(dict(builder.options) | counts))
    algorithm_of(whole, experiment.plan, experiment.inputs._replace(hyper=hyper))


def _with_learnt_teams(experiment: Experiment) -> Experiment:
    """Set the run's teams by one local phase of training, where its config asks for that."""
    config, clients, inputs = experiment.config, experiment.data, experiment.inputs
    num_teams = count_teams(config, clients)
    if num_teams is None or "team_of" in inputs.hyper:
        return experiment
    team_of = run_teams(config, clients, num_teams, local_updates(experiment.builder, experiment.plan, inputs, clients))
    hyper = inputs.hyper | {"team_of": replicate(jnp.asarray(team_of), experiment.axis.axis)}
    return experiment._replace(inputs=inputs._replace(hyper=hyper))


def pick_axis(
    config: RunConfig, builder: Builder, plan: Plan, inputs: Inputs, say: Say = say_nothing, *, runs: int = 1
) -> AxisChoice:
    """Choose the given axis, or the fastest one by a timing of this training, made now or earlier.

    ``runs`` is the number of runs that will use the choice.
    """
    if config.client_width != "auto":
        return pinned_axis(None if config.client_width == "all" else int(config.client_width))
    say("measuring the client axis")
    cohort = first_cohort(inputs) if config.on_host else cohort_of(inputs, inputs.key, jnp.int32(0))
    key, rounds = axis_key(config, plan.task, cohort), config.rounds * runs
    before = recall_axis(key, rounds)
    choice = None if before is None else recorded_axis(before, "remembered")
    if choice is None:
        trainer = builder.make_trainer(inputs.hyper, setting_of(plan, inputs.device_data))
        params = common_start(plan.task, inputs)  # this compiles the program that the run uses, too
        choice = choose_axis(trainer, inputs.key, params, cohort, rounds=rounds, say=say)
        remember_axis(key, choice.record)
    return choice
