"""Optimisers by name, for configs; Python users may pass any optax transformation instead."""

from __future__ import annotations

from typing import Any

import optax

from fedjax_layers.options import unknown_name
from fedjax_layers.types import Array

CLIENT_OPTIMIZERS = ("sgd", "adam", "amsgrad", "adamw", "adamw_amsgrad")
SERVER_OPTIMIZERS = ("sgd", "adam", "yogi", "adagrad")


def client_optimizer(
    name: str,
    learning_rate: float | Array,
    *,
    momentum: float | Array = 0.0,
    weight_decay: float | Array = 0.0,
) -> optax.GradientTransformation:
    """Make an optimiser for local training; the numbers may be traced.

    Args:
      name: one of ``CLIENT_OPTIMIZERS``. ``adam`` and ``amsgrad`` add the decay to the gradient (PyTorch's
        ``Adam(weight_decay=...)``), the ``adamw`` ones decouple it. Optax's amsgrad takes the maximum of the
        bias-corrected second moment, PyTorch's of the raw one.
      learning_rate: step size.
      momentum: momentum, used by ``sgd`` only.
      weight_decay: factor of the parameters in the decay.

    Raises:
      ValueError: an unknown name; the nearest is suggested.
    """
    decay = optax.add_decayed_weights(weight_decay)
    step = optax.scale_by_learning_rate(learning_rate)
    links: dict[str, tuple[Any, ...]] = {
        "sgd": (decay, optax.trace(momentum), step),
        "adam": (decay, optax.scale_by_adam(), step),
        "amsgrad": (decay, optax.scale_by_amsgrad(), step),
        "adamw": (optax.scale_by_adam(), decay, step),
        "adamw_amsgrad": (optax.scale_by_amsgrad(), decay, step),
    }
    if name not in links:
        raise unknown_name("optimizer", name, CLIENT_OPTIMIZERS)
    return optax.chain(*links[name])


def server_optimizer(name: str, learning_rate: float | Array) -> optax.GradientTransformation:
    """Make an optimiser for the server's pseudo-gradient, with the constants of Reddi et al. (2021), table 8.

    Args:
      name: one of ``SERVER_OPTIMIZERS``; ``sgd`` at rate 1 is plain averaging.
      learning_rate: the server's step size.

    Raises:
      ValueError: an unknown name; the nearest is suggested.
    """
    makers = {
        "sgd": lambda: optax.sgd(learning_rate),
        "adam": lambda: optax.adam(learning_rate, b1=0.9, b2=0.99, eps=1e-3),
        "yogi": lambda: optax.yogi(learning_rate, b1=0.9, b2=0.99, eps=1e-3),
        "adagrad": lambda: optax.adagrad(learning_rate, eps=1e-3),
    }
    if name not in makers:
        raise unknown_name("server_optimizer", name, SERVER_OPTIMIZERS)
    return makers[name]()
