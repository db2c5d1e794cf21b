"""One step of any optax optimiser: what it is told beside the gradient, and where its random numbers come from."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fedjax_layers.types import Array, Key, Params

_OF_OBJECTIVE = ("value", "grad", "value_fn", "grad_fn", "obj_fn")
_OF_OBJECTIVE = ("value", "grad", "value_fn", "grad_fn", "obj_fn")
_RAW_KEYS = ("key", "rng", "rng_key")  # names under which optax keeps a key of the old style


class Objective(NamedTuple):
    """What one step goes down: line searches, Polyak's step size and their like look at it.

    Attributes:
      value: ``[]``, at the step's params.
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
    """The updates and the next state of an optimiser, told all that it asks for by name.

    Args:
      optimizer: any of optax; ``value``, ``grad``, ``value_fn``, ``grad_fn``, ``obj_fn`` and ``anchor`` are what its
        ``update`` may ask for.
      grads: what it turns into updates.
      state: its state.
      params: where the step is.
      anchor: what a proximal term pulls to.
      objective: what the step goes down; ``None`` where there is no such function.

    Raises:
      ValueError: it asks for something else, or for the objective where there is none.
    """
    offered: dict[str, Any] = {"anchor": anchor} | ({} if objective is None else _spoken(objective))
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
    """The objective under the names that optax's transformations know it by."""
    gradient = jax.grad(objective.fn)

    def fn(params: Params, *, anchor: Any = None, grad_fn: Any = None, obj_fn: Any = None) -> Array:
        del anchor, grad_fn, obj_fn  # a line search refuses arguments that its value_fn does not take
        return objective.fn(params)

    found = (objective.value, objective.grad, fn, lambda params, _=None: gradient(params), objective.fn)
    return dict(zip(_OF_OBJECTIVE, found, strict=True))


def needs_objective(optimizer: optax.GradientTransformation, params: Params) -> str | None:
    """What an optimiser says when it is given gradients alone; ``None`` where they are all that it needs.

    Args:
      optimizer: any of optax.
      params: arrays or shapes of what it updates.
    """

    def step(params: Params) -> Any:
        return update_with(optimizer, params, optimizer.init(params), params, anchor=params, objective=None)

    try:
        jax.eval_shape(step, params)
    except ValueError as error:
        return str(error.__cause__ or error)
    return None


def looks_at_objective(optimizer: optax.GradientTransformation, params: Params) -> bool:
    """Whether an optimiser needs the objective, or takes any of it by name."""
    takes = inspect.signature(optimizer.update).parameters
    return not takes.keys().isdisjoint(_OF_OBJECTIVE) or needs_objective(optimizer, params) is not None


def refuse_objective(name: str, owner: str, optimizer: optax.GradientTransformation | None, params: Params) -> None:
    """Raise ``ValueError`` for an optimiser that needs more than gradients where nothing else is there.

    Args:
      name: the argument that it was given as.
      owner: what it was given to.
      optimizer: any of optax, or ``None``.
      params: arrays or shapes of what it updates.
    """
    said = None if optimizer is None else needs_objective(optimizer, params)
    if said is not None:
        raise ValueError(
            f"{name}: expected an optimiser that needs gradients alone for {owner}, got one that says {said}"
        )


def reseed(state: Any, key: Key) -> Any:
    """An optimiser's state with every random key in it replaced by one of this stream, each by another.

    Else all clients would draw the same numbers in all rounds, those of the key that the optimiser was made with. Keys
    of the old style, plain integers, are known by their names in the state.

    Args:
      state: of one optimiser.
      key: of the stream.
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
