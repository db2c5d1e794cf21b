"""Which model goes with which data set where a config names none, and which options a model takes."""

from __future__ import annotations

import inspect

from fedjax_layers.models.registry import MODELS

USUAL_MODELS = {
    "digits": "cnn",
    "mnist": "fedavg_cnn",
    "fashion_mnist": "player_fmnist_cnn",
    "heart": "heart_mlp",
    "synthetic": "logistic_regression",
}


def model_options(name: str) -> set[str]:
    """Names of a model's own options; none for an unknown model, which is refused elsewhere."""
    if name not in MODELS:
        return set()
    return set(inspect.signature(MODELS[name]).parameters) - {"num_classes", "parent", "name"}
