"""The teams of a run: their number, the clients in each, and the local phase for the formation ``by_updates``."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers import algorithms
from fedjax_layers.clients import keys, train_cohort
from fedjax_layers.data import ClientData
from fedjax_layers.data.team_formation import NEEDS_NO_DATA, form_teams, given, label_counts, nearest_team
from fedjax_layers.engine.device_data import to_device
from fedjax_layers.engine.intervals import Inputs, common_start, setting_of
from fedjax_layers.engine.plan import Plan
from fedjax_layers.engine.programs.build import build_program
from fedjax_layers.experiment.config.run_config import RunConfig, has_teams
from fedjax_layers.experiment.setup.builder import Builder
from fedjax_layers.options import defaults_of
from fedjax_layers.types import Array, Cohort


def count_teams(config: RunConfig, clients: ClientData) -> int | None:
    """Return T: the algorithm's option, else the number in ``team_of`` or the partition, else the default.

    Returns:
      The number, or ``None`` for an algorithm without teams.

    Raises:
      ValueError: the option is not the number of the partition's teams, which are to be used.
    """
    if not has_teams(config.algorithm):
        return None
    asked = config.algorithm_options.get("num_teams")
    if config.team_of is not None:
        found = max(config.team_of, default=0) + 1
    elif clients.teams is not None:
        found = int(clients.teams.max()) + 1
        if config.team_formation is None and asked not in (None, found):
            raise ValueError(f"num_teams: expected the partition's {found} teams, or a team_formation, got {asked}")
    else:
        usual = defaults_of(algorithms.registry[config.algorithm])["num_teams"]
        found = min(usual, int((~clients.unseen).sum()))
    return found if asked is None else asked


def run_teams(config: RunConfig, clients: ClientData, num_teams: int, updates: np.ndarray | None = None) -> np.ndarray:
    """Compute the team of each client, ``[C]`` int32.

    Clients that never take part do not influence the teams; each joins the team that it resembles most.

    Args:
      config: the run's config.
      clients: the run's data before any change.
      num_teams: T, the number of teams.
      updates: ``[C, P]`` for ``by_updates``, see :func:`local_updates`; else ``None``.

    Raises:
      ValueError: see :mod:`fedjax_layers.data.team_formation`.
    """
    nobody = np.empty((clients.num_clients, 0))
    if config.team_of is not None:
        return given(nobody, num_teams, team_of=config.team_of)
    if config.team_formation is None and clients.teams is not None:
        return given(nobody, num_teams, team_of=clients.teams)
    name = config.team_formation or "sequential"
    if name in NEEDS_NO_DATA:
        return form_teams(name, nobody, num_teams, config.seed, **config.team_options)
    if updates is None and len(clients.strata_names) < 2:
        found = f"the {clients.task.replace('_', ' ')} of {clients.name}"
        raise ValueError(f"team_formation: expected classes for {name!r}, got {found}")
    features = label_counts(clients) if updates is None else updates
    team_of = np.zeros(clients.num_clients, np.int32)
    seen = ~clients.unseen
    team_of[seen] = form_teams(name, features[seen], num_teams, config.seed, **config.team_options)
    return team_of if seen.all() else nearest_team(features, team_of, ~seen)


def local_updates(builder: Builder, plan: Plan, inputs: Inputs, clients: ClientData) -> np.ndarray:
    """Compute each client's update of the common start in one local phase, ``[C, P]``, all P parameters flattened.

    Args:
      builder: the run's builder.
      plan: the run's plan.
      inputs: the run's inputs.
      clients: the data before any change, including clients that join later.
    """
    if not isinstance(inputs.device_data.since, tuple):
        inputs = inputs._replace(device_data=to_device(clients))
    return np.asarray(_updates(builder, plan, inputs))


@build_program(static=(1,))
def _updates(builder: Builder, plan: Plan, inputs: Inputs) -> Array:
    trainer = dataclasses.replace(
        builder.make_trainer(inputs.hyper, setting_of(plan, inputs.device_data)), keep_optimizer=False
    )
    source = inputs.device_data
    ids = jnp.arange(source.num_clients, dtype=jnp.int32)
    cohort = Cohort(ids, jnp.ones(len(ids)), source.train, source.pool, in_order=True)
    start = common_start(trainer.task, inputs)
    trained = train_cohort(trainer, jax.random.fold_in(inputs.key, keys.TEAMS), cohort, server=start).params
    changes = jax.tree.map(lambda new, old: (new - old).reshape(len(ids), -1), trained, start)
    return jnp.concatenate(jax.tree.leaves(changes), axis=1)
