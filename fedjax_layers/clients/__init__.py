"""The clients' half of a round: the pass over clients, local training, batches, rows of the state, random keys.

The server's half, which aggregates the clients' models, is in ``algorithms``.
"""

from fedjax_layers.clients.client import Client, ClientVisit
from fedjax_layers.clients.faults import Faults, struck
from fedjax_layers.clients.local_objective import Begin, LocalObjective, Trained
from fedjax_layers.clients.one_pass import (
    Passed,
    by_slot,
    draw_order,
    observe_store,
    one_pass,
    rescaled,
    train,
)
from fedjax_layers.clients.privacy import Privacy
from fedjax_layers.clients.result import LocalResult
from fedjax_layers.clients.solver import LocalSolver
from fedjax_layers.clients.step_gradient import LocalOptions, StepGradient, plain_gradient
from fedjax_layers.clients.train import train_client
from fedjax_layers.clients.trainer import Setting, Trainer, refuse_own_steps
from fedjax_layers.clients.whole_cohort import train_cohort
from fedjax_layers.clients.work import Epochs, Steps

__all__ = [
    "Begin",
    "Client",
    "ClientVisit",
    "Epochs",
    "Faults",
    "LocalObjective",
    "LocalOptions",
    "LocalResult",
    "LocalSolver",
    "Passed",
    "Privacy",
    "Setting",
    "StepGradient",
    "Steps",
    "Trained",
    "Trainer",
    "by_slot",
    "draw_order",
    "observe_store",
    "one_pass",
    "plain_gradient",
    "refuse_own_steps",
    "rescaled",
    "struck",
    "train",
    "train_client",
    "train_cohort",
]
