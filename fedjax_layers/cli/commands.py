"""The parsers of all commands."""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

from fedjax_layers.algorithms import OBJECTIVES, registry
from fedjax_layers.cli.flags import add_field, flag_fields, name_list, numbers, path_of
from fedjax_layers.cli.help import add_groups, add_owners
from fedjax_layers.cli.output import add_output_flags
from fedjax_layers.cli.overview import add_command, overview
from fedjax_layers.cli.usage import Parser
from fedjax_layers.experiment.config.owners import Owner
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.same_run import TOLERANCE
from fedjax_layers.experiment.run import SAVE_EVERY
from fedjax_layers.sweeps.request import SEEDED, Stopping

COMPARED = "player_fl,local,fedavg,fedprox,fedbabu"
_SHOWN = ("partition", "clients", "partition_seed", "seed")  # fields that decide a partition
_DATA_DIR = "folder of the data files [default: the variable FEDJAX_LAYERS_DATA, else TFDS's own folder]"
_SAVE = f"seconds between two checkpoints, which do not wait for an evaluation [default: {SAVE_EVERY:g}]"
_TRACK = "tracker that follows the run: tensorboard, mlflow, wandb, or MODULE:FACTORY of your own [default: none]"
_ALL_FLAGS = "To see the options of an algorithm, data set, partition or model, name it beside --help."


@dataclasses.dataclass(frozen=True)
class Commands:
    """The parser of the command line, with those of each command."""

    whole: argparse.ArgumentParser
    of: dict[str, list[argparse.ArgumentParser]]


def make_commands(shown: Sequence[Owner] = ()) -> Commands:
    """Make the parsers of all commands; ``shown`` are the owners whose options are in the help."""
    parser, adding = overview()
    command = functools.partial(add_command, adding)
    run = command("run", "ALGORITHM")
    run.add_argument("algorithm", nargs="?", default=RunConfig.algorithm, help="name of the algorithm")
    compare = command("compare", "[A,B,C]")
    compare.add_argument("algorithms", nargs="?", default=COMPARED, help=f"names with commas [default: {COMPARED}]")
    pretrain = command("pretrain", "--dataset NAME")
    sweep = command("sweep", "ALGORITHM --vary NAME=SPEC")
    sweep.add_argument("algorithm", nargs="?", default=RunConfig.algorithm, help="name of the algorithm")
    for sub in (run, compare, pretrain, sweep):
        sub.epilog = _ALL_FLAGS
        groups = add_groups(sub, shown)
        _add_common(groups)
        if sub is not pretrain:
            _add_parts(groups["algorithm"])
        if sub is not sweep:
            groups["run"].add_argument("--save-every", type=float, default=SAVE_EVERY, metavar="SECONDS", help=_SAVE)
            groups["run"].add_argument("--track", metavar="NAME", help=_TRACK)
        if sub is compare:
            text = "runs per algorithm, seeds counting up from --seed [default: 1]"
            groups["run"].add_argument("--seeds", type=int, default=1, metavar="N", help=text)
        if sub is sweep:
            _add_sweep(sub.add_argument_group("sweep"))
        add_owners(sub, groups, shown)
    doctor = command("doctor", "[ALGORITHM]")
    _add_doctor(doctor, shown)
    completion = command("completion", "bash|zsh|fish")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell that shall complete")
    of: dict[str, list[argparse.ArgumentParser]] = {
        "run": [run],
        "compare": [compare],
        "pretrain": [pretrain],
        "sweep": [sweep],
        **_add_on_folders(command),
        "doctor": [doctor],
        "data": _add_data(command("data"), shown),
        "completion": [completion],
    }
    return Commands(parser, of)


def _add_parts(group: argparse._ArgumentGroup) -> None:
    """Add the flags that replace a part of an algorithm."""
    usual = "[default: the algorithm's]"
    text = f"rule that decides which layers are shared, in place of all: {', '.join(registry.rules)} {usual}"
    group.add_argument("--sharing", metavar="NAME", help=text)
    text = f"what clients minimise, in place of the plain loss: {', '.join(OBJECTIVES)} {usual}"
    group.add_argument("--objective", metavar="NAME", help=text)


def _add_doctor(parser: argparse.ArgumentParser, shown: Sequence[Owner]) -> None:
    text = "algorithm of the run whose memory is forecast"
    parser.add_argument("algorithm", nargs="?", default=RunConfig.algorithm, help=text)
    add_output_flags(parser, quiet="")
    groups = add_groups(parser, shown)
    _add_fields(groups)
    add_owners(parser, groups, shown)


def _add_on_folders(command: Callable[..., argparse.ArgumentParser]) -> dict[str, list[argparse.ArgumentParser]]:
    """Add the commands that read folders of runs, and return their parsers."""
    merge = command("merge")
    merge.add_argument("parts", nargs="+", type=path_of, help="folders of the finished parts")
    merge.add_argument("--out", required=True, type=path_of, help="new folder for the whole sweep")
    add_output_flags(merge)
    merge.set_defaults(report=True)
    inspect = command("inspect")
    _add_inspect(inspect)
    verify = command("verify", "DIR")
    _add_verify(verify)
    report = command("report", "DIR...")
    report.add_argument("folders", nargs="+", type=path_of, metavar="DIR", help="folders, of ended or unfinished runs")
    text = "file of the page [default: report.html in the folder, or here if there are several folders]"
    report.add_argument("--out", type=path_of, metavar="FILE", help=text)
    add_output_flags(report, quiet="print nothing but errors, and at the end the page's file")
    return {"merge": [merge], "inspect": [inspect], "verify": [verify], "report": [report]}


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", type=path_of, help="run directory; for metrics of layers also one of its files of models")
    add(
        "--scored-model",
        metavar="NAME",
        help="trained, served, team or global [default: what the run's summary scores]",
    )
    add("--scored-round", metavar="NAME", help="best or last [default: what the run's summary scores]")
    text = "show metrics of the saved models' layers in place of the clients: all, or names with commas"
    add("--layer-metrics", metavar="NAMES", help=text)
    add("--layers", metavar="NAMES", help="layers to show, with commas [default: all]")
    text = "number of each client's training examples that the metrics are computed on [default: 32]"
    add("--examples", type=int, default=32, metavar="N", help=text)
    add("--plot", type=path_of, metavar="FILE", help="draw the metrics against the depth of the layers")
    add("--data-dir", type=path_of, metavar="DIR", help=_DATA_DIR)
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--csv", action="store_true", help="print all scores, or metrics, as comma-separated values")
    add_output_flags(one, quiet="")


def _add_verify(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    parser.epilog = "Exit code: 0 if the numbers repeat, 1 if one differs, 2 for bad input. Nothing is written."
    add(
        "folder",
        type=path_of,
        metavar="DIR",
        help="folder of a run, a comparison or a sweep, which need not have ended",
    )
    add("--rounds", type=int, metavar="N", help="rounds of each run [default: up to the first evaluation]")
    add(
        "--runs",
        type=int,
        metavar="N",
        help="first runs of a comparison [default: all] or a sweep, whose runs are computed to their end [default: 1]",
    )
    tolerance = "relative difference allowed of means over clients; 0: every number bit for bit [default: 0, "
    tolerance += f"or {TOLERANCE} with other releases or devices]"
    add("--rtol", type=float, metavar="X", help=tolerance)
    add("--data-dir", type=path_of, metavar="DIR", help=_DATA_DIR)
    add_output_flags(parser, quiet="print nothing but errors: the exit code tells the outcome")


def _add_sweep(group: Any) -> None:
    add = group.add_argument
    spec = "values of a field or option: NAME=low:high:number, NAME=low:high:number:log or NAME=a,b,c; may be repeated"
    add("--vary", action="append", default=[], metavar="NAME=SPEC", help=spec)
    add(
        "--grid",
        type=path_of,
        metavar="FILE",
        help="JSON file with a list of settings, or with names and their values as in --vary",
    )
    pairs = "combine the first values of all names, then the second ones, ...; without it every combination is run"
    add("--zip", action="store_true", help=pairs)
    draw = "draw N settings with --seed, from intervals NAME=low:high[:log] or from lists of values"
    add("--random", type=int, metavar="N", help=draw)
    seeds = "runs per setting; their seeds count up from --seed [default: 1]"
    add("--seeds", type=int, default=1, metavar="N", help=seeds)
    decide = f"what the seed of a run decides; the rest is the same in all runs [default: {','.join(SEEDED)}]"
    add("--seeds-vary", type=name_list, default=SEEDED, metavar="A,B,...", help=decide)
    width = "how many runs each device computes at once; 1: one run after another, auto: measured [default: auto]"
    add("--run-width", default="auto", metavar="N", help=width)
    rungs = "rounds after which settings are compared, and the worse ones stop [default: none]"
    add("--rungs", type=functools.partial(numbers, kind=int), default=(), metavar="N,N,...", help=rungs)
    keep = f"share of the settings that goes on after each of the --rungs [default: {Stopping.keep}]"
    add("--keep", type=float, default=Stopping.keep, metavar="X", help=keep)
    add("--shard", default="0/1", metavar="I/N", help="compute part I, from 0, of N parts [default: 0/1]")


def _add_data(parser: argparse.ArgumentParser, shown: Sequence[Owner]) -> list[argparse.ArgumentParser]:
    """Add the parsers of ``data list``, ``data prepare``, ``data convert`` and ``data show``."""
    adding = parser.add_subparsers(dest="action", required=True, parser_class=Parser, metavar="ACTION")

    def action(name: str, about: str, usage: str = "") -> argparse.ArgumentParser:
        text = f"fedjax-layers data {name} {usage} [flags]" if usage else None
        sub: argparse.ArgumentParser = adding.add_parser(
            name, help=about, usage=text, description=f"{about.capitalize()}.", allow_abbrev=False
        )
        sub.add_argument("--data-dir", type=path_of, metavar="DIR", help=_DATA_DIR)
        return sub

    listing = action("list", "show the table of data sets")
    one = listing.add_mutually_exclusive_group()
    one.add_argument("--markdown", action="store_true", help="print the documentation's table, with licences")
    add_output_flags(one, quiet="")
    preparing = action("prepare", "prepare data sets with TFDS")
    preparing.add_argument("names", nargs="+", help="names of data sets")
    out = "folder to which TFDS writes [default: the variable TFDS_DATA_DIR, else TFDS's own folder]"
    preparing.add_argument("--out", type=path_of, metavar="DIR", help=out)
    fetch = "fetch missing files from their authors where the address is known [default: true]"
    preparing.add_argument("--download", action=argparse.BooleanOptionalAction, default=True, help=fetch)
    converting = action("convert", "convert a folder of PFLlib, whose files are pickled, to plain arrays", "FOLDER")
    converting.add_argument("folder", type=path_of, help="folder with train/<client>.npz and test/<client>.npz")
    new = "new folder, which runs read with --dataset client_folder --path DIR"
    converting.add_argument("--out", type=path_of, metavar="DIR", required=True, help=new)
    showing = action("show", "show how a data set is split among clients", "[NAME]")
    showing.add_argument("dataset", nargs="?", default=RunConfig.dataset, help="name of the data set")
    showing.add_argument("--plot", type=path_of, metavar="FILE", help="file for a picture, e.g. split.png")
    save = "save the partition to this file, which a run can use, e.g. split.npz"
    showing.add_argument("--save", type=path_of, metavar="FILE", help=save)
    showing.add_argument("--overwrite", action="store_true", help="replace an existing file of --save")
    add_output_flags(showing, quiet="")
    groups = add_groups(showing, shown)
    for field in flag_fields():
        if field.name in _SHOWN:
            add_field(groups[field.metadata["group"]], field)
    add_owners(showing, groups, shown)
    return [parser, listing, preparing, converting, showing]


def _add_common(groups: dict[str, Any]) -> None:
    add = groups["run"].add_argument
    add("--out", type=path_of, metavar="DIR", help="run directory [default: a new folder under runs/]")
    add("--resume", action="store_true", help="continue the run in --out")
    page = "write report.html, a page with tables and charts, into the folder at the end [default: true]"
    add("--report", action=argparse.BooleanOptionalAction, default=True, help=page)
    kept = "folder in which JAX keeps compiled programs for later commands, or off [default: one in the user's cache]"
    add("--compilation-cache", type=path_of, metavar="DIR", help=kept)
    add_output_flags(groups["run"])
    _add_fields(groups)


def _add_fields(groups: dict[str, Any]) -> None:
    groups["data"].add_argument("--data-dir", type=path_of, metavar="DIR", help=_DATA_DIR)
    for field in flag_fields():
        add_field(groups[field.metadata["group"]], field)
