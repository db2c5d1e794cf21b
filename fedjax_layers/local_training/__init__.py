"""Local training: what one client does between two messages, and one pass over all clients of a round."""

from fedjax_layers.local_training.cohort import train_cohort
from fedjax_layers.local_training.one_pass import (
    Client,
    ClientVisit,
    Passed,
    by_slot,
    draw_order,
    observe_store,
    one_pass,
    train,
)
from fedjax_layers.local_training.solver import LocalSolver
from fedjax_layers.local_training.step_gradient import LocalOptions, StepGradient, plain_gradient
from fedjax_layers.local_training.train import LocalResult, train_client
from fedjax_layers.local_training.trainer import Setting, Trainer, refuse_own_steps
from fedjax_layers.local_training.work import Epochs, Steps

__all__ = [
    "Client",
    "ClientVisit",
    "Epochs",
    "LocalOptions",
    "LocalResult",
    "LocalSolver",
    "Passed",
    "Setting",
    "StepGradient",
    "Steps",
    "Trainer",
    "by_slot",
    "draw_order",
    "observe_store",
    "one_pass",
    "plain_gradient",
    "refuse_own_steps",
    "train",
    "train_client",
    "train_cohort",
]
