"""Local training: what one client does between two messages, and the same for a whole cohort."""

from fedjax_layers.local_training.step_gradient import LocalOptions, StepGradient, plain_gradient
from fedjax_layers.local_training.train import LocalResult, draw_orders, train_client, train_cohort
from fedjax_layers.local_training.trainer import Trainer, refuse_own_steps
from fedjax_layers.local_training.work import Epochs, Steps

__all__ = [
    "Epochs",
    "LocalOptions",
    "LocalResult",
    "StepGradient",
    "Steps",
    "Trainer",
    "draw_orders",
    "plain_gradient",
    "refuse_own_steps",
    "train_client",
    "train_cohort",
]
