"""``fedjax-layers pretrain``: one model, trained centrally on examples that no client of a later run owns."""

from __future__ import annotations

import argparse
import dataclasses

from fedjax_layers.cli.arguments import UsageError, config_of
from fedjax_layers.cli.run import run_config
from fedjax_layers.simulation.config import RunConfig

USUAL_RESERVE = 0.3
_OF_A_FEDERATION = ("clients", "partition", "cohort", "unseen", "attack", "team_formation")


def command(options: argparse.Namespace) -> int:
    """Train on the data's reserve and save the model; returns the exit code.

    It is FedAvg with one client who keeps its optimiser, so a round is an epoch (or ``--steps``), its validation
    examples stop it (``--patience``), and ``--resume`` goes on with it.
    """
    config = central_config(options)
    return run_config(options, config, f"pretrain-{config.dataset}")


def central_config(options: argparse.Namespace) -> RunConfig:
    """The config of central training that the flags describe.

    Raises:
      UsageError: a flag that belongs to a federation, or as :func:`config_of`.
    """
    for name in _OF_A_FEDERATION:
        if getattr(options, name, None) is not None:
            raise UsageError(f"--{name.replace('_', '-')}: expected none for pretrain, got {getattr(options, name)}")
    one = {"clients": 1, "partition": "iid", "keep_optimizer": True, "save_model": True}
    config = config_of(options, "fedavg", **one)
    own = {"reserve": USUAL_RESERVE} | dict(config.data_options) | {"reserved": True}
    return dataclasses.replace(config, data_options=own)
