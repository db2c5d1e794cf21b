"""Seeded command lines of every subcommand, with good and bad values, and configs with other values."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import random
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import fuzz_values
import jax
from fuzz_watch import Bad, Refused

from fedjax_layers import data
from fedjax_layers.algorithms import registry
from fedjax_layers.cli import compare, doctor, main, run, sweep
from fedjax_layers.engine.placement.width import pinned_axis
from fedjax_layers.experiment.config.owners import KINDS, all_owners, owner, owners
from fedjax_layers.experiment.config.run_config import RunConfig, config_options
from fedjax_layers.experiment.records.run_directory import to_json
from fedjax_layers.experiment.setup import prepare
from fedjax_layers.options import Option, flag_of

Case = tuple[str, Callable[[], object]]
_COMMANDS = ("run", "run", "run", "compare", "sweep", "sweep", "pretrain", "data show", "doctor", "help", "others")
_OTHERS = (["data", "list"], ["data", "prepare", "--no-download"], ["inspect"], ["merge"], ["verify"], ["data"], [])
_SETS = ("heart", "heart", "heart", "digits", "synthetic", "csv", "npz", "mnist", "parkinsons")
_WORDS = ("", "nan", "-inf", "1e999", "-1", "0", "1.5", "9" * 400, "a,b", "1,2,3", ",", "true", "none", "é🦊", "--")
_MORE = ("../guarded/mine.csv", "mine", "mine/notes.txt", "new", "/", "x" * 300, "0.1,", "=", "1:2:3", "name@1", "\x7f")
_PLACES = ("mine", "mine/notes.txt", "new", "new/deep", "", ".", "x" * 300, "mine/notes.txt/deep", "circle")
_SPECS = ("1:2:3", "1:2:3:log", "0:1:2", "1,2", "a,b", "", ":", "1:", "1:2", "nan:1:2", "1:2:0", "1:2:999999999")
_WRITTEN = ("--out", "--save", "--plot", "--store", "--compilation-cache")


class Reached(Exception):  # noqa: N818
    """The command would start to train now."""


def _reached(*_: Any, **__: Any) -> Any:
    raise Reached


@contextlib.contextmanager
def untrained() -> Iterator[None]:
    """End every command where it would start to train."""
    with contextlib.ExitStack() as stack:
        for owner, name in ((run, "run_one"), (compare, "_run_all"), (sweep, "run_sweep"), (doctor, "start_state")):
            stack.enter_context(mock.patch.object(owner, name, _reached))
        stack.enter_context(mock.patch.object(prepare, "pick_axis", return_value=pinned_axis(None)))
        for name in ("enable_compilation_cache", "compilation_cache_dir", "persistent_cache_min_compile_time_secs"):
            stack.callback(jax.config.update, f"jax_{name}", getattr(jax.config, f"jax_{name}"))
        stack.enter_context(mock.patch.object(prepare, "_with_learnt_teams", lambda experiment: experiment))
        yield


def command(words: list[str], mine: Path | None = None) -> None:
    """Run a command; what is bad about its end is raised."""
    before = None if mine is None else _contents(mine)
    told = io.StringIO()
    try:
        with untrained(), contextlib.redirect_stderr(told):
            code = main(words)
    except Reached:
        code = 0
    lines = [line for line in told.getvalue().splitlines() if not line.startswith("warning: ")]
    if mine is not None and {name: _contents(mine).get(name) for name in before or {}} != before:
        raise Bad("it changed a file that was there")
    if code == 0:
        return
    if code != 2 or len(lines) != 1 or not lines[0].startswith("fedjax-layers: "):
        raise Bad(f"exit code {code}, lines {lines[:3]}")
    raise Refused(lines[0])


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def command_line(rng: random.Random, folder: Path) -> Case:
    """A command with flags drawn at random."""
    mine = folder / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    (folder / "circle").symlink_to("circle")
    (folder / "own.csv").write_text("a,y,who\n" + "".join(f"{i},{i % 2},{i % 3}\n" for i in range(40)))
    (folder / "grid.json").write_text(fuzz_values.written(fuzz_values.changed(rng, [{"mu": 1}, {"rounds": 2}])))
    (folder / "own.py").write_bytes(rng.choice([b"", b"x = (", b"1 / 0", b"\x00", b"import no_such_package"]))
    words = _words(rng)
    return " ".join(words)[:300], lambda: command(words, mine)


command_line.share = 15.0  # type: ignore[attr-defined]


def _words(rng: random.Random) -> list[str]:
    kind = rng.choice(_COMMANDS)
    if kind in ("help", "others"):
        words = [*rng.choice(_OTHERS)] if kind == "others" else [rng.choice(_COMMANDS[:-2]).split()[0], "--help"]
        return words + rng.sample([*_WORDS, *_MORE, "--out", "--csv", "heart", "--markdown"], rng.randrange(3))
    names, chosen = rng.sample(sorted(registry), 2), rng.choice(_SETS)
    words = kind.split()
    if kind in ("run", "sweep", "doctor"):
        words.append(rng.choice([*names[:1] * 9, rng.choice([*_WORDS, *_MORE])]))
    elif kind == "compare":
        words.append(rng.choice([*[",".join(names)] * 6, ",".join(names[:1] * 2), rng.choice(_MORE)]))
    words += ["--dataset", chosen]
    if kind != "data show":
        words += ["--rounds", "1", "--client-width", "all"]
    if chosen in ("csv", "npz"):
        words += ["--path", "own.csv", "--label", "y"]
    own = _own(names[0], chosen)
    if kind == "sweep":
        spec = f"{rng.choice(own)[0]}={rng.choice(_SPECS)}"
        words += rng.choice([["--vary", spec], ["--vary", spec], ["--grid", "grid.json"]])
        shard = rng.choice(["0/1", "1/1", "a/b", "0/2"])
        words += rng.choice([[], [], ["--random", rng.choice(_WORDS)], ["--shard", shard]])
    for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 5])):
        words += _flag(rng, own if rng.random() < 0.8 else _options())
    return [word.replace("\x00", "") for word in words]


@functools.cache
def _options() -> list[tuple[str, Option]]:
    """List every field and option that there is, by name."""
    own = [(name, option) for owner in all_owners() for name, option in owner.options.items()]
    return sorted({**dict(own), **config_options()}.items())


@functools.cache
def _own(algorithm: str, dataset: str) -> list[tuple[str, Option]]:
    """List the fields and options of a run."""
    of_run = [*owners(RunConfig(algorithm="local", dataset=dataset)), owner("algorithm", algorithm)]
    own = [(name, option) for one in of_run for name, option in one.options.items()]
    return sorted({**dict(own), **config_options()}.items())


def _flag(rng: random.Random, options: list[tuple[str, Option]]) -> list[str]:
    if rng.random() < 0.12:
        return [rng.choice(_WRITTEN), rng.choice(_PLACES)]
    if rng.random() < 0.08:
        extra = [["--resume"], ["--seeds", "2"], ["--zip"], ["--unknown", "3"], ["-x"], ["word"]]
        file = rng.choice(["own.py", "none.py", "mine"])
        return rng.choice([*extra, ["--algorithm-file", file], ["--data-dir", rng.choice(_MORE)]])
    name, option = rng.choice(options)
    return [flag_of(name), _value(rng, name, option)]


def _value(rng: random.Random, name: str, option: Option) -> str:
    if rng.random() < 0.25:
        return rng.choice([*_WORDS, *_MORE])
    names: dict[str, Any] = {"dataset": data.DATASETS, **{prefix: kind.names for prefix, kind in KINDS.items()}}
    known = option.choices or sorted(map(str, names.get(name, ())))
    if known:
        return str(rng.choice(known))
    kinds = [kind for kind in option.kinds if kind is not type(None)]
    kind = rng.choice(kinds)
    one = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else kind
    made = {int: lambda: str(rng.choice([1, 2, 3, 10, 0, -1, 100])), bool: lambda: rng.choice(["true", "false"])}
    made |= {float: lambda: str(rng.choice([0.5, 0.1, 1, 2.5, 0, -0.5, 1e-9, 1e9]))}
    make = made.get(one, lambda: rng.choice(_WORDS))
    return ",".join(make() for _ in range(rng.choice([1, 2, 3]) if one is not kind else 1))


def _config(rng: random.Random) -> dict[str, Any]:
    name = rng.choice(sorted(registry))
    options = {"personal_layers": 1} if name == "fedper" else {}
    config = RunConfig(algorithm=name, dataset="heart", rounds=1, client_width="all", algorithm_options=options)
    content: dict[str, Any] = json.loads(json.dumps(to_json(config)))
    return content


def config(rng: random.Random, folder: Path) -> Case:
    """A config file of which a field holds something else, in a folder that is to be resumed."""
    content: Any = _config(rng)
    field = rng.choice(sorted(content))
    for _ in range(rng.choice([1, 1, 2])):
        if rng.random() < 0.7:
            content[field] = rng.choice(fuzz_values.ODD)
        else:
            content = fuzz_values.changed(rng, content)
            if not isinstance(content, dict):
                break
    several = rng.random() < 0.15
    (folder / "run").mkdir()
    written = {"runs": [content, content]} if several else content
    (folder / "run" / "config.json").write_bytes(fuzz_values.written(written).encode("utf-8", "surrogatepass"))
    words = [rng.choice(["compare", "sweep"]) if several else "run", "--out", "run", "--resume"]
    told = f"{field} = {content.get(field)!r}"[:150] if isinstance(content, dict) else "no object"
    return told, lambda: command(words)


config.share = 8.0  # type: ignore[attr-defined]


def mapping(rng: random.Random, folder: Path) -> Case:
    """A config made from Python values."""
    del folder
    content = _config(rng)
    field = rng.choice(sorted(content))
    content[field] = rng.choice(fuzz_values.ODD)
    return f"{field} = {content[field]!r}"[:150], lambda: RunConfig.from_mapping(content)


mapping.share = 25.0  # type: ignore[attr-defined]

KINDS_OF_COMMANDS = {"command line": command_line, "config file": config, "config": mapping}
