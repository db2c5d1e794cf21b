"""Runs of configs: the config of each run of a request, and which runs share data, a program or their rounds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from fedjax_layers import algorithms
from fedjax_layers.algorithms.report import Decision
from fedjax_layers.data.changes.corruption import CORRUPTIONS
from fedjax_layers.experiment.config.aggregation_fields import traced_settings
from fedjax_layers.experiment.config.named_options import option_named
from fedjax_layers.experiment.config.owners import KINDS
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.config.traced import TRACED, traceable_counts, traced_numbers
from fedjax_layers.experiment.records.run_directory import to_json
from fedjax_layers.experiment.setup.shared_data import loaded_key
from fedjax_layers.ops.collusion import COLLUSIONS
from fedjax_layers.ops.poison import POISONS
from fedjax_layers.options import defaults_of
from fedjax_layers.sweeps.request import SweepRequest

_SEEDED = {"start": "start_seed", "partition": "partition_seed", "sampling": "seed"}
_READ_LAST = ("rounds", "patience", "scored_model", "scored_round")  # when a run ends, and what is reported of it


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


def swept_runs(request: SweepRequest, make: Callable[[Mapping[str, Any]], RunConfig]) -> list[SweptRun]:
    """Every setting with every seed, seeds within settings; of all shards.

    Args:
      request: settings and seeds. A text in a setting is read as a value of the option's type.
      make: ``setting -> config``, as :func:`~fedjax_layers.experiment.config.named_options.with_setting` of a config.

    Raises:
      ValueError: a setting that varies a seed, or one that makes no config.
    """
    for name in _SEEDED.values():
        if name in request.names:
            raise ValueError(f"{name}: expected seeds beside the grid, got them as a setting")
    runs: list[SweptRun] = []
    for setting in request.settings:
        config = make(setting)
        if config.save_model:
            raise ValueError("save_model: expected none in a sweep, which keeps no models")
        read = {n: option_named(n, config).parsed(x) if isinstance(x, str) else x for n, x in setting.items()}
        counts = counts_of(request.names, config.algorithm)
        for seed in request.seeds:
            runs.append(SweptRun(len(runs), read, seed, _seeded(config, seed, request.seeds_vary), counts))
    return runs


def counts_of(varied: Collection[str], algorithm: str) -> frozenset[str]:
    """Return the whole numbers among the algorithm's options that are traced, since they are varied."""
    return frozenset({_of_algorithm(name) for name in varied} & traceable_counts(algorithm))


def _seeded(config: RunConfig, seed: int, seeds_vary: Collection[str]) -> RunConfig:
    """The config with this seed for what it decides, and its own for the rest."""
    changes: dict[str, Any] = {}
    for what, field in _SEEDED.items():
        own = config.seed if getattr(config, field) is None else getattr(config, field)
        changes[field] = seed if what in seeds_vary else own
    if config.init_from is not None or changes["start_seed"] == changes["seed"]:
        changes["start_seed"] = None  # a run's seed draws its start too
    if changes["partition_seed"] == changes["seed"]:
        changes["partition_seed"] = None
    return dataclasses.replace(config, **changes)


def _of_algorithm(name: str) -> str:
    """The name of an algorithm's option without its prefix; empty behind the prefix of anything else."""
    prefix, _, bare = name.rpartition(".")
    return "" if prefix in KINDS.keys() - {"algorithm"} else bare


def is_traced(config: RunConfig, name: str) -> bool:
    """Whether another value of this name is the same program."""
    options = traced_numbers(config, traceable_counts(config.algorithm))["options"]
    poison = name == "attack_strength" and config.attack in (*POISONS, *COLLUSIONS)
    rule = name.removeprefix("aggregate_") in traced_settings(config)
    return name in TRACED or _of_algorithm(name) in options or poison or rule


def decision_of(config: RunConfig) -> tuple[Decision, Any] | None:
    """An option of a run's algorithm that only decides, as the algorithm declares it, and its value; or ``None``.

    The number of layers that are updated or kept, say, is none: two different numbers concern different layers in
    every round, so that nothing after the first local phase would be the same.
    """
    factory = algorithms.registry[config.algorithm]
    options = defaults_of(factory) | dict(config.algorithm_options)
    found = factory.decision(options)
    return None if found is None else (found, options[found.option])


def data_key(config: RunConfig) -> str:
    """Equal for runs whose clients hold the same examples in every round."""
    parts: dict[str, Any] = {"loaded": loaded_key(config)}
    if config.drift:
        parts |= {"drift": config.drift, "drift_seed": config.seed}
    if config.attack in CORRUPTIONS:
        parts |= {name: getattr(config, name) for name in ("attack", "attack_fraction", "attack_target")}
        parts |= {"attack_strength": config.strength, "attack_seed": config.seed}
    return _text(parts)


def program_key(config: RunConfig, counts: Collection[str] = ()) -> str:
    """Equal for runs of one program, where their data have the same shapes.

    ``counts`` names whole numbers among the algorithm's options that are traced.
    """
    fields = to_json(config)
    for name in (*TRACED, *_SEEDED.values(), *_READ_LAST):
        del fields[name]
    fields |= {f"aggregate_{name}": "traced" for name in traced_settings(config)}
    fields["data_options"].pop("split_seed", None)
    for name in traced_numbers(config, counts)["options"]:
        fields["algorithm_options"][name] = "traced"
    fields["attack_strength"] = config.strength is not None  # traced, or the rate of a corruption
    return _text(fields | {"own_start": config.start_seed is not None, "tail": _tail(config)})


def family_key(config: RunConfig, counts: Collection[str] = ()) -> str:
    """Equal for runs that differ at most in a decision, in when they end, or in what is reported of them.

    ``counts`` as in :func:`program_key`: a decision about a number that is not traced is made while compiling.
    """
    fields = to_json(config)
    for name in _READ_LAST:
        del fields[name]
    decision = decision_of(config)
    if decision is not None and decision[0].option in traced_numbers(config, counts)["options"]:
        del fields["algorithm_options"][decision[0].option]
    return _text(fields | {"tail": _tail(config)})


def _tail(config: RunConfig) -> int:
    """Rounds, where they end between two evaluations: such runs are evaluated where others are not."""
    return config.rounds if config.rounds % config.eval_every else 0


def _text(value: Any) -> str:
    return json.dumps(to_json(value), sort_keys=True)
