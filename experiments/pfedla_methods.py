"""What pFedLA's experiments share: data, splits, models and methods."""

from __future__ import annotations

from typing import Any

# Data set -> its config. MNIST stands for EMNIST, whose 62 classes are not at hand; the CIFARs are subsets.
DATASETS: dict[str, dict[str, Any]] = {
    "mnist": {"dataset": "mnist"},
    "fashion_mnist": {"dataset": "fashion_mnist"},
    "cifar10": {"dataset": "cifar10"},
    "cifar100": {"dataset": "cifar100"},
}
CLUSTERS = "two clusters"
SPLITS: dict[str, tuple[str, dict[str, Any]]] = {
    "non-IID_1": ("pfedla_1", {"classes": 4}),  # the same amount of each of four classes
    "non-IID_2": ("pfedla_2", {"dominant": 2, "share": 0.8}),  # all classes, two of them four fifths
    CLUSTERS: ("classes_per_team", {"team_classes": ("0-4", "5-9"), "classes": 5}),  # first half, second half
}
BOTH = ("non-IID_1", "non-IID_2")  # the paper's
# With 20 of 100 classes that make four fifths, a small client would have no example of some of the others.
OF_CIFAR100: dict[str, dict[str, Any]] = {"non-IID_1": {"classes": 12}, "non-IID_2": {"dominant": 20, "share": 0.6}}
WITHIN = {"test_fraction": 0.3, "val_fraction": 0.1}  # 70/30 as the paper, validation from the 70; fixed over rounds

MODELS: dict[str, dict[str, Any]] = {
    "two layers": {"model": "mlp", "model_options": {"hidden": (16,)}},  # of the smoke presets
    "lenet5": {"model": "lenet5"},
    "small, batch norm": {  # as large as LeNet-5, for FedBN
        "model": "cnn",
        "model_options": {"channels": (6, 16), "kernel_size": 5, "hidden": (120, 84), "conv_norm": True},
    },
    "fedbn": {  # FedBN's network for digits, which re-implementations of pFedLA take
        "model": "cnn",
        "model_options": {
            "channels": (64, 64, 128),
            "kernel_size": 5,
            "padding": 2,
            "pooling": (True, True, False),
            "hidden": (2048, 512),
        },
    },
    "fedbn, batch norm": {"model": "bn_cnn"},
}

AS_REIMPLEMENTED: dict[str, Any] = {  # every departure at once: ascent, one after the other, different starts, ReLU
    "published_sign": True,
    "order": "sequential",
    "same_start": False,
    "normalise": "relu",
    "hyper_heads": "uniform",
    "hyper_learning_rate": 0.005,
}
# What did best on validation examples of Fashion-MNIST, mean over both splits (``pfedla_ablation``, part "tuning").
FAST: dict[str, Any] = {"hyper_learning_rate": 0.5}
RULES: dict[str, dict[str, Any]] = {
    "self weight": {"rule": "self", "self_weight": 0.7},
    "cosine": {"rule": "cosine", "temperature": 0.5},
    "distance": {"rule": "distance", "temperature": 0.05},
    "free logits": {"rule": "logits", "logits_learning_rate": 100.0},
}
