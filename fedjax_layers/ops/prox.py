"""Proximal terms: pulls of a client's parameters towards an anchor."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from fedjax_layers.types import Array, Params


def proximal_pull(rate: float | Array) -> optax.GradientTransformationExtraArgs:
    """The gradient of ``rate/2 * ||params - anchor||^2``, as a link of an optax chain.

    Put it before the optimiser: ``optax.chain(proximal_pull(mu), optax.sgd(lr))`` is the local solver of FedProx
    (Li et al. 2020, eq. 2). ``update`` takes the anchor as the keyword ``anchor``, a tree like the parameters.

    Args:
      rate: strength of the pull, per unit of squared distance; may be traced.

    Returns:
      A stateless transformation. Its update raises ``ValueError`` if params or anchor are not given.
    """

    def update(
        updates: Params, state: Any, params: Params | None = None, *, anchor: Params | None = None, **_: Any
    ) -> tuple[Params, Any]:
        if params is None or anchor is None:
            missing = "params" if params is None else "anchor"
            raise ValueError(f"{missing}: expected a tree like the updates, found None")
        # A traced rate has a dtype of its own, which must not change the updates'.
        return jax.tree.map(lambda u, p, a: u + jnp.asarray(rate, u.dtype) * (p - a), updates, params, anchor), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)
