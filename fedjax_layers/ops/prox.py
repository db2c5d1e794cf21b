"""Proximal terms, which pull a client's parameters towards an anchor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from fedjax_layers.ops.optimizer_update import Objective, update_with
from fedjax_layers.types import Array, Params

if TYPE_CHECKING:  # who does not call these functions need not have optax
    import optax


def proximal_pull(rate: float | Array, where: Any = None) -> optax.GradientTransformationExtraArgs:
    """Make an optax transformation that adds the gradient of ``rate/2 * ||params - anchor||^2``.

    Put it before the optimiser: ``optax.chain(proximal_pull(mu), optax.sgd(lr))`` is the local solver of FedProx
    (Li et al. 2020, eq. 2). ``update`` takes the anchor as the keyword ``anchor``, a tree like the parameters.

    Args:
      rate: strength of the pull, per unit of squared distance; may be traced.
      where: bool ``[]`` for each leaf of the parameters, whether it is pulled; ``None`` pulls all.

    Returns:
      A stateless transformation. Its update raises ``ValueError`` if params or anchor are not given.
    """
    import optax  # noqa: PLC0415

    def update(
        updates: Params, state: Any, params: Params | None = None, *, anchor: Params | None = None, **_: Any
    ) -> tuple[Params, Any]:
        if params is None or anchor is None:
            missing = "params" if params is None else "anchor"
            raise ValueError(f"{missing}: expected a tree like the updates, found None")
        # A traced rate has a dtype of its own, which must not change the dtype of the updates.
        pulled = jax.tree.map(lambda u, p, a: u + jnp.asarray(rate, u.dtype) * (p - a), updates, params, anchor)
        if where is not None:
            pulled = jax.tree.map(jnp.where, where, pulled, updates)
        return pulled, state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)


def with_proximal_term(
    optimizer: optax.GradientTransformation, rate: float | Array, where: Any = None
) -> optax.GradientTransformationExtraArgs:
    """Make an optimiser of the loss plus ``rate/2 * ||params - anchor||^2``.

    It is :func:`proximal_pull` before the optimiser. An optimiser that evaluates the loss itself, as a line search
    does, gets the loss with the term.

    Args:
      optimizer: any optax optimiser.
      rate: strength of the pull, per unit of squared distance; may be traced.
      where: as in :func:`proximal_pull`.
    """
    import optax  # noqa: PLC0415

    pull = proximal_pull(rate, where)

    def update(
        updates: Params, state: Any, params: Params | None = None, *, anchor: Params | None = None, **extras: Any
    ) -> tuple[Params, Any]:
        pulled, _ = pull.update(updates, optax.EmptyState(), params, anchor=anchor)
        objective = None
        if "value_fn" in extras:

            def term(params: Params) -> Array:
                gaps = jax.tree.map(jnp.subtract, params, anchor)
                if where is not None:
                    gaps = jax.tree.map(lambda pulled, gap: jnp.where(pulled, gap, 0), where, gaps)
                squares = [jnp.square(gap).sum() for gap in jax.tree.leaves(gaps)]
                return jnp.asarray(rate, squares[0].dtype) / 2 * sum(squares)

            grad, _ = pull.update(extras["grad"], optax.EmptyState(), params, anchor=anchor)
            plain, value = extras["value_fn"], extras["value"]
            objective = Objective(
                value + term(params).astype(value.dtype), grad, lambda p: plain(p) + term(p).astype(value.dtype)
            )
        return update_with(optimizer, pulled, state, params, anchor=anchor, objective=objective)

    return optax.GradientTransformationExtraArgs(optimizer.init, update)
