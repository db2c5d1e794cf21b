"""Whose option a name is: the algorithm's, the data set's, the partition's, the model's or the team formation's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fedjax_layers import algorithms, data
from fedjax_layers.data.team_formation import TEAM_FORMATIONS
from fedjax_layers.experiment.config.run_config import RunConfig, schemes_of
from fedjax_layers.models.registry import MODELS, model_options
from fedjax_layers.options import unknown_name

_FIELDS_OF_LOADING = {"partition", "clients", "seed", "data_dir"}  # options of the data that are fields already
_FIELDS_OF_ALGORITHMS = {"server_optimizer", "team_of"}
OTHER_PREFIXES = ("data", "partition", "feature_shift", "model", "team_formation")
"""What stands before the options of anything but an algorithm."""


class Owner(NamedTuple):
    """Something that has options.

    Attributes:
      prefix: what stands before its options' names where two things have an option of one name.
      who: what it is, for messages.
      field: the config's field that holds its options.
      options: who takes each option, by name; its signature and docstring describe it.
    """

    prefix: str
    who: str
    field: str
    options: Mapping[str, Callable[..., Any]]


def owners(config: RunConfig, team_formation: str | None = None, feature_shift: str | None = None) -> list[Owner]:
    """Everything in a run that has options; unknown names have none.

    Args:
      config: names the algorithm, data set, partition and model.
      team_formation: the one asked for, where the config's algorithm may have no teams.
      feature_shift: the one asked for.
    """
    schemes = schemes_of(config)
    split = {name: data.PARTITIONS[s] for s in schemes for name in _in_order(data.PARTITIONS[s])}
    formation = team_formation or config.team_formation
    found = [
        algorithm_owner(config.algorithm),
        data_owner(config.dataset),
        Owner("partition", f"partition {' or '.join(schemes)}", "data_options", _without(split, _FIELDS_OF_LOADING)),
        Owner("model", f"model {config.model_name}", "model_options", _of_model(config.model_name)),
    ]
    if formation in TEAM_FORMATIONS:
        found.append(team_owner(formation))
    if feature_shift in data.FEATURE_SHIFTS:
        found.append(shift_owner(feature_shift))
    return found


def algorithm_owner(name: str) -> Owner:
    """The algorithm of this name with its options."""
    factory = algorithms.registry[name]
    own = dict.fromkeys(_in_order(factory), factory)
    return Owner("algorithm", f"algorithm {name}", "algorithm_options", _without(own, _FIELDS_OF_ALGORITHMS))


def data_owner(name: str) -> Owner:
    """The data set of this name, with its options and those that all data sets have."""
    own: dict[str, Callable[..., Any]] = dict.fromkeys(_in_order(data.load), data.load)
    build: Callable[..., Any] | None = data.DATASETS[name].build if name in data.DATASETS else None
    if build is not None:
        own |= dict.fromkeys(_in_order(build), build)
    return Owner("data", f"data set {name}", "data_options", _without(own, _FIELDS_OF_LOADING))


def partition_owner(name: str) -> Owner:
    """The partition of this name with its options."""
    scheme = data.PARTITIONS[name]
    own = dict.fromkeys(_in_order(scheme), scheme)
    return Owner("partition", f"partition {name}", "data_options", _without(own, _FIELDS_OF_LOADING))


def model_owner(name: str) -> Owner:
    """The model of this name with its options."""
    return Owner("model", f"model {name}", "model_options", _of_model(name))


def team_owner(name: str) -> Owner:
    """The team formation of this name with its options."""
    formation = TEAM_FORMATIONS[name]
    own = dict.fromkeys(_in_order(formation), formation)
    return Owner("team-formation", f"team formation {name}", "team_options", _without(own, _FIELDS_OF_ALGORITHMS))


def shift_owner(name: str) -> Owner:
    """The feature shift of this name with its options."""
    shift = data.FEATURE_SHIFTS[name]
    own = dict.fromkeys(_in_order(shift), shift)
    return Owner("feature-shift", f"feature shift {name}", "data_options", own)


def everyone() -> list[Owner]:
    """Whoever has options, of all kinds."""
    kinds: list[tuple[Callable[[str], Owner], Iterable[str]]] = [
        (algorithm_owner, algorithms.registry),
        (data_owner, data.DATASETS),
        (partition_owner, data.PARTITIONS),
        (model_owner, MODELS),
        (team_owner, TEAM_FORMATIONS),
        (shift_owner, data.FEATURE_SHIFTS),
    ]
    return [make(name) for make, names in kinds for name in names]


def place_of(name: str, own: Sequence[Owner]) -> tuple[str, str] | None:
    """The config's field that holds an option, and the key it has there; ``None`` where nobody takes it.

    Args:
      name: as Python has it, or behind the prefix of its owner: ``length``, ``data.length``.
      own: see :func:`owners`.

    Raises:
      ValueError: several take it, and no prefix tells whose it is.
    """
    prefix, _, bare = name.rpartition(".")
    takers = [owner for owner in own if bare in owner.options]
    meant = [owner for owner in takers if prefix.replace("_", "-") in ("", owner.prefix)]
    if len(meant) > 1:
        flags = " or ".join(f"--{owner.prefix}.{bare.replace('_', '-')}" for owner in meant)
        whose = " and ".join(owner.who for owner in meant)
        raise ValueError(f"--{bare.replace('_', '-')}: expected {flags}, got an option of {whose}")
    if not meant:
        return None
    shared = [owner for owner in takers if owner.field == meant[0].field]
    return meant[0].field, bare if len(shared) == 1 else f"{meant[0].prefix.replace('-', '_')}.{bare}"


def placed(name: str, own: Sequence[Owner], fields: Iterable[str]) -> tuple[str, str]:
    """As :func:`place_of`, where somebody has to take the option.

    Raises:
      ValueError: nobody does (the nearest of the options and ``fields`` is suggested), or several.
    """
    found = place_of(name, own)
    if found is None:
        raise unknown_name("vary", name, set(fields).union(*(owner.options for owner in own)))
    return found


def _of_model(name: str) -> dict[str, Callable[..., Any]]:
    if name not in MODELS:
        return {}
    own = model_options(name) - {"conv"}
    return {option: MODELS[name] for option in inspect.signature(MODELS[name]).parameters if option in own}


def _in_order(taker: Callable[..., Any]) -> list[str]:
    """Names of the options of a function, as its signature has them."""
    return [p.name for p in inspect.signature(taker).parameters.values() if p.kind is p.KEYWORD_ONLY]


def _without(options: Mapping[str, Callable[..., Any]], names: set[str]) -> dict[str, Callable[..., Any]]:
    return {name: taker for name, taker in options.items() if name not in names}
