"""Whose option a name is: the algorithm's, the data's, the model's or the team formation's."""

from __future__ import annotations

from fedjax_layers import algorithms, data
from fedjax_layers.data.team_formation import TEAM_FORMATIONS
from fedjax_layers.models.registry import USUAL_MODELS, model_options
from fedjax_layers.names import options_of
from fedjax_layers.simulation.config import RunConfig

_LOADED_BY_FIELD = {"partition", "clients", "seed", "data_dir"}  # options of the data that are fields already


def option_homes(config: RunConfig, team_formation: str | None) -> dict[str, set[str]]:
    """Names of options by the field of the config that holds them; those of the algorithm come first.

    Args:
      config: names the algorithm, data set, partition and model.
      team_formation: the one asked for, where the config's algorithm may have no teams.
    """
    own_data = options_of(data.DATASETS[config.dataset].build) if config.dataset in data.DATASETS else set()
    schemes = [config.partition] if config.partition in data.PARTITIONS else list(data.PARTITIONS)
    split = set().union(*(options_of(data.PARTITIONS[scheme]) for scheme in schemes))
    shift = set().union(*(options_of(shift) for shift in data.FEATURE_SHIFTS.values()))
    formation = TEAM_FORMATIONS.get(team_formation) if team_formation else None
    return {
        "algorithm_options": options_of(algorithms.registry[config.algorithm]) - {"server_optimizer", "team_of"},
        "data_options": (own_data | split | shift | options_of(data.load)) - _LOADED_BY_FIELD,
        "model_options": model_options(config.model or USUAL_MODELS.get(config.dataset, "mlp")) - {"conv"},
        "team_options": options_of(formation) - {"team_of"} if formation else set(),
    }
