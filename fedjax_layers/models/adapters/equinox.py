"""Equinox modules: functions of one example, vectorised over the batch, with a key for each example."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from fedjax_layers.models.adapters.network import Network, Path, at, built, nested, parameters_of, shapes_of
from fedjax_layers.models.first_use import Owners, order_of_use
from fedjax_layers.ops.checks import leaf_path
from fedjax_layers.types import Array, Key, Params


def equinox_network(model: Any, sample: jax.ShapeDtypeStruct) -> Network:
    """Make a network of an Equinox module, which is called with one example at a time, as is usual in Equinox.

    The params are nested dictionaries of the module's arrays of real numbers; other arrays are constants. Where its
    ``__call__`` has a parameter ``key``, it gets a key of its own for each example of a training step; without a key,
    the module is in inference mode.

    Args:
      model: the module, whose weights every model then starts from; or a function from ``key`` to a module, which draws
        them from each run's seed.
      sample: shape and dtype of one preprocessed batch.

    Raises:
      ValueError: the function fails or returns no module; or the module keeps a state, as ``equinox.nn.BatchNorm`` does
        with statistics that would count padding rows.
    """
    import equinox as eqx  # noqa: PLC0415  (only for those who use it)

    def build(key: Key) -> Any:
        return built(model, eqx.Module, key=key)

    given = isinstance(model, eqx.Module)
    example = model if given else build(jax.random.key(0))
    _check_state(example)
    weights, rest = eqx.partition(example, eqx.is_inexact_array)
    flat, treedef = jax.tree_util.tree_flatten_with_path(weights)
    names: list[Path] = [tuple(leaf_path(path).split("/")) for path, _ in flat]
    start = _values(names, weights)
    known = shapes_of(start)
    takes_key = "key" in parameters_of(type(example).__call__)

    def init(key: Key) -> Params:
        return start if given else _values(names, eqx.filter(build(key), eqx.is_inexact_array))

    def apply(params: Params, x: Array, key: Key | None) -> Array:
        module = eqx.combine(jax.tree.unflatten(treedef, [at(params, name) for name in names]), rest)
        module = eqx.nn.inference_mode(module, value=key is None)
        if not takes_key:
            return jax.vmap(module)(x)
        if key is None:
            return jax.vmap(lambda one: module(one, key=None))(x)
        return jax.vmap(lambda one, own: module(one, key=own))(x, jax.random.split(key, x.shape[0]))

    owners = _owners_of(example)
    return Network(known, init, apply, lambda: order_of_use(apply, known, sample, owners))


def _values(names: list[Path], weights: Any) -> Params:
    return nested(dict(zip(names, jax.tree.leaves(weights), strict=True)))


def _owners_of(module: Any) -> Owners:
    """Return the paths of all modules in a module, and which of them are norms."""
    import equinox as eqx  # noqa: PLC0415

    paths: set[Path] = set()
    norms: set[Path] = set()

    def walk(value: Any, above: Path) -> None:
        if isinstance(value, eqx.Module):
            paths.add(above)
            if type(value).__name__.endswith("Norm"):
                norms.add(above)
        if value is None or isinstance(value, jax.Array | np.ndarray):
            return
        for path, part in _children(value):
            walk(part, (*above, *path))

    walk(module, ())
    return Owners(frozenset(paths), frozenset(norms))


def _children(value: Any) -> list[tuple[Path, Any]]:
    """Return the parts of a node of a pytree with the names that lead to them; none for a leaf."""
    flat = jax.tree_util.tree_flatten_with_path(value, is_leaf=lambda part: part is not value)[0]
    return [(tuple(leaf_path(path).split("/")), part) for path, part in flat if path]


def _check_state(module: Any) -> None:
    import equinox as eqx  # noqa: PLC0415

    def is_state(part: Any) -> bool:
        return isinstance(part, eqx.nn.StateIndex)

    for path, part in jax.tree_util.tree_flatten_with_path(module, is_leaf=is_state)[0]:
        if is_state(part):
            name = leaf_path(path).rpartition("/")[0]
            instead = "equinox.nn.GroupNorm or LayerNorm has none, and flax.nnx.BatchNorm leaves padding rows out"
            raise ValueError(f"model: expected an Equinox module without state, found some in {name!r}; {instead}")
