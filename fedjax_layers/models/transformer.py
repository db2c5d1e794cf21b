"""Transformers on token numbers with GPT-2's architecture: causal language models, taggers and classifiers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import flax.linen as nn
import jax.numpy as jnp
from annotated_types import Ge

from fedjax_layers.types import Array

_START = nn.initializers.normal(0.02)  # as in GPT-2
_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": lambda x: nn.gelu(x, approximate=True),  # GPT-2's "gelu_new"
    "relu": nn.relu,
}


class TransformerBlock(nn.Module):
    """Attention and two dense layers, each after a norm and with a shortcut (pre-norm, as GPT-2).

    Attributes:
      heads: number of attention heads, which share the width.
      hidden: output width of the first dense layer.
      activation: activation function, ``"gelu"`` or ``"relu"``.
      dropout: dropout rate of the attention weights and of both branches.
      residual_scale: factor on the initial weights of the two layers whose outputs are added to the shortcut.
    """

    heads: Annotated[int, Ge(1)]
    hidden: int
    activation: str = "gelu"
    dropout: Annotated[float, Ge(0)] = 0.0
    residual_scale: float = 1.0

    @nn.compact
    def __call__(self, x: Array, mask: Array, deterministic: bool = True) -> Array:
        """Map ``x [B, S, D]`` to ``[B, S, D]``; ``mask [B, 1, S, S]`` bool marks who may attend to whom."""
        width = x.shape[-1]
        onto_shortcut = nn.initializers.normal(0.02 * self.residual_scale)
        y = nn.LayerNorm(epsilon=1e-5, name="attention_norm")(x)
        y = nn.MultiHeadDotProductAttention(
            self.heads,
            kernel_init=_START,
            out_kernel_init=onto_shortcut,
            dropout_rate=self.dropout,
            name="attention",
        )(y, mask=mask, deterministic=deterministic)
        x = x + nn.Dropout(self.dropout)(y, deterministic)
        y = nn.LayerNorm(epsilon=1e-5, name="dense_norm")(x)
        y = _ACTIVATIONS[self.activation](nn.Dense(self.hidden, kernel_init=_START, name="inner")(y))
        y = nn.Dense(width, kernel_init=onto_shortcut, name="outer")(y)
        return x + nn.Dropout(self.dropout)(y, deterministic)


class Head(nn.Module):
    """The last norm and the dense layer after it, in a module of their own, so that they belong to no block.

    Attributes:
      num_classes: number of outputs; ``None`` means the norm alone.
      pooling: whether there is one output per text, from the mean over its tokens, in place of one per token.
    """

    num_classes: int | None
    pooling: bool = False

    @nn.compact
    def __call__(self, x: Array, real: Array) -> Array:
        """Map ``x [B, S, D]``, ``real [B, S]`` bool to ``[B, S, num_classes]`` or ``[B, num_classes]``."""
        x = nn.LayerNorm(epsilon=1e-5, name="norm")(x)
        if self.pooling:
            x = jnp.where(real[..., None], x, 0).sum(1) / jnp.maximum(real.sum(1), 1)[:, None].astype(x.dtype)
        return x if self.num_classes is None else nn.Dense(self.num_classes, kernel_init=_START, name="dense")(x)


class Transformer(nn.Module):
    """Embeddings of tokens and places, equal blocks, a last norm and a head.

    Attributes:
      num_classes: number of outputs of the head: the vocabulary of a language model, tags, or classes.
      num_embeddings: V, the number of tokens, which are numbered 0..V-1.
      padding: the token number that stands for no token and is never attended to; ``None`` means that there is none.
      length: length of the longest sequence.
      layers: number of blocks.
      width: D, the length of a token's vector.
      heads: number of attention heads.
      hidden: width inside the dense layers of a block; ``None`` means 4 D.
      causal: whether a place attends only to itself and to earlier places.
      output: one row of outputs for each ``"token"``, or one for the ``"text"``, from the mean over its tokens.
      tied: whether the head is the transposed token embedding, which needs as many classes as embeddings.
      activation: activation function, ``"gelu"`` or ``"relu"``.
      dropout: dropout rate of embeddings and blocks.
    """

    num_classes: int
    num_embeddings: Annotated[int, Ge(1)] = 256
    padding: Annotated[int | None, Ge(0)] = 0
    length: Annotated[int, Ge(1)] = 64
    layers: Annotated[int, Ge(1)] = 6
    width: Annotated[int, Ge(1)] = 128
    heads: Annotated[int, Ge(1)] = 4
    hidden: Annotated[int | None, Ge(1)] = None
    causal: bool = True
    output: Literal["token", "text"] = "token"
    tied: bool = False
    activation: str = "gelu"
    dropout: Annotated[float, Ge(0)] = 0.0

    @nn.compact
    def __call__(self, x: Array, deterministic: bool = True) -> Array:
        """Map token numbers ``x [B, S]`` to ``[B, S, num_classes]``, or to ``[B, num_classes]`` for ``"text"``."""
        self._check(x.shape)
        places = jnp.arange(x.shape[-1])
        real = jnp.ones(x.shape, bool) if self.padding is None else x != self.padding
        tokens = nn.Embed(self.num_embeddings, self.width, embedding_init=_START, name="tokens")
        positions = nn.Embed(self.length, self.width, embedding_init=nn.initializers.normal(0.01), name="positions")
        y = nn.Dropout(self.dropout)(tokens(x) + positions(places), deterministic)
        seen = real[:, None, None, :] & (places[:, None] >= places if self.causal else True)
        mask = jnp.broadcast_to(seen | jnp.eye(len(places), dtype=bool), (x.shape[0], 1, len(places), len(places)))
        for i in range(self.layers):
            y = TransformerBlock(
                self.heads,
                self.hidden or 4 * self.width,
                self.activation,
                self.dropout,
                (2 * self.layers) ** -0.5,
                name=f"block_{i}",
            )(y, mask, deterministic)
        y = Head(None if self.tied else self.num_classes, self.output == "text", name="head")(y, real)
        return tokens.attend(y) if self.tied else y

    def _check(self, shape: tuple[int, ...]) -> None:
        if shape[-1] > self.length:
            raise ValueError(f"length: expected at least {shape[-1]}, the tokens of an example, got {self.length}")
        if self.width % self.heads:
            raise ValueError(f"heads: expected a divisor of the width {self.width}, got {self.heads}")
        if self.activation not in _ACTIVATIONS:
            raise ValueError(f"activation: expected one of {', '.join(_ACTIVATIONS)}, got {self.activation!r}")
        if self.output not in ("token", "text"):
            raise ValueError(f"output: expected token or text, got {self.output!r}")
        if self.tied and self.num_classes != self.num_embeddings:
            raise ValueError(f"tied: expected {self.num_embeddings} classes, one per embedding, got {self.num_classes}")
