"""The complete config of a run, with the value of every option, whether the user gave it or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fedjax_layers import algorithms, data
from fedjax_layers.data.team_formation import TEAM_FORMATIONS
from fedjax_layers.experiment.config.asked import BY_DEFAULT
from fedjax_layers.experiment.records.run_directory import to_json
from fedjax_layers.experiment.setup.prepare import Experiment
from fedjax_layers.experiment.setup.tasks import loss_in_force, options_in_force
from fedjax_layers.models.registry import model_options
from fedjax_layers.options import Mark, options_of


def complete_config(experiment: Experiment) -> dict[str, Any]:
    """Make the content of ``config.json``: every field, and every option of algorithm, data, model and teams.

    Its field ``by_default`` lists what the user did not give, as ``field`` or ``home.option``: see
    :func:`fedjax_layers.experiment.config.asked.as_asked`.
    """
    config, clients = experiment.config, experiment.data
    content: dict[str, Any] = to_json(config)
    filled: list[str] = []
    for name, value in _fields(experiment).items():
        if content[name] is None and value is not None:
            content[name] = value
            filled.append(name)
    named, chosen = options_in_force(config, clients)
    model = {name: value for name, value in chosen.items() if not model_options(named)[name].has(Mark.FIELD)}
    num_teams = {} if experiment.team_of is None else {"num_teams": dict(experiment.builder.options)["num_teams"]}
    formation = TEAM_FORMATIONS.get(config.team_formation or "")
    homes = {
        "algorithm_options": usual_options(algorithms.registry[config.algorithm]) | num_teams,
        "data_options": _data_options(experiment),
        "model_options": model,
        "team_options": {} if formation is None else usual_options(formation),
    }
    for home, usual in homes.items():
        more = {name: _plain(value) for name, value in usual.items() if name not in content[home]}
        content[home] = content[home] | more
        filled += [f"{home}.{name}" for name in more]
    return content | {BY_DEFAULT: filled}


def usual_options(taker: Callable[..., Any]) -> dict[str, Any]:
    """Return the defaults of those options of ``taker`` that are no fields of the config."""
    own = options_of(taker)
    return {name: o.default for name, o in own.items() if not o.required and not o.has(Mark.FIELD)}


def _fields(experiment: Experiment) -> dict[str, Any]:
    config, clients = experiment.config, experiment.data
    own_start = config.init_from is None
    return {
        "model": options_in_force(config, clients)[0],
        "loss": loss_in_force(config, clients),
        "partition": clients.partition.get("scheme"),
        "clients": clients.num_clients,
        "partition_seed": clients.partition.get("seed"),
        "start_seed": config.seed if own_start else None,
        "cohort": int((~clients.unseen).sum()),
        "attack_strength": config.strength,
    }


def _data_options(experiment: Experiment) -> dict[str, Any]:
    config, about = experiment.config, experiment.data.partition
    takers: list[Callable[..., Any]] = [data.load, data.DATASETS[config.dataset].build]
    found: dict[str, Any] = {}
    for taker in takers:
        found |= usual_options(taker)
    if "partition_file" in config.data_options:  # the file decides everything else
        return found
    for part in ("options", "params", "feature_shift_params"):
        found |= about.get(part) or {}
    return found


def _plain(value: Any) -> Any:
    """Convert a value to what JSON can hold; anything else, such as a function, becomes text."""
    try:
        return to_json(value)
    except TypeError:
        return {str(k): _plain(v) for k, v in value.items()} if isinstance(value, Mapping) else repr(value)
