"""Networks, and what makes tasks of models of any kind: losses, layers in call order, fast per-client convolutions."""

from fedjax_layers.models.adapters.functions import Functions
from fedjax_layers.models.cnn import (
    CNN,
    LeNet5,
    bn_cnn,
    fedavg_cnn,
    player_cifar_cnn,
    player_fmnist_cnn,
    player_isic_cnn,
)
from fedjax_layers.models.conv import client_conv, patches_conv
from fedjax_layers.models.embedding_bag import EmbeddingBag
from fedjax_layers.models.initializers import kaiming_normal
from fedjax_layers.models.linear import LogisticRegression
from fedjax_layers.models.losses import cox_losses, focal_losses, softmax_losses, target_losses
from fedjax_layers.models.low_rank import low_rank
from fedjax_layers.models.make_task import task
from fedjax_layers.models.mlp import MLP, heart_mlp
from fedjax_layers.models.module_task import as_float, as_stored
from fedjax_layers.models.order import block_order, call_order
from fedjax_layers.models.params_file import load_params, load_stacked_params, save_params
from fedjax_layers.models.player_text import PlayerText
from fedjax_layers.models.pooling import max_pool
from fedjax_layers.models.precision import in_precision
from fedjax_layers.models.registry import (
    BLOCK_MODELS,
    MODELS,
    SEQUENCE_MODELS,
    TOKEN_MODELS,
    USUAL_MODELS,
    build_model,
    model_options,
)
from fedjax_layers.models.resnet import ResNet
from fedjax_layers.models.rewrite import for_clients

__all__ = [
    "BLOCK_MODELS",
    "CNN",
    "MLP",
    "MODELS",
    "SEQUENCE_MODELS",
    "TOKEN_MODELS",
    "USUAL_MODELS",
    "EmbeddingBag",
    "Functions",
    "LeNet5",
    "LogisticRegression",
    "PlayerText",
    "ResNet",
    "as_float",
    "as_stored",
    "block_order",
    "bn_cnn",
    "build_model",
    "call_order",
    "client_conv",
    "cox_losses",
    "fedavg_cnn",
    "focal_losses",
    "for_clients",
    "heart_mlp",
    "in_precision",
    "kaiming_normal",
    "load_params",
    "load_stacked_params",
    "low_rank",
    "max_pool",
    "model_options",
    "patches_conv",
    "player_cifar_cnn",
    "player_fmnist_cnn",
    "player_isic_cnn",
    "save_params",
    "softmax_losses",
    "target_losses",
    "task",
]
