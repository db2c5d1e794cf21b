"""What PerMFL's experiments share: data, models, methods and the paper's coefficients."""

from __future__ import annotations

from typing import Any

# Coefficients of the team-formation table, the only ones that are known; L is the config's ``steps``.
PAPER = {"client_lambda": 0.5, "team_lambda": 0.5, "gamma": 1.5, "eta": 0.03, "beta": 0.6}
SETTINGS: dict[str, dict[str, Any]] = {
    "paper text": PAPER,
    "released code": PAPER | {"published_client_lambda": True},  # the clients' lambda is L
    "theory": PAPER | {"beta": 1 / (4 * PAPER["gamma"])},  # beta <= 1 / (4 gamma), gamma > 2 lambda
}

DATASETS: dict[str, dict[str, Any]] = {
    "mnist": {"dataset": "mnist", "partition": "permfl", "data_options": {"split": "all"}},
    "fashion_mnist": {"dataset": "fashion_mnist", "partition": "permfl", "data_options": {"split": "all"}},
    # In place of EMNIST's digits, which are not at hand; a seventh of their size, hence smaller helpings.
    "usps": {
        "dataset": "usps",
        "partition": "permfl",
        "data_options": {"split": "all", "extra": (30, 90), "lognormal": False},
    },
    # Three sites as teams; labels differ among a site's devices.
    "sentiment": {
        "dataset": "sentiment",
        "partition": "natural_teams",
        "data_options": {"client_alpha": 0.5, "min_size": 20},
    },
    "synthetic": {"dataset": "synthetic", "data_options": {"alpha": 0.5, "beta": 0.5, "size_factor": 5}},
}
SPLIT = {"test_fraction": 0.25, "val_fraction": 0.1}  # a quarter for testing, as the paper; validation is ours

MODELS: dict[str, dict[str, Any]] = {
    "mclr": {"model": "logistic_regression"},
    "dnn": {"model": "mlp", "model_options": {"hidden": (100,)}},
    "text": {"model": "embedding_bag"},
}
HIDDEN = {"synthetic": (20,)}  # the released code's network there

# Name in the table -> algorithm, its options, and which models of it are reported.
METHODS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "FedAvg": ("fedavg", {}, ("global",)),
    "Per-FedAvg": ("per_fedavg", {"adaptation_rate": 0.01}, ("personal",)),
    "pFedMe": ("pfedme", {"lam": 15.0, "inner_learning_rate": 0.05}, ("global", "personal")),
    "Ditto": ("ditto", {"lam": 0.1}, ("global", "personal")),
    "h-SGD": ("hsgd", {}, ("global", "personal", "team")),
    "AL2GD": ("al2gd", {"step_size": 0.03}, ("personal",)),
    "DemLearn": ("demlearn", {"mu": 0.002}, ("global", "personal")),
    "PerMFL": ("permfl", {}, ("global", "personal", "team")),
}
TIERED = ("h-SGD", "PerMFL")  # they make K team rounds of L steps in a global round

# Validation accuracy in percent, (data, model) -> {(method, kind): published}; EMNIST-10 stands where USPS is.
_ROWS = (
    ("FedAvg", "global"),
    ("Per-FedAvg", "personal"),
    ("pFedMe", "global"),
    ("pFedMe", "personal"),
    ("Ditto", "global"),
    ("h-SGD", "global"),
    ("AL2GD", "personal"),
    ("DemLearn", "global"),
    ("DemLearn", "personal"),
    ("PerMFL", "global"),
    ("PerMFL", "personal"),
)
_PUBLISHED = {
    ("mnist", "mclr"): (84.87, 94.81, 75.50, 88.89, 84.81, 87.41, 93.70, 87.32, 91.26, 86.92, 96.87),
    ("synthetic", "mclr"): (84.87, 83.91, 81.93, 87.61, 82.35, 84.29, 84.75, 67.93, 81.21, 84.92, 87.94),
    ("fashion_mnist", "mclr"): (79.80, 94.75, 83.45, 91.32, 74.02, 81.653, 98.52, 62.60, 97.50, 83.71, 96.77),
    ("usps", "mclr"): (91.60, 97.57, 88.78, 91.23, 91.03, 92.33, 98.72, 69.09, 97.24, 91.68, 96.49),
    ("mnist", "dnn"): (93.17, 91.845, 80.12, 97.40, 87.30, 86.59, 91.04, 90.75, 97.20, 89.39, 98.15),
    ("synthetic", "dnn"): (84.53, 75.93, 81.23, 87.86, 81.12, 87.42, 84.92, 68.91, 82.74, 87.53, 87.89),
    ("fashion_mnist", "dnn"): (84.14, 88.69, 68.64, 96.30, 57.80, 79.84, 71.32, 64.84, 98.64, 79.15, 98.67),
    ("usps", "dnn"): (92.73, 97.37, 91.81, 97.18, 90.58, 96.03, 92.94, 96.63, 98.74, 93.12, 98.79),
}
PUBLISHED = {where: dict(zip(_ROWS, numbers, strict=True)) for where, numbers in _PUBLISHED.items()}
