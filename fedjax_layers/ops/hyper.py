"""A hypernetwork that gives the weight of every client's layer in each layer of one client's model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from fedjax_layers.types import Array, Key, Params

Normalise = Literal["softmax", "relu"]
Heads = Literal["zeros", "uniform", "normal"]


class Hypernetwork(NamedTuple):
    """A hypernetwork as two pure functions.

    Attributes:
      init: ``key -> params`` of one network; ``vmap`` over keys makes one for each client.
      apply: ``(params, client []) -> alpha [L, C]``, weights that are not negative and sum to 1 over C.
    """

    init: Callable[[Key], Params]
    apply: Callable[[Params, Array], Array]


def hypernetwork(
    num_clients: int,
    num_layers: int,
    *,
    embedding: int = 100,
    hidden: Sequence[int] = (100, 100, 100),
    normalise: Normalise = "softmax",
    heads: Heads = "zeros",
    self_bias: float | Array = 0.0,
    shared: bool = False,
    dtype: Any = jnp.float32,
) -> Hypernetwork:
    """Make a network of a learnt vector, a trunk of ReLU layers, and a linear head with C outputs for each layer.

    The default sizes are those of re-implementations; the paper gives none. Zero heads under
    softmax begin with exactly uniform weights; trunk and vector get a gradient once the heads have moved.

    Args:
      num_clients: C, the number of stored models.
      num_layers: L, the number of rows of weights.
      embedding: length of the learnt vector.
      hidden: widths of the trunk's layers.
      normalise: ``"softmax"``, or ``"relu"``: ReLU divided by the sum; where no output is positive, the client's own
        model gets weight 1.
      heads: initial weights of the heads: zeros, uniform in [0, 1) or Kaiming normal; biases begin at 0.
      self_bias: number added to the client's own output in every head, so that its own model begins with more weight.
      shared: whether one network serves all clients, with a vector for each, in place of one network per client.
      dtype: dtype of the parameters.

    Returns:
      ``(init, apply)``. Parameters: ``embedding`` ``[E]`` (``[C, E]`` if shared), ``trunk`` (a list of kernel and
      bias), ``heads`` (kernel ``[L, H, C]``, bias ``[L, C]``).

    Raises:
      ValueError: a size below 1, or an unknown choice.

    Source: pFedLA (arXiv 2205.03993), section on hypernetworks and Figure 2.
    """
    for name, size in (("num_clients", num_clients), ("num_layers", num_layers), ("embedding", embedding)):
        if size < 1:
            raise ValueError(f"{name}: expected at least 1, got {size}")
    if min(hidden, default=1) < 1:
        raise ValueError(f"hidden: expected widths of at least 1, got {tuple(hidden)}")
    for name, value, choices in (
        ("normalise", normalise, ("softmax", "relu")),
        ("heads", heads, ("zeros", "uniform", "normal")),
    ):
        if value not in choices:
            raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
    widths = (embedding, *hidden)

    def init(key: Key) -> Params:
        vector_key, head_key, *trunk_keys = jax.random.split(key, 2 + len(hidden))
        shape = (num_clients, embedding) if shared else (embedding,)
        return {
            "embedding": jax.random.normal(vector_key, shape, dtype),
            "trunk": [
                {"kernel": _kaiming(k, (fan_in, fan_out), fan_in, dtype), "bias": jnp.zeros(fan_out, dtype)}
                for k, fan_in, fan_out in zip(trunk_keys, widths[:-1], widths[1:], strict=True)
            ],
            "heads": {
                "kernel": _head_kernel(head_key, (num_layers, widths[-1], num_clients), heads, dtype),
                "bias": jnp.zeros((num_layers, num_clients), dtype),
            },
        }

    def apply(params: Params, client: Array) -> Array:
        x = params["embedding"][client] if shared else params["embedding"]
        for layer in params["trunk"]:
            x = jax.nn.relu(jnp.dot(x, layer["kernel"], precision="highest") + layer["bias"])
        outputs = jnp.einsum("h,lhc->lc", x, params["heads"]["kernel"], precision="highest") + params["heads"]["bias"]
        own = jnp.arange(num_clients) == client
        bias = jnp.where(own, jnp.asarray(self_bias, outputs.dtype), jnp.zeros((), outputs.dtype))
        return normalised(outputs + bias[None], own, normalise)

    return Hypernetwork(init, apply)


def normalised(outputs: Array, own: Array, normalise: Normalise) -> Array:
    """Turn outputs ``[L, C]`` into weights that sum to 1 over C; ``relu`` makes rows without a positive one ``own``."""
    if normalise == "softmax":
        return jax.nn.softmax(outputs, axis=-1)
    positive = jax.nn.relu(outputs)
    total = positive.sum(-1, keepdims=True)
    weights = positive / jnp.where(total > 0, total, jnp.ones_like(total))
    return jnp.where(total > 0, weights, own.astype(outputs.dtype)[None])


def _kaiming(key: Key, shape: tuple[int, ...], fan_in: int, dtype: Any) -> Array:
    return jax.random.normal(key, shape, dtype) * jnp.sqrt(jnp.asarray(2 / fan_in, dtype))


def _head_kernel(key: Key, shape: tuple[int, ...], heads: Heads, dtype: Any) -> Array:
    if heads == "zeros":
        return jnp.zeros(shape, dtype)
    if heads == "uniform":
        return jax.random.uniform(key, shape, dtype)
    return _kaiming(key, shape, shape[1], dtype)
