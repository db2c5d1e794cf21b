"""Flags: one per field of :class:`RunConfig`, and one per option of the algorithm, data set and model named."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import typing
from collections.abc import Sequence
from typing import Any, NoReturn

from fedjax_layers.algorithms import registry
from fedjax_layers.names import unknown_name
from fedjax_layers.simulation.config import RunConfig
from fedjax_layers.simulation.option_homes import option_homes
from fedjax_layers.simulation.sweeps.grid import plain
from fedjax_layers.simulation.sweeps.settings import SEED_FIELDS
from fedjax_layers.simulation.sweeps.stopping import Stopping

COMPARED = "player_fl,local,fedavg,fedprox,fedbabu"
_SHOWN = ("partition", "clients", "partition_seed", "seed")  # fields that decide a split
_DATA_DIR = "folder of the data files; FEDJAX_LAYERS_DATA, else TFDS's own"
_TAKEN_ELSEWHERE = ("algorithm", "algorithm_options", "data_options", "model_options", "team_options")


class UsageError(Exception):
    """Bad input: its text is the one line that the user sees."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of one command; ``unknown`` holds flags that belong to an algorithm, data or model.

    Raises:
      UsageError: a missing command, or a value of the wrong type.
    """
    parser = _Parser(prog="fedjax-layers", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    run = commands.add_parser("run", help="run one algorithm", allow_abbrev=False)
    run.add_argument("algorithm", nargs="?", default=RunConfig.algorithm)
    compare = commands.add_parser("compare", help="run several algorithms on the same clients", allow_abbrev=False)
    compare.add_argument("algorithms", nargs="?", default=COMPARED, help="names, separated by commas")
    compare.add_argument("--seeds", type=int, default=1, help="runs per algorithm, seeds counting up from --seed")
    about = "train one model centrally, on a reserve that no client of a later run owns (--reserve, 0.3)"
    pretrain = commands.add_parser("pretrain", help=about, allow_abbrev=False)
    sweep = commands.add_parser("sweep", help="one algorithm with many settings and seeds", allow_abbrev=False)
    sweep.add_argument("algorithm", nargs="?", default=RunConfig.algorithm)
    _add_sweep(sweep)
    for sub in (run, compare, pretrain, sweep):
        _add_common(sub)
    joining = commands.add_parser("merge", help="join the parts of a sweep", allow_abbrev=False)
    joining.add_argument("parts", nargs="+", help="folders of finished shards")
    joining.add_argument("--out", required=True, help="folder of the whole")
    commands.add_parser("doctor", help="check devices, versions and data", allow_abbrev=False)
    data_commands = _add_data(commands)
    subs = {"run": [run], "compare": [compare], "pretrain": [pretrain], "sweep": [sweep], "merge": [joining]}
    subs["data"] = [*data_commands, run]  # a run's flags are known to be none of data's, which refuses them
    own_subs = subs.get(arguments[0] if arguments else "", [])
    known = {flag for sub in (parser, *own_subs) for action in sub._actions for flag in action.option_strings}
    own, unknown = _split_unknown(arguments, known)
    options = parser.parse_args(own)
    options.unknown = unknown
    if options.command in ("doctor", "merge") and unknown:
        raise UsageError(f"{options.command}: expected no flags but its own, got {unknown[0]!r}")
    return options


def config_of(options: argparse.Namespace, algorithm: str, **changes: Any) -> RunConfig:
    """The config that the flags describe for one algorithm.

    Raises:
      UsageError: an unknown flag or name (the nearest is suggested), or a number out of range.
    """
    values = {f.name: getattr(options, f.name) for f in _flag_fields() if hasattr(options, f.name)}
    values |= {"algorithm": algorithm} | changes
    try:
        plain = RunConfig(**values)
        routed: dict[str, Any] = dict(_routed(options.unknown, plain, getattr(options, "team_formation", None)))
        if plain.team_formation is None:  # this one of several algorithms has no teams
            del routed["team_options"]
        return dataclasses.replace(plain, **routed)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _add_sweep(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    spec = "NAME=low:high:number, NAME=low:high:number:log or NAME=a,b,c; of any field or option, several times"
    add("--vary", action="append", default=[], metavar="NAME=SPEC", help=spec)
    add("--grid", help="JSON file: a list of settings, or names with their values as in --vary")
    add("--zip", action="store_true", help="the first values together, the second ones, ...; else every combination")
    add(
        "--random", type=int, metavar="N", help="N settings drawn by --seed, of intervals NAME=low:high[:log] or values"
    )
    add("--seeds", type=int, default=1, help="runs per setting, seeds counting up from --seed")
    what = ",".join(SEED_FIELDS)
    add("--seeds-vary", type=_names, default=tuple(SEED_FIELDS), help=f"what those seeds decide ({what})")
    add(
        "--run-width",
        default="auto",
        help="runs vectorised at once on each device: auto, or a number; 1 is in turn (auto)",
    )
    add("--rungs", type=functools.partial(_numbers, kind=int), default=(), help="rounds after which settings stop")
    add("--keep", type=float, default=Stopping.keep, help=f"share of them that goes on ({Stopping.keep})")
    add("--shard", default="0/1", metavar="I/N", help="compute part I, from 0, of N")


def _add_data(commands: Any) -> list[_Parser]:
    """``data list``, ``data prepare`` and ``data show``."""
    about = commands.add_parser("data", help="list, prepare or show data sets", allow_abbrev=False)
    actions = about.add_subparsers(dest="action", required=True, parser_class=_Parser)
    listing = actions.add_parser("list", help="the table of data sets", allow_abbrev=False)
    listing.add_argument("--markdown", action="store_true", help="the documentation's table, with licences")
    preparing = actions.add_parser("prepare", help="prepare data sets with TFDS", allow_abbrev=False)
    preparing.add_argument("names", nargs="+", help="data sets")
    preparing.add_argument("--out", help="folder that TFDS writes to; TFDS_DATA_DIR, else TFDS's own")
    fetch = "fetch missing files from their authors where the address is known (yes)"
    preparing.add_argument("--download", action=argparse.BooleanOptionalAction, default=True, help=fetch)
    showing = actions.add_parser("show", help="how a data set is split over clients", allow_abbrev=False)
    showing.add_argument("dataset", nargs="?", default=RunConfig.dataset)
    showing.add_argument("--plot", help="file for a picture, e.g. split.png")
    showing.add_argument("--save", help="file for the partition, which a run can be given, e.g. split.npz")
    for field in _flag_fields():
        if field.name in _SHOWN:
            _add_flag(showing, field)
    for sub in (listing, preparing, showing):
        sub.add_argument("--data-dir", help=_DATA_DIR)
    return [about, listing, preparing, showing]


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", help="run directory; a new folder under runs/")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--data-dir", help=_DATA_DIR)
    for field in _flag_fields():
        _add_flag(parser, field)


def _add_flag(parser: argparse.ArgumentParser, field: dataclasses.Field[Any]) -> None:
    kind = _type_of(field)
    flag = "--" + field.name.replace("_", "-")
    about = field.metadata
    text = f"{about['help']} ({about['unset'] or field.default})"
    if kind is bool:
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default, help=text)
    else:
        parser.add_argument(flag, type=kind, default=field.default, help=text)


def _flag_fields() -> list[dataclasses.Field[Any]]:
    return [f for f in dataclasses.fields(RunConfig) if f.name not in _TAKEN_ELSEWHERE]


def _type_of(field: dataclasses.Field[Any]) -> Any:
    hint = typing.get_type_hints(RunConfig)[field.name]
    if hint == tuple[str, ...]:
        return _names
    kinds = [k for k in typing.get_args(hint) or (hint,) if k is not type(None)]
    if typing.get_origin(kinds[0]) is tuple:
        return functools.partial(_numbers, kind=typing.get_args(kinds[0])[0])
    return kinds[0]


def _names(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)


def _numbers(text: str, kind: type[int] | type[float]) -> tuple[float, ...]:
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        spoken = "whole numbers" if kind is int else "numbers"
        raise argparse.ArgumentTypeError(f"expected {spoken} separated by commas, got {text!r}") from None


def _routed(unknown: Sequence[str], config: RunConfig, team_formation: str | None) -> dict[str, dict[str, Any]]:
    """Flags that are no field, sorted into the options of algorithm, data, model and team formation."""
    homes = option_homes(config, team_formation)
    routed: dict[str, dict[str, Any]] = {home: {} for home in homes}
    for flag, value in _pairs(unknown):
        name = flag.lstrip("-")
        only_for, _, bare = name.rpartition(".")
        name = bare.replace("-", "_")
        if only_for and only_for.replace("-", "_") != config.algorithm:
            _known_algorithm(only_for)
            continue
        found = [
            home for home, names in homes.items() if name in names and not (only_for and home != next(iter(homes)))
        ]
        if not found:
            known = {n for names in homes.values() for n in names} | {f.name for f in _flag_fields()}
            raise unknown_name("flag", name, {f"--{n.replace('_', '-')}" for n in known})
        if len(found) > 1:
            raise ValueError(f"--{name}: expected a flag of one thing, found it in {' and '.join(found)}")
        routed[found[0]][name] = _value(value)
    return routed


def _known_algorithm(name: str) -> None:
    if name.replace("-", "_") not in registry:
        raise unknown_name("algorithm", name, registry)


def _split_unknown(arguments: Sequence[str], known: set[str]) -> tuple[list[str], list[str]]:
    """Arguments of the parser, and flags it does not know with their values (else a value passes for a name)."""
    own: list[str] = []
    unknown: list[str] = []
    rest = list(arguments)
    while rest:
        token = rest.pop(0)
        if not token.startswith("--") or token.partition("=")[0] in known:
            own.append(token)
            if token in known and rest and not rest[0].startswith("--"):
                own.append(rest.pop(0))
            continue
        unknown.append(token)
        if "=" not in token and rest and not rest[0].startswith("--"):
            unknown.append(rest.pop(0))
    return own, unknown


def _pairs(unknown: Sequence[str]) -> list[tuple[str, str]]:
    pairs, rest = [], list(unknown)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith("--"):
            raise ValueError(f"arguments: expected a flag, got {flag!r}")
        name, equals, value = flag.partition("=")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
        pairs.append((name, value))
    return pairs


def _value(text: str) -> Any:
    return tuple(plain(part) for part in text.split(",")) if "," in text else plain(text)
