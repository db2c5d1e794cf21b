"""``fedjax-layers pretrain``: train one model centrally, on examples that no client of a later run owns."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from fedjax_layers.algorithms import COMMON
from fedjax_layers.cli.arguments import config_of
from fedjax_layers.cli.given import refuse_given, refuse_unused
from fedjax_layers.cli.resume import is_resumed
from fedjax_layers.cli.run import resumed_run, run_config
from fedjax_layers.experiment.config.run_config import RunConfig

USUAL_RESERVE = 0.3
_OF_A_FEDERATION = (
    *("clients", "partition", "partition_seed", "unseen", "drift", "cohort", "sampling", "weighting"),
    *(
        "server_optimizer",
        "aggregate",
        "attack",
        "drop_before",
        "drop_during",
        "straggle",
        "broken",
        "nonfinite",
        "team_formation",
        "team_of",
        "on_host",
        "store",
    ),
)
_DECIDED = ("keep_optimizer", "save_model", "reserved", "scored_round")


def command(options: argparse.Namespace) -> int:
    """Train on the data's reserved examples and save the model; return the exit code.

    It is FedAvg with one client that keeps its optimiser state, so that a round is an epoch (or ``--steps``), its
    validation examples may stop it early (``--patience``), and ``--resume`` continues it.
    """
    config = resumed_run(options, None) if is_resumed(options) else central_config(options)
    return run_config(options, config, f"pretrain-{config.dataset}")


def central_config(options: argparse.Namespace) -> RunConfig:
    """Make the config of central training that the flags describe.

    Raises:
      UsageError: a flag applies only to a federation, or as :func:`config_of`.
    """
    refuse_given(options, (*_OF_A_FEDERATION, *_DECIDED), "pretrain")
    one: dict[str, Any] = {"clients": 1, "partition": "iid", "keep_optimizer": True, "save_model": True}
    one["scored_round"] = "last"  # so that the saved model is the scored one
    config = config_of(options, COMMON, **one)
    refuse_unused(options, [config])
    own = {"reserve": USUAL_RESERVE} | dict(config.data_options) | {"reserved": True}
    return dataclasses.replace(config, data_options=own)
