"""The command line that repeats a run, a comparison or a sweep, made from the configs in its folder."""

from __future__ import annotations

import dataclasses
import itertools
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedjax_layers.experiment.config.asked import as_asked
from fedjax_layers.experiment.config.owners import KINDS, LOADING, Owner, owner
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.models.registry import USUAL_MODELS
from fedjax_layers.options import flag_of

_BESIDE = ("algorithm", "seed", *(kind.field for kind in KINDS.values()))


def run_command(config: Mapping[str, Any]) -> str:
    """Return the command that repeats one run.

    Args:
      config: the content of its ``config.json``.
    """
    flags = _flags(config)
    seed = ["--seed", str(config["seed"])] if config["seed"] else []
    return _joined(["run", str(config["algorithm"]), *flags.values()], seed)


def compare_command(configs: Sequence[Mapping[str, Any]]) -> str:
    """Return the command that repeats a comparison, whose configs are listed as ``config.json`` does.

    An option of one algorithm gets the algorithm's name as its prefix.
    """
    names, seeds = (list(dict.fromkeys(config[field] for config in configs)) for field in ("algorithm", "seed"))
    flags: dict[str, list[str]] = {}
    for config in configs:
        flags |= _flags(config, one_of_several=True)
    more = ["--seeds", str(len(seeds))] if len(seeds) > 1 else []
    return _joined(["compare", ",".join(names), *flags.values()], more, ["--seed", str(seeds[0])] if seeds[0] else [])


def sweep_command(
    configs: Sequence[Mapping[str, Any]], settings: Sequence[Mapping[str, Any]], seeds: Sequence[int]
) -> str | None:
    """Return the command that repeats a sweep.

    Args:
      configs: the configs of its runs, of which one is enough.
      settings: the settings in their order, each once.
      seeds: the seeds.

    Returns:
      The command; ``None`` if the settings are neither all combinations of listed values nor values in parallel.
    """
    names = list(settings[0])
    if any(list(setting) != names for setting in settings):
        return None
    columns = {name: [setting[name] for setting in settings] for name in names}
    each = {name: list({repr(value): value for value in values}.values()) for name, values in columns.items()}
    told = [tuple(map(repr, setting.values())) for setting in settings]
    if told == list(itertools.product(*([repr(x) for x in values] for values in each.values()))):
        values, how = each, []
    else:
        values, how = columns, ["--zip"]
    varied: list[str] = []
    for name, listed in values.items():
        if any(isinstance(value, list | tuple | Mapping) or value is None for value in listed):
            return None
        varied += ["--vary", f"{name}={','.join(map(_text, listed))}"]
    first = configs[0]
    own = {name: flag for name, flag in _flags(first).items() if name not in names and name.split(".")[-1] not in names}
    more = ["--seeds", str(len(seeds))] if len(seeds) > 1 else []
    start = ["--seed", str(seeds[0])] if seeds[0] else []
    named = [] if "algorithm" in names else [str(first["algorithm"])]
    return _joined(["sweep", *named, *own.values()], varied, how, more, start)


def _flags(config: Mapping[str, Any], *, one_of_several: bool = False) -> dict[str, list[str]]:
    """Return the flags of what was asked for beside algorithm and seed, by field or option."""
    asked = as_asked(config)
    if asked.get("scored_model") == _usual_scored_model(asked):
        del asked["scored_model"]
    flags: dict[str, list[str]] = {}
    for field in dataclasses.fields(RunConfig):
        value = asked.get(field.name)
        if field.name not in _BESIDE and value is not None and value != _default(field):
            flags[field.name] = _flag(field.name, value)
    own = _owners(config)
    for home in dict.fromkeys(kind.field for kind in KINDS.values()):
        for key, value in (asked.get(home) or {}).items():
            name = _full_name(key, home, own, str(config["algorithm"]) if one_of_several else "algorithm")
            flags[name] = [flag_of(name), _text(value)]
    return {name: flag for name, flag in flags.items() if flag[-1] != "None"}


def _owners(config: Mapping[str, Any]) -> list[Owner]:
    """List the owners of options that a config names, as far as they are registered."""
    options, dataset = config.get("data_options") or {}, config.get("dataset")
    named = {
        "algorithm": config.get("algorithm"),
        "data": dataset,
        "partition": config.get("partition") or "dirichlet",
        "feature_shift": options.get("feature_shift"),
        "model": config.get("model") or USUAL_MODELS.get(str(dataset), "mlp"),
        "team_formation": config.get("team_formation"),
    }
    return [LOADING, *(owner(prefix, str(name)) for prefix, name in named.items())]


def _full_name(key: str, home: str, own: Sequence[Owner], algorithm: str) -> str:
    """Return an option's name, with its owner's prefix where another one has it, or where several algorithms run."""
    bare = key.rpartition(".")[2]
    prefixes = {one.prefix for one in own if bare in one.options}
    mine = [one.prefix for one in own if one.field == home and bare in one.options]
    prefix = key.rpartition(".")[0] or (mine[0] if mine else "")
    fields = {field.name for field in dataclasses.fields(RunConfig)}
    if prefix == "algorithm" and algorithm != "algorithm":
        return f"{algorithm}.{bare}"
    return f"{prefix}.{bare}" if prefix and (len(prefixes) > 1 or bare in fields) else bare


def _default(field: dataclasses.Field[Any]) -> Any:
    return list(field.default) if isinstance(field.default, tuple) else field.default


def _usual_scored_model(asked: Mapping[str, Any]) -> str:
    evaluated = str(asked.get("evaluated_models", "both"))
    usual = "trained" if asked.get("cohort") is None else "served"
    return usual if evaluated == "both" else evaluated


def _flag(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [flag_of(name) if value else flag_of(f"no_{name}")]
    return [flag_of(name), _text(value)]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(_text, value)) if isinstance(value, list | tuple) else str(value)


def _joined(*parts: Iterable[str | list[str]]) -> str:
    words = itertools.chain.from_iterable([part] if isinstance(part, str) else part for one in parts for part in one)
    return shlex.join(["fedjax-layers", *words])
