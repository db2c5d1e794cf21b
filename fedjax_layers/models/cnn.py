"""Convolutional networks for images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import flax.linen as nn
from annotated_types import Ge

from fedjax_layers.models.conv import Method, client_conv
from fedjax_layers.models.initializers import kaiming_normal
from fedjax_layers.models.pooling import shrink
from fedjax_layers.options import Mark
from fedjax_layers.types import Array


class CNN(nn.Module):
    """A network of convolutions, with optional pooling, dropout and batch norms, and dense layers; ReLU throughout.

    Weights are Kaiming-normal, biases zero; pooling is 2×2 max pooling. Any image size works: an axis of one pixel is
    not pooled.

    Attributes:
      num_classes: number of classes.
      channels: output channels of each convolution.
      kernel_size: side of the square kernels.
      padding: padding of the convolutions: ``"SAME"``, ``"VALID"``, or the number of zeros on each side of both axes.
      pooling: whether pooling follows each convolution; ``None`` pools after every one.
      dropout: dropout rate after each convolution (and its pooling); ``None`` means none.
      global_pool: whether positions are averaged before the dense layers, in place of flattening.
      hidden: width of each hidden dense layer.
      conv_norm: batch normalisation between each convolution and its ReLU, with running averages that keep 0.9 of
        their value in each step, which PyTorch calls a momentum of 0.1. Unlike PyTorch's they are of the population
        variance, as the batch is normalised with.
      dense_norm: batch normalisation after each hidden dense layer.
      conv: how the convolutions are computed, see :func:`fedjax_layers.models.client_conv`.
    """

    num_classes: int
    channels: Annotated[tuple[int, ...], Ge(1)] = (16, 32)
    kernel_size: Annotated[int, Ge(1)] = 3
    padding: Annotated[str | int, Ge(0)] = "SAME"
    pooling: tuple[bool, ...] | None = None
    dropout: Annotated[tuple[float, ...] | None, Ge(0)] = None
    global_pool: bool = False
    hidden: Annotated[tuple[int, ...], Ge(1)] = (64,)
    conv_norm: bool = False
    dense_norm: bool = False
    conv: Annotated[Method, Mark.FIELD] = "auto"

    @nn.compact
    def __call__(self, x: Array, deterministic: bool = True) -> Array:
        """Compute the logits of a batch of images.

        Args:
          x: ``[B, H, W, C]`` or, with one channel, ``[B, H, W]``.
          deterministic: whether dropout is off and norms use running averages; if False, ``apply`` needs a key named
            ``dropout`` and, with norms, the collection ``batch_stats`` to be mutable.

        Returns:
          ``[B, num_classes]``.

        Raises:
          ValueError: ``pooling`` or ``dropout`` has another length than ``channels``.
        """
        num = len(self.channels)
        pooling = self._per_conv("pooling", self.pooling, (True,) * num)
        rates = self._per_conv("dropout", self.dropout, (0.0,) * num)
        x = as_image(x)
        layer = conv_layer(self.conv, self.kernel_size, self.padding)
        for width, pooled, rate in zip(self.channels, pooling, rates, strict=True):
            x = layer(width)(x)
            x = self._norm(deterministic)(x) if self.conv_norm else x
            # ReLU comes after pooling: it commutes with the maximum, in value and gradient, and there has a quarter of
            # the pixels.
            x = nn.relu(shrink(x) if pooled else x)
            x = nn.Dropout(rate, deterministic=deterministic)(x) if rate else x
        x = x.mean(axis=(1, 2)) if self.global_pool else x.reshape(x.shape[0], -1)
        for width in self.hidden:
            x = nn.Dense(width, kernel_init=kaiming_normal)(x)
            x = nn.relu(self._norm(deterministic)(x) if self.dense_norm else x)
        return nn.Dense(self.num_classes, kernel_init=kaiming_normal)(x)

    def _norm(self, deterministic: bool) -> nn.BatchNorm:
        return nn.BatchNorm(use_running_average=deterministic, momentum=0.9)

    def _per_conv(self, name: str, given: Sequence[Any] | None, default: Sequence[Any]) -> Sequence[Any]:
        if given is not None and len(given) != len(default):
            raise ValueError(f"{name}: expected {len(default)} entries, one per convolution, got {given}")
        return default if given is None else given


class LeNet5(nn.Module):
    """LeNet-5 (LeCun et al. 1998) with ReLU, max pooling and full connections, as in present use.

    Images smaller than 32×32 are padded to that size with zeros, as the paper pads 28×28 digits.

    Attributes:
      num_classes: number of classes.
      conv: how the convolutions are computed, see :func:`fedjax_layers.models.client_conv`.
    """

    num_classes: int
    conv: Annotated[Method, Mark.FIELD] = "auto"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Compute logits ``[B, num_classes]`` of ``x [B, H, W, C]`` or ``[B, H, W]``."""
        x = as_image(x)
        missing = [max(0, 32 - n) for n in x.shape[1:3]]
        border = [(m // 2, m - m // 2) for m in missing]
        for width, padding in ((6, border), (16, "VALID")):
            x = nn.relu(shrink(conv_layer(self.conv, 5, padding)(width)(x)))
        x = x.reshape(x.shape[0], -1)
        for width in (120, 84):
            x = nn.relu(nn.Dense(width, kernel_init=kaiming_normal)(x))
        return nn.Dense(self.num_classes, kernel_init=kaiming_normal)(x)


def fedavg_cnn(num_classes: int, conv: Annotated[Method, Mark.FIELD] = "auto") -> CNN:
    """Make the CNN of FedAvg (McMahan et al., arXiv 1602.05629, section 3).

    It has 1,663,370 parameters for 28×28×1 and 10 classes.
    """
    return CNN(num_classes, channels=(32, 64), kernel_size=5, hidden=(512,), conv=conv)


def player_fmnist_cnn(num_classes: int, width: float = 1.0, conv: Annotated[Method, Mark.FIELD] = "auto") -> CNN:
    """Make PLayer-FL's network for FashionMNIST and EMNIST (arXiv 2502.08829, official code).

    Args:
      num_classes: number of classes.
      width: factor on the number of channels of each convolution.
      conv: how the convolutions are computed.

    Returns:
      The module.
    """
    channels = scaled((64, 128, 256), width)
    return CNN(num_classes, channels=channels, kernel_size=5, padding=2, global_pool=True, hidden=(100,), conv=conv)


def player_cifar_cnn(num_classes: int, width: float = 1.0, conv: Annotated[Method, Mark.FIELD] = "auto") -> CNN:
    """Make PLayer-FL's network for CIFAR-10 (official code); arguments as :func:`player_fmnist_cnn`."""
    return CNN(
        num_classes,
        channels=scaled((64, 128, 256, 512, 512), width),
        padding=2,
        pooling=(False, True, False, True, False),
        dropout=(0.3,) * 5,
        global_pool=True,
        hidden=(100,),
        conv=conv,
    )


def player_isic_cnn(num_classes: int, width: float = 1.0, conv: Annotated[Method, Mark.FIELD] = "auto") -> CNN:
    """Make PLayer-FL's network for Fed-ISIC2019 (official code); arguments as :func:`player_fmnist_cnn`."""
    return CNN(
        num_classes,
        channels=scaled((32, 64, 128, 256, 512), width),
        padding=1,
        pooling=(False, False, True, True, True),
        dropout=(0.0, 0.0, 0.2, 0.2, 0.2),
        global_pool=True,
        hidden=(256,),
        conv=conv,
    )


def bn_cnn(
    num_classes: int, width: float = 1.0, dense_norm: bool = False, conv: Annotated[Method, Mark.FIELD] = "auto"
) -> CNN:
    """Make FedBN's network for digits (Li et al. 2021, arXiv 2102.07623), with batch normalisation.

    Args:
      num_classes: number of classes.
      width: factor on the channels of each convolution and the width of each hidden layer.
      dense_norm: whether both hidden dense layers are followed by batch normalisation, as in FedBN's code; pFedLA's
        reimplementation normalises after the three convolutions alone.
      conv: how the convolutions are computed.

    Returns:
      The module.
    """
    return CNN(
        num_classes,
        channels=scaled((64, 64, 128), width),
        kernel_size=5,
        padding=2,
        pooling=(True, True, False),
        hidden=scaled((2048, 512), width),
        conv_norm=True,
        dense_norm=dense_norm,
        conv=conv,
    )


def scaled(channels: Sequence[int], width: float) -> tuple[int, ...]:
    """Return ``channels`` times ``width``, rounded, at least 1 each.

    Raises:
      ValueError: ``width`` is not positive.
    """
    if not width > 0:
        raise ValueError(f"width: expected a positive factor, got {width}")
    return tuple(max(1, round(c * width)) for c in channels)


def as_image(x: Array) -> Array:
    """Reshape ``[B, H, W]`` to ``[B, H, W, 1]``; return images with channels as they are.

    Raises:
      ValueError: ``x`` has another number of axes.
    """
    if x.ndim not in {3, 4}:
        raise ValueError(f"x: expected images [B, H, W, C] or [B, H, W], got shape {x.shape}")
    return x[..., None] if x.ndim == 3 else x


def conv_layer(method: Method, kernel_size: int, padding: Any) -> Callable[[int], nn.Conv]:
    """Make a factory of square convolutions, which takes the number of output channels."""

    def layer(features: int) -> nn.Conv:
        return nn.Conv(
            features,
            (kernel_size, kernel_size),
            padding=padding,
            kernel_init=kaiming_normal,
            conv_general_dilated=client_conv(method),
        )

    return layer
