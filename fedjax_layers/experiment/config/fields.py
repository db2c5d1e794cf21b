"""Declarations of config fields beside their types: help, group, choices, and what a field needs to have an effect."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from fedjax_layers import data
from fedjax_layers.algorithms import registry
from fedjax_layers.models.registry import model_options
from fedjax_layers.ops.collusion import SEARCHING
from fedjax_layers.ops.poison import POISONS
from fedjax_layers.options import options_of

GROUPS = ("run", "data", "model", "local training", "server", "algorithm", "evaluation", "faults", "attack", "privacy")


class Needs(NamedTuple):
    """What else a config must have so that a field has an effect.

    Attributes:
      what: the flags that give it, as a user writes them.
      met: function that says whether a config has it.
    """

    what: str
    met: Callable[[Any], bool]


def option(
    default: Any,
    group: str,
    text: str,
    *,
    unset: str = "",
    choices: Collection[str] = (),
    needs: Needs | None = None,
    metavar: str = "",
) -> Any:
    """Declare a config field that is a flag of the command line.

    Args:
      default: the value where none is given.
      group: the group of help that shows the field, one of :data:`GROUPS`.
      text: one line of help, without the default.
      unset: the meaning of ``None``, or of an empty tuple, for the help.
      choices: the allowed values beside ``None``; empty where any value of the type is allowed.
      needs: what else must be given for the flag to have an effect; without it, the flag is refused.
      metavar: the placeholder for the value in help, where its type does not tell enough.
    """
    return dataclasses.field(default=default, metadata=_about(group, text, unset, choices, needs, metavar))


def options(group: str, text: str) -> Any:
    """Declare a config field that holds the options of a part, such as the model, by their names."""
    return dataclasses.field(default_factory=dict, metadata=_about(group, text, "", (), None))


def _about(
    group: str, text: str, unset: str, choices: Collection[str], needs: Needs | None, metavar: str = ""
) -> dict[str, Any]:
    assert group in GROUPS, group
    return {"group": group, "help": text, "unset": unset, "choices": choices, "needs": needs, "metavar": metavar}


ATTACK = Needs("--attack", lambda c: c.attack is not None)
STRENGTH = Needs(
    f"--attack with a strength, which {' and '.join(SEARCHING)} find themselves",
    lambda c: c.attack not in (None, *SEARCHING),
)
SEARCHED = Needs(f"--attack {' or '.join(SEARCHING)}", lambda c: c.attack in SEARCHING)
BACKDOOR = Needs("--attack backdoor", lambda c: c.attack == "backdoor")
FOCAL = Needs("--loss focal", lambda c: c.loss == "focal")
SGD = Needs("--optimizer sgd", lambda c: c.optimizer == "sgd")
EPOCHS = Needs("no --steps, which replaces it", lambda c: c.steps is None)
COHORT = Needs("--cohort", lambda c: c.cohort is not None)
ON_HOST = Needs("--on-host state", lambda c: "state" in c.on_host)
SERVER_OPTIMIZER = Needs("--server-optimizer", lambda c: c.server_optimizer is not None)
AVERAGING = Needs("an algorithm that averages models", lambda c: registry[c.algorithm].averages)


def schemes_of(config: Any) -> list[str]:
    """Return a run's partition; if none is named, those that its data may get, as they have clients or not."""
    if config.partition is not None:
        return [config.partition]
    source = data.DATASETS.get(config.dataset)
    if source is None or not source.clients:
        return ["dirichlet"]
    return ["natural", "dirichlet"] if source.obtain and not source.layouts else ["natural"]


def _draws(config: Any) -> bool:
    """Return whether a seed decides which client owns which example."""
    generated = config.dataset in data.DATASETS and "seed" in options_of(data.DATASETS[config.dataset].build)
    fixed = schemes_of(config) == ["natural"] and config.clients is None
    return not fixed or generated or config.data_options.get("feature_shift") is not None


POISON = Needs(f"--attack with a poison ({', '.join(POISONS)})", lambda c: c.attack in POISONS)
DRAWN = Needs("a --partition that is drawn, generated data or a --feature-shift", _draws)
CONVOLUTION = Needs("a --model with convolutions", lambda c: "conv" in model_options(c.model_name))
