"""Residual networks with group norm, whose statistics depend neither on the batch nor on the client."""

from __future__ import annotations

from typing import Annotated

import flax.linen as nn
from annotated_types import Ge

from fedjax_layers.models.cnn import as_image
from fedjax_layers.models.conv import Method, client_conv
from fedjax_layers.models.initializers import kaiming_normal
from fedjax_layers.options import Mark
from fedjax_layers.types import Array


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with group norm beside a shortcut, which is a 1×1 convolution where the shape changes.

    Attributes:
      channels: number of output channels.
      stride: stride of the first convolution.
      groups: largest number of groups of each norm; fewer where it does not divide the channels.
      conv: how the convolutions are computed, see :func:`fedjax_layers.models.client_conv`.
    """

    channels: int
    stride: int = 1
    groups: Annotated[int, Ge(1)] = 8
    conv: Annotated[Method, Mark.FIELD] = "auto"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``x [B, H, W, C]`` to ``[B, H / stride, W / stride, channels]``."""
        y = nn.relu(_norm(self.groups, self.channels)(_conv(self, 3, self.stride)(x)))
        y = _norm(self.groups, self.channels)(_conv(self, 3, 1)(y))
        if y.shape != x.shape:
            x = _norm(self.groups, self.channels)(_conv(self, 1, self.stride)(x))
        return nn.relu(x + y)


class ResNet(nn.Module):
    """The residual network for small images (He et al., arXiv 1512.03385, section 4.2), with group norm.

    One convolution, three stages of ``depth`` blocks of which the second and third halve the image, a mean over
    positions and a dense layer. Batch norm is replaced since clients' batches differ (Hsieh et al., arXiv 1910.00189).

    Attributes:
      num_classes: number of classes.
      channels: number of channels of each stage.
      depth: number of blocks per stage; 3 with channels 16, 32, 64 is ResNet-20.
      groups: largest number of groups of each norm.
      conv: how the convolutions are computed, see :func:`fedjax_layers.models.client_conv`.
    """

    num_classes: int
    channels: Annotated[tuple[int, ...], Ge(1)] = (16, 32, 64)
    depth: Annotated[int, Ge(1)] = 1
    groups: Annotated[int, Ge(1)] = 8
    conv: Annotated[Method, Mark.FIELD] = "auto"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Compute logits ``[B, num_classes]`` of ``x [B, H, W, C]`` or ``[B, H, W]``."""
        x = ResidualStem(self.channels[0], self.groups, self.conv, name="stem")(as_image(x))
        for stage, channels in enumerate(self.channels):
            for i in range(self.depth):
                stride = 2 if stage and i == 0 else 1
                name = f"block_{stage * self.depth + i}"
                x = ResidualBlock(channels, stride, self.groups, self.conv, name=name)(x)
        return nn.Dense(self.num_classes, kernel_init=kaiming_normal, name="head")(x.mean(axis=(1, 2)))


class ResidualStem(nn.Module):
    """The first convolution and its norm, in a module of their own so that they form one block."""

    channels: int
    groups: Annotated[int, Ge(1)] = 8
    conv: Annotated[Method, Mark.FIELD] = "auto"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``x [B, H, W, C]`` to ``[B, H, W, channels]``."""
        return nn.relu(_norm(self.groups, self.channels)(_conv(self, 3, 1)(x)))


def _conv(of: ResidualBlock | ResidualStem, size: int, stride: int) -> nn.Conv:
    return nn.Conv(
        of.channels,
        (size, size),
        (stride, stride),
        use_bias=False,
        kernel_init=kaiming_normal,
        conv_general_dilated=client_conv(of.conv),
    )


def _norm(groups: int, channels: int) -> nn.GroupNorm:
    most = next(n for n in range(min(groups, channels), 0, -1) if channels % n == 0)
    return nn.GroupNorm(num_groups=most)
