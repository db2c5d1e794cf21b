"""Options by their names: the part of a run to which an option belongs, and the error if there is none."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from fedjax_layers.algorithms import registry
from fedjax_layers.experiment.config.owners import KINDS, Owner, all_owners, owner, owners, place_of
from fedjax_layers.experiment.config.run_config import RunConfig, config_options
from fedjax_layers.options import Option, flag_of, unknown_name

_MOST_OWNERS = 4  # largest number of owners that are listed by name
_NEAR = 0.6  # similarity of two names from which one may be a misspelling of the other


def routed(
    given: Iterable[tuple[str, Any]],
    config: RunConfig,
    *,
    team_formation: str | None = None,
    beside: Collection[str] = (),
) -> dict[str, dict[str, Any]]:
    """Sort options by the config's field that holds each of them.

    Args:
      given: pairs of a name, as a flag (``--num-teams``) or as in Python, and a value. A text is converted to the
        option's type.
      config: the run's config.
      team_formation: the team formation that was asked for, also where the config's algorithm has no teams.
      beside: other algorithms of the same command, whose options are skipped.

    Raises:
      ValueError: no owner in this run has an option, or several have it.
    """
    pairs = [(name.lstrip("-").replace("-", "_"), value) for name, value in given]
    shift = dict(pairs).get("feature_shift", config.data_options.get("feature_shift"))
    own = owners(config, team_formation, shift)
    found: dict[str, dict[str, Any]] = {}
    for name, value in pairs:
        place = _place(name, own, config, dict.fromkeys((config.algorithm, *beside)))
        if place is not None:
            field, key, option = place
            found.setdefault(field, {})[key] = option.parsed(value)
    return found


def with_options(config: RunConfig, own: Mapping[str, Mapping[str, Any]]) -> RunConfig:
    """Add options from :func:`routed` to a config's own ones."""
    changed: dict[str, Any] = {field: {**getattr(config, field), **new} for field, new in own.items()}
    return dataclasses.replace(config, **changed)


def split_setting(setting: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a setting into the config's fields, with texts converted to their types, and all other names."""
    known = config_options()
    fields = {name: known[name].parsed(value) for name, value in setting.items() if name in known}
    return fields, {name: value for name, value in setting.items() if name not in known}


def with_setting(config: RunConfig, setting: Mapping[str, Any]) -> RunConfig:
    """Replace a config's fields and options by those of a setting.

    Raises:
      ValueError: a name is neither a field nor an option of the run, or an option that several owners have.
    """
    fields, others = split_setting(setting)
    if "cohort" in fields:
        fields = {"scored_model": "auto"} | fields  # the default depends on the cohort
    changed = dataclasses.replace(config, **fields)
    return with_options(changed, routed(others.items(), changed))


def option_named(name: str, config: RunConfig) -> Option:
    """Return the declaration of a field or option; for an option of another algorithm, one of any type."""
    if name in config_options():
        return config_options()[name]
    own = owners(config, feature_shift=config.data_options.get("feature_shift"))
    place = _place(name, own, config, registry)
    return Option(name, Any, None) if place is None else place[2]


def _place(
    name: str, own: Sequence[Owner], config: RunConfig, algorithms: Collection[str]
) -> tuple[str, str, Option] | None:
    """Find an option as :func:`place_of` does; a prefix may be an algorithm. ``None`` for an option of another one."""
    prefix, _, bare = name.rpartition(".")
    if prefix and prefix not in KINDS:
        _check_algorithm(prefix, bare, algorithms)
        if prefix != config.algorithm:
            return None
        prefix = "algorithm"
    place = place_of(f"{prefix}.{bare}" if prefix else bare, own)
    if place is None and not (
        prefix in ("", "algorithm") and any(bare in owner("algorithm", a).options for a in algorithms)
    ):
        raise _unknown_option(name, prefix, own, config)
    return place


def _unknown_option(name: str, prefix: str, own: Sequence[Owner], config: RunConfig) -> ValueError:
    """Make the error for an option without an owner in this run: its owners elsewhere, or the nearest option here."""
    flag, bare = flag_of(name), name.rpartition(".")[2]
    others = [other for other in all_owners() if bare in other.options and prefix in ("", other.prefix)]
    if others:
        here = {one.prefix: one.who for one in own}
        kinds = {other.prefix for other in others}
        missing = [here.get(kind, f"a run without {flag_of(kind)}") for kind in KINDS if kind in kinds]
        return ValueError(f"{flag}: it is an option of {_listed(others)}, not of {' or '.join(missing)}")
    known = set(config_options()).union(*(one.options for one in own))
    near = difflib.get_close_matches(flag, sorted(map(flag_of, known)), n=1, cutoff=_NEAR)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ValueError(f"flag: expected one that {_help_command(config)} lists, got {flag!r}{hint}")


def _help_command(config: RunConfig) -> str:
    """Return the command that lists all flags of this run."""
    named = {"dataset": config.dataset, "partition": config.partition, "model": config.model}
    usual = RunConfig()
    flags = "".join(f" --{name} {value}" for name, value in named.items() if value != getattr(usual, name))
    return f"`fedjax-layers run {config.algorithm}{flags} --help`"


def _listed(others: Iterable[Owner]) -> str:
    """List the names of several owners by kind: ``algorithms demlearn and fedprox``."""
    by_kind: dict[str, list[str]] = {}
    for other in others:
        kind, _, name = other.who.rpartition(" ")
        by_kind.setdefault(kind, []).append(name)
    parts = []
    for kind, names in by_kind.items():
        more = len(names) - _MOST_OWNERS
        shown = names[:_MOST_OWNERS] + ([f"{more} more"] if more > 0 else [])
        text = f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else shown[0]
        parts.append(f"{kind}{'s' if len(names) > 1 else ''} {text}")
    return " and of ".join(parts)


def _check_algorithm(name: str, option: str, beside: Collection[str]) -> None:
    """Raise ``ValueError`` for a prefix that names no algorithm of the command, or an option that it does not have."""
    if name not in registry:
        raise unknown_name("algorithm", name, [*registry, *(kind.replace("_", "-") for kind in KINDS)])
    if name not in beside:
        flag = flag_of(f"{name}.{option}")
        raise ValueError(f"{flag}: expected an option of {' or '.join(beside)}, got one of {name}, which does not run")
    options = owner("algorithm", name).options
    if option not in options:
        raise unknown_name(f"option of algorithm {name!r}", option, options)
