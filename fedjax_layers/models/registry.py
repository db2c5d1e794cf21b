"""The registry of models by name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import flax.linen as nn

from fedjax_layers.models.cnn import (
    CNN,
    LeNet5,
    bn_cnn,
    fedavg_cnn,
    player_cifar_cnn,
    player_fmnist_cnn,
    player_isic_cnn,
)
from fedjax_layers.models.embedding_bag import EmbeddingBag
from fedjax_layers.models.linear import LogisticRegression
from fedjax_layers.models.mlp import MLP, heart_mlp
from fedjax_layers.models.own_model import is_own, own_options
from fedjax_layers.models.player_text import PlayerText
from fedjax_layers.models.resnet import ResNet
from fedjax_layers.models.transformer import Transformer
from fedjax_layers.options import Option, declared, unknown_name

MODELS: dict[str, Callable[..., nn.Module]] = {
    "logistic_regression": LogisticRegression,
    "mlp": MLP,
    "heart_mlp": heart_mlp,
    "cnn": CNN,
    "lenet5": LeNet5,
    "fedavg_cnn": fedavg_cnn,
    "bn_cnn": bn_cnn,
    "player_fmnist_cnn": player_fmnist_cnn,
    "player_cifar_cnn": player_cifar_cnn,
    "player_isic_cnn": player_isic_cnn,
    "resnet": ResNet,
    "embedding_bag": EmbeddingBag,
    "player_text": PlayerText,
    "transformer": Transformer,
}
"""The factory ``(num_classes, **options) -> module`` of each model, by name."""


USUAL_MODELS = {
    "digits": "cnn",
    "mnist": "fedavg_cnn",
    "fashion_mnist": "player_fmnist_cnn",
    "heart": "heart_mlp",
    "synthetic": "logistic_regression",
    "sentiment": "embedding_bag",
    "sent140": "embedding_bag",
    "mimic3_mortality": "embedding_bag",
    "ud_english_ewt": "transformer",
    "tiny_shakespeare": "transformer",
    "wikitext2": "transformer",
    "penn_treebank": "transformer",
}
"""The model of each data set for configs that name none."""

TOKEN_MODELS = ("embedding_bag", "player_text", "transformer")
"""Models that read token ids, and have an option ``num_embeddings``; all others read numbers with a magnitude."""

SEQUENCE_MODELS = ("transformer",)
"""Token models that can give outputs for each place of a sequence, and have options ``output`` and ``causal``."""

BLOCK_MODELS = ("resnet", "transformer")
"""Models whose top modules are blocks of several layers, among which block-wise algorithms choose."""


def build_model(name: str, num_classes: int, **options: Any) -> nn.Module:
    """Build the model registered under ``name``.

    Args:
      name: a key of :data:`MODELS`.
      num_classes: number of classes.
      **options: the model's own options, e.g. ``hidden`` of ``mlp`` or ``width`` of the PLayer-FL networks.

    Returns:
      The module.

    Raises:
      ValueError: the name is unknown (the nearest one is suggested).
      TypeError: the model does not have such an option.
    """
    if name not in MODELS:
        raise unknown_name("model", name, MODELS)
    return MODELS[name](num_classes, **options)


def model_options(name: str) -> dict[str, Option]:
    """Return a model's own options by name; empty for an unknown model, which :func:`build_model` refuses.

    Raises:
      ValueError: the name is that of a user's own factory, which cannot be loaded.
    """
    if is_own(name):
        return own_options(name)
    return dict(_options_of(MODELS[name])) if name in MODELS else {}


@functools.cache
def _options_of(model: Callable[..., Any]) -> dict[str, Option]:
    own = inspect.signature(model).parameters.values()
    return declared(model, {p.name: p.default for p in own if p.name not in ("num_classes", "parent", "name")})


def option_defaults(name: str) -> dict[str, Any]:
    """Return the defaults of a known model's own options, by name."""
    return {option: own.default for option, own in sorted(model_options(name).items()) if not own.required}
