"""Flags that are no field of the config: whose option each one is, and what is said where it is nobody's."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from fedjax_layers.algorithms import registry
from fedjax_layers.cli.flags import flag_fields, flag_of, value_of
from fedjax_layers.experiment.config.owners import KINDS, Owner, all_owners, owner, owners, place_of
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.options import unknown_name

_MOST_OWNERS = 4  # named one by one
_NEAR = 0.6  # likeness of two names from which one may be a misspelt other


def routed(
    unknown: Sequence[str], config: RunConfig, team_formation: str | None, beside: Collection[str]
) -> dict[str, dict[str, Any]]:
    """Flags that are no field as the options of algorithm, data, model and team formation.

    Args:
      unknown: the flags with their values.
      config: without these options.
      team_formation: the one asked for, where the config's algorithm may have no teams.
      beside: all algorithms of the command; an option of another one of them is none of this config's.

    Raises:
      ValueError: an option that none of them takes, or that several things take.
    """
    given = pairs(unknown)
    shift = next((value for flag, value in given if flag == "--feature-shift"), None)
    own = owners(config, team_formation, shift)
    found: dict[str, dict[str, Any]] = {}
    for flag, value in given:
        prefix, _, bare = flag.lstrip("-").replace("-", "_").rpartition(".")
        if prefix and prefix not in KINDS:
            _check_algorithm(flag, prefix, bare, beside)
            if prefix != config.algorithm:
                continue
            prefix = "algorithm"
        place = place_of(f"{prefix}.{bare}" if prefix else bare, own)
        if place is None:
            if prefix in ("", "algorithm") and any(bare in owner("algorithm", a).options for a in beside):
                continue
            raise nobodys(flag, bare, prefix, own, config)
        takers = [taker.options[bare] for taker in own if taker.field == place[0] and bare in taker.options]
        found.setdefault(place[0], {})[place[1]] = value_of(value, takers[0].text_kinds)
    return found


def pairs(unknown: Sequence[str]) -> list[tuple[str, str]]:
    """Flags with their values; one without a value is ``true``."""
    found, rest = [], list(unknown)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith("--"):
            raise ValueError(f"arguments: expected a flag, got {flag!r}")
        name, equals, value = flag.partition("=")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        found.append((name, value))
    return found


def split_unknown(arguments: Sequence[str], known: Collection[str]) -> tuple[list[str], list[str]]:
    """Arguments of the parser, and flags it does not know with their values (else a value passes for a name)."""
    own: list[str] = []
    unknown: list[str] = []
    rest = list(arguments)
    while rest:
        token = rest.pop(0)
        target = own if not token.startswith("--") or token.partition("=")[0] in known else unknown
        target.append(token)
        if token.startswith("--") and "=" not in token and rest and not rest[0].startswith("--"):
            target.append(rest.pop(0))
    return own, unknown


def nobodys(flag: str, bare: str, prefix: str, own: Sequence[Owner], config: RunConfig) -> ValueError:
    """The error for an option that nothing in this run has: who has it elsewhere, or the nearest there is here."""
    others = [other for other in all_owners() if bare in other.options and prefix in ("", other.prefix)]
    if others:
        here = {one.prefix: one.who for one in own}
        kinds = {other.prefix for other in others}
        missing = [here.get(kind, f"a run without {flag_of(kind)}") for kind in KINDS if kind in kinds]
        return ValueError(f"{flag}: it is an option of {_listed(others)}, not of {' or '.join(missing)}")
    known = {f.name for f in flag_fields()}.union(*(one.options for one in own))
    near = difflib.get_close_matches(flag, sorted(map(flag_of, known)), n=1, cutoff=_NEAR)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ValueError(f"flag: expected one that {help_command(config)} lists, got {flag!r}{hint}")


def help_command(config: RunConfig) -> str:
    """The command that lists all flags of this run."""
    named = {"dataset": config.dataset, "partition": config.partition, "model": config.model}
    usual = RunConfig()
    flags = "".join(f" --{name} {value}" for name, value in named.items() if value != getattr(usual, name))
    return f"`fedjax-layers run {config.algorithm}{flags} --help`"


def _listed(others: Iterable[Owner]) -> str:
    """The names of several owners, by kind: ``algorithms demlearn and fedprox``."""
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


def _check_algorithm(flag: str, name: str, option: str, beside: Collection[str]) -> None:
    """Refuse a prefix that names no algorithm of the command, and an option that its algorithm does not take."""
    if name not in registry:
        raise unknown_name("algorithm", name, [*registry, *(kind.replace("_", "-") for kind in KINDS)])
    if name not in beside:
        raise ValueError(f"{flag}: expected an option of {' or '.join(beside)}, got one of {name}, which does not run")
    options = owner("algorithm", name).options
    if option not in options:
        raise unknown_name(f"option of algorithm {name!r}", option, options)
