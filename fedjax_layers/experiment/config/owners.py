"""Whose option a name is: the algorithm's, the data set's, the partition's, the model's or the team formation's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fedjax_layers import algorithms, data
from fedjax_layers.data.team_formation import TEAM_FORMATIONS
from fedjax_layers.experiment.config.fields import schemes_of
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.models.registry import MODELS, model_options
from fedjax_layers.options import Mark, Option, flag_of, options_of


class Owner(NamedTuple):
    """Something that has options.

    Attributes:
      prefix: what stands before its options' names where two things have an option of one name.
      who: what it is, for messages.
      field: the config's field that holds its options.
      options: its options by name, without those that the config has fields for.
    """

    prefix: str
    who: str
    field: str
    options: Mapping[str, Option]


class _Kind(NamedTuple):
    """A registry of things with options: how they are called, where their options are held, and the options."""

    called: str
    field: str
    names: Iterable[str]
    options: Callable[[str], Mapping[str, Option]]


def _of(registry: Mapping[str, Callable[..., Any]]) -> Callable[[str], Mapping[str, Option]]:
    return lambda name: options_of(registry[name])


KINDS = {
    "algorithm": _Kind("algorithm", "algorithm_options", algorithms.registry, _of(algorithms.registry)),
    "data": _Kind("data set", "data_options", data.DATASETS, lambda name: options_of(data.DATASETS[name].build)),
    "partition": _Kind("partition", "data_options", data.PARTITIONS, _of(data.PARTITIONS)),
    "feature_shift": _Kind("feature shift", "data_options", data.FEATURE_SHIFTS, _of(data.FEATURE_SHIFTS)),
    "model": _Kind("model", "model_options", MODELS, model_options),
    "team_formation": _Kind("team formation", "team_options", TEAM_FORMATIONS, _of(TEAM_FORMATIONS)),
}
"""What has options, by the prefix that its options may have."""

LOADING = Owner(
    "data", "data", "data_options", {n: o for n, o in options_of(data.load).items() if not o.has(Mark.FIELD)}
)
"""The options that all data sets have."""


def owner(prefix: str, name: str) -> Owner:
    """The algorithm, data set ... of this name, with its options; an unknown one has none."""
    kind = KINDS[prefix]
    own = kind.options(name) if name in kind.names else {}
    held = {option: declared for option, declared in own.items() if not declared.has(Mark.FIELD)}
    return Owner(prefix, f"{kind.called} {name}", kind.field, held)


def owners(config: RunConfig, team_formation: str | None = None, feature_shift: str | None = None) -> list[Owner]:
    """Everything in a run that has options.

    Args:
      config: names the algorithm, data set, partition and model.
      team_formation: the one asked for, where the config's algorithm may have no teams.
      feature_shift: the one asked for.
    """
    schemes = [owner("partition", scheme) for scheme in schemes_of(config)]
    split = {name: option for scheme in schemes for name, option in scheme.options.items()}
    formation = config.team_formation or team_formation
    found = [
        owner("algorithm", config.algorithm),
        LOADING,
        owner("data", config.dataset),
        schemes[0]._replace(who=f"partition {' or '.join(schemes_of(config))}", options=split),
        owner("model", config.model_name),
    ]
    if formation in TEAM_FORMATIONS:
        found.append(owner("team_formation", str(formation)))
    if feature_shift in data.FEATURE_SHIFTS:
        found.append(owner("feature_shift", str(feature_shift)))
    return found


def all_owners() -> list[Owner]:
    """Whoever has options, of all kinds."""
    return [LOADING, *(owner(prefix, name) for prefix, kind in KINDS.items() for name in kind.names)]


def place_of(name: str, own: Sequence[Owner]) -> tuple[str, str, Option] | None:
    """The config's field that holds an option, the key it has there, and the option; ``None`` where nobody takes it.

    Args:
      name: as Python has it, or behind the prefix of its owner: ``length``, ``data.length``.
      own: see :func:`owners`.

    Raises:
      ValueError: several take it, and no prefix tells whose it is.
    """
    prefix, _, bare = name.rpartition(".")
    takers = [owner for owner in own if bare in owner.options]
    meant = [owner for owner in takers if prefix in ("", owner.prefix)]
    if len(meant) > 1:
        flags = " or ".join(flag_of(f"{owner.prefix}.{bare}") for owner in meant)
        whose = " and ".join(owner.who for owner in meant)
        raise ValueError(f"{flag_of(bare)}: expected {flags}, got an option of {whose}")
    if not meant:
        return None
    shared = [owner for owner in takers if owner.field == meant[0].field]
    key = bare if len(shared) == 1 else f"{meant[0].prefix}.{bare}"
    return meant[0].field, key, meant[0].options[bare]
