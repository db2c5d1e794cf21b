"""The owner of each option: the algorithm, the data set, the partition, the model or the team formation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fedjax_layers import algorithms, data
from fedjax_layers.data.team_formation import TEAM_FORMATIONS
from fedjax_layers.experiment.config.fields import schemes_of
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.models.own_model import is_own
from fedjax_layers.models.registry import MODELS, model_options
from fedjax_layers.options import Mark, Option, flag_of, options_of


class Owner(NamedTuple):
    """A part of a run that has options, such as its algorithm or its data set.

    Attributes:
      prefix: the prefix of its options' names where two owners have an option of the same name.
      who: its kind and name, for messages.
      field: the config's field that holds its options.
      options: its options by name, without those for which the config has fields.
    """

    prefix: str
    who: str
    field: str
    options: Mapping[str, Option]


class _Kind(NamedTuple):
    """A kind of owner: its name, the config's field for its options, the registered names, and their options."""

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
"""The kinds of owners, by the prefix of their options."""

LOADING = Owner(
    "data", "data", "data_options", {n: o for n, o in options_of(data.load).items() if not o.has(Mark.FIELD)}
)
"""The options that every data set has."""


def owner(prefix: str, name: str) -> Owner:
    """Return the owner of this kind and name, with its options; an unknown name has none."""
    kind = KINDS[prefix]
    known = name in kind.names or (prefix == "model" and is_own(name))
    own = kind.options(name) if known else {}
    held = {option: declared for option, declared in own.items() if not declared.has(Mark.FIELD)}
    return Owner(prefix, f"{kind.called} {name}", kind.field, held)


def owners(config: RunConfig, team_formation: str | None = None, feature_shift: str | None = None) -> list[Owner]:
    """List the owners of options in a run.

    Args:
      config: the config, which names the algorithm, data set, partition and model.
      team_formation: the team formation that was asked for, also where the config's algorithm has no teams.
      feature_shift: the feature shift that was asked for.
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
    """List all registered owners of all kinds."""
    return [LOADING, *(owner(prefix, name) for prefix, kind in KINDS.items() for name in kind.names)]


def place_of(name: str, own: Sequence[Owner]) -> tuple[str, str, Option] | None:
    """Find the config's field that holds an option, its key there, and the option; ``None`` if no owner has it.

    Args:
      name: the option's Python name, with or without its owner's prefix: ``length``, ``data.length``.
      own: the run's owners, see :func:`owners`.

    Raises:
      ValueError: several owners have the option, and no prefix says which is meant.
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
