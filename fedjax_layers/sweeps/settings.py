"""From settings and seeds to configs, and which of them share data, a program, or all of their rounds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from fedjax_layers.data.changes.corruption import CORRUPTIONS
from fedjax_layers.experiment.config.owners import KINDS, owners, placed
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.config.traced import TRACED, traceable_counts, traced_numbers
from fedjax_layers.experiment.records.run_directory import to_json
from fedjax_layers.ops.poison import POISONS
from fedjax_layers.options import unknown_name
from fedjax_layers.sweeps.decisions import decision_of
from fedjax_layers.sweeps.grid import check_number_of_runs

SEED_FIELDS = {"start": "start_seed", "partition": "partition_seed", "sampling": "seed"}
_READ_LAST = ("rounds", "patience", "scored_model", "scored_round")  # when a run ends and what is told of it
_SEEDS = ("seed", "start_seed", "partition_seed")
_DATA = ("dataset", "data_options", "partition", "clients")


class SweptRun(NamedTuple):
    """One run of a sweep.

    Attributes:
      number: its place.
      setting: what was varied, by name.
      seed: of the run.
      config: all of it.
      counts: whole numbers among its algorithm's options that are traced, because they are varied.
    """

    number: int
    setting: dict[str, Any]
    seed: int
    config: RunConfig
    counts: frozenset[str] = frozenset()


def swept_runs(
    settings: Sequence[Mapping[str, Any]],
    seeds: Sequence[int],
    make: Callable[[Mapping[str, Any]], RunConfig],
    seeds_vary: Sequence[str] = tuple(SEED_FIELDS),
) -> list[SweptRun]:
    """Every setting with every seed, seeds within settings.

    Args:
      settings: see :mod:`fedjax_layers.sweeps.grid`.
      seeds: one run of each setting per seed.
      make: ``setting -> config``, see :func:`joined`.
      seeds_vary: what a seed decides, of ``SEED_FIELDS``; the rest keeps the config's own seed.

    Raises:
      ValueError: no setting, no seeds or one twice, another name in ``seeds_vary``, a setting that varies a seed, or
        one that makes no config.
    """
    if not settings:
        raise ValueError("grid: expected at least one setting, got none")
    check_number_of_runs(len(settings), len(seeds))
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds: expected different numbers, got {list(seeds)}")
    for what in seeds_vary:
        if what not in SEED_FIELDS:
            raise unknown_name("seeds_vary", what, SEED_FIELDS)
    runs: list[SweptRun] = []
    varied = {_of_algorithm(name) for setting in settings for name in setting}
    for setting in settings:
        for name in _SEEDS:
            if name in setting:
                raise ValueError(f"{name}: expected seeds beside the grid, got them as a setting")
        config = make(setting)
        if config.save_model:
            raise ValueError("save_model: expected none in a sweep, which keeps no models")
        counts = frozenset(varied & traceable_counts(config.algorithm))
        for seed in seeds:
            runs.append(SweptRun(len(runs), dict(setting), seed, _seeded(config, seed, seeds_vary), counts))
    return runs


def _seeded(config: RunConfig, seed: int, seeds_vary: Sequence[str]) -> RunConfig:
    """The config with this seed for what it decides, and its own for the rest."""
    changes: dict[str, Any] = {}
    for what, field in SEED_FIELDS.items():
        own = config.seed if getattr(config, field) is None else getattr(config, field)
        changes[field] = seed if what in seeds_vary else own
    if config.init_from is not None or changes["start_seed"] == changes["seed"]:
        changes["start_seed"] = None  # a run's seed draws its start too
    if changes["partition_seed"] == changes["seed"]:
        changes["partition_seed"] = None
    return dataclasses.replace(config, **changes)


def joined(base: RunConfig, setting: Mapping[str, Any]) -> RunConfig:
    """The config with a setting's fields and options in place of its own.

    Raises:
      ValueError: a name that is neither a field nor an option of its algorithm, data, model or teams, or of several.
    """
    fields = {f.name for f in dataclasses.fields(RunConfig)}
    if "cohort" in setting:
        setting = {"scored_model": "auto"} | dict(setting)  # it follows participation
    config = dataclasses.replace(base, **{name: value for name, value in setting.items() if name in fields})
    shift = setting.get("feature_shift", config.data_options.get("feature_shift"))
    own = owners(config, feature_shift=shift)
    changes: dict[str, dict[str, Any]] = {}
    for name, value in setting.items():
        if name not in fields:
            field, key = placed(name, own, fields)
            changes.setdefault(field, dict(getattr(config, field)))[key] = value
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


def _of_algorithm(name: str) -> str:
    """The name of an algorithm's option without its prefix; empty behind the prefix of anything else."""
    prefix, _, bare = name.rpartition(".")
    return "" if prefix in KINDS.keys() - {"algorithm"} else bare


def is_traced(config: RunConfig, name: str) -> bool:
    """Whether another value of this name is the same program."""
    bare = _of_algorithm(name)
    return (
        name in TRACED
        or bare in traced_numbers(config, traceable_counts(config.algorithm))["options"]
        or (name == "attack_strength" and config.attack in POISONS)
    )


def data_key(config: RunConfig) -> str:
    """Equal for runs whose clients hold the same examples in every round."""
    seed = config.seed if config.partition_seed is None else config.partition_seed
    parts: dict[str, Any] = {name: getattr(config, name) for name in _DATA} | {"seed": seed}
    if config.drift:
        parts |= {"drift": config.drift, "drift_seed": config.seed}
    if config.attack in CORRUPTIONS:
        parts |= {name: getattr(config, name) for name in ("attack", "attack_fraction", "attack_strength")}
        parts["attack_seed"] = config.seed
    return _text(parts)


def program_key(config: RunConfig, counts: Collection[str] = ()) -> str:
    """Equal for runs of one program, where their data have the same shapes.

    ``counts`` names whole numbers among the algorithm's options that are traced.
    """
    fields = to_json(config)
    for name in (*TRACED, *_SEEDS, *_READ_LAST, "attack_strength"):
        del fields[name]
    fields["data_options"].pop("split_seed", None)
    for name in traced_numbers(config, counts)["options"]:
        fields["algorithm_options"][name] = "traced"
    return _text(fields | {"own_start": config.start_seed is not None, "tail": _tail(config)})


def family_key(config: RunConfig, counts: Collection[str] = ()) -> str:
    """Equal for runs that are the same but for a decision, for when they end, or for what is told of them.

    ``counts`` as in :func:`program_key`: a decision about a number that is not traced is made while compiling.
    """
    fields = to_json(config)
    for name in _READ_LAST:
        del fields[name]
    decision = decision_of(config)
    if decision is not None and decision.option in traced_numbers(config, counts)["options"]:
        del fields["algorithm_options"][decision.option]
    return _text(fields | {"tail": _tail(config)})


def _tail(config: RunConfig) -> int:
    """Rounds, where they end between two evaluations: such runs are evaluated where others are not."""
    return config.rounds if config.rounds % config.eval_every else 0


def _text(value: Any) -> str:
    return json.dumps(to_json(value), sort_keys=True)
