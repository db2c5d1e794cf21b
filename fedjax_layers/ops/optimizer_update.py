"""One step of any optax optimiser: its arguments beside the gradient, and the source of its random numbers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from fedjax_layers.types import Array, Key, Params

if TYPE_CHECKING:  # who does not call these functions need not have optax
    import optax

_OF_OBJECTIVE = ("value", "grad", "value_fn", "grad_fn", "obj_fn")
_RAW_KEYS = ("key", "rng", "rng_key")  # names under which optax keeps an old-style key


class Objective(NamedTuple):
    """The function that a step decreases, for optimisers that evaluate it (line searches, Polyak's step size).

    Attributes:
      value: ``[]``, its value at the step's params.
      grad: its gradient there, a tree like the params.
      fn: ``params -> value []``.
    """

    value: Array
    grad: Params
    fn: Callable[[Params], Array]


def update_with(
    optimizer: optax.GradientTransformation,
    grads: Params,
    state: Any,
    params: Params,
    *,
    anchor: Params,
    objective: Objective | None,
) -> tuple[Params, Any]:
    """Compute an optimiser's updates and next state, passing it every argument that it takes by name.

    Args:
      optimizer: any optax optimiser; its ``update`` may take ``value``, ``grad``, ``value_fn``, ``grad_fn``, ``obj_fn``
        and ``anchor``.
      grads: the gradients.
      state: the optimiser's state.
      params: the params before the step.
      anchor: the params to which a proximal term pulls.
      objective: the function that the step decreases; ``None`` where there is none.

    Raises:
      ValueError: the optimiser needs another argument, or the objective where there is none.
    """
    offered: dict[str, Any] = {"anchor": anchor} | ({} if objective is None else _spoken(objective))
    import optax  # noqa: PLC0415

    optimizer = optax.with_extra_args_support(optimizer)
    takes = inspect.signature(optimizer.update).parameters
    everything = any(p.kind is p.VAR_KEYWORD for p in takes.values())
    told = {name: x for name, x in offered.items() if everything or name in takes}
    try:
        return optimizer.update(grads, state, params, **told)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        names = ", ".join(offered)
        raise ValueError(f"optimizer: expected one that asks for no more than {names} by name, got {error}") from error


def _spoken(objective: Objective) -> dict[str, Any]:
    """Return the objective under the names that optax's transformations use for it."""
    gradient = jax.grad(objective.fn)

    def fn(params: Params, *, anchor: Any = None, grad_fn: Any = None, obj_fn: Any = None) -> Array:
        del anchor, grad_fn, obj_fn  # accepted since a line search refuses arguments that its value_fn does not take
        return objective.fn(params)

    found = (objective.value, objective.grad, fn, lambda params, _=None: gradient(params), objective.fn)
    return dict(zip(_OF_OBJECTIVE, found, strict=True))


def needs_objective(optimizer: optax.GradientTransformation, params: Params) -> str | None:
    """Return an optimiser's error for being given gradients alone; ``None`` where it needs nothing else.

    Args:
      optimizer: any optax optimiser.
      params: the params that it updates, arrays or their shapes.
    """

    def step(params: Params) -> Any:
        return update_with(optimizer, params, optimizer.init(params), params, anchor=params, objective=None)

    try:
        jax.eval_shape(step, params)
    except ValueError as error:
        return str(error.__cause__ or error)
    return None


def looks_at_objective(optimizer: optax.GradientTransformation, params: Params) -> bool:
    """Return whether an optimiser needs the objective, or takes any part of it by name."""
    takes = inspect.signature(optimizer.update).parameters
    return not takes.keys().isdisjoint(_OF_OBJECTIVE) or needs_objective(optimizer, params) is not None


def refuse_objective(name: str, owner: str, optimizer: optax.GradientTransformation | None, params: Params) -> None:
    """Raise ``ValueError`` for an optimiser that needs more than gradients.

    Args:
      name: the name of the argument, for the message.
      owner: what takes the optimiser, for the message.
      optimizer: any optax optimiser, or ``None``.
      params: the params that it updates, arrays or their shapes.
    """
    said = None if optimizer is None else needs_objective(optimizer, params)
    if said is not None:
        raise ValueError(
            f"{name}: expected an optimiser that needs gradients alone for {owner}, got one that says {said}"
        )


def reseed(state: Any, key: Key) -> Any:
    """Replace every random key in an optimiser's state by a key of its own from ``key``.

    Otherwise all clients would draw the same numbers in all rounds, those of the key with which the optimiser was made.
    Old-style keys, which are plain integers, are recognised by their names in the state.

    Args:
      state: the state of one optimiser.
      key: the key from which the others are derived.
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path(state)
    fresh = [
        _drawn(leaf, jax.random.fold_in(key, i)) if _is_key(path, leaf) else leaf
        for i, (path, leaf) in enumerate(leaves)
    ]
    return jax.tree.unflatten(treedef, fresh)


def _is_key(path: Any, leaf: Any) -> bool:
    if not isinstance(leaf, jax.Array):
        return False
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return True
    return leaf.dtype == jnp.uint32 and leaf.ndim > 0 and getattr(path[-1], "name", None) in _RAW_KEYS


def _drawn(leaf: Any, key: Key) -> Any:
    if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.bits(key, leaf.shape, jnp.uint32)
    bits = jax.random.bits(key, jax.random.key_data(leaf).shape, jnp.uint32)
    return jax.random.wrap_key_data(bits, impl=jax.random.key_impl(leaf))
