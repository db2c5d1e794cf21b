"""Plain functions ``init`` and ``apply`` on any pytree: a framework of one's own, or none."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from fedjax_layers.models.adapters.network import Network, Order, Path, told
from fedjax_layers.models.first_use import Owners, order_of_use
from fedjax_layers.ops.checks import leaf_path
from fedjax_layers.types import Array, Key, Params

_NORM = re.compile(r"norm|^(bn|ln)[\W_\d]*$", re.IGNORECASE)


class Functions(NamedTuple):
    """A model as plain functions; a pair ``(init, apply)`` does where the others are not needed.

    Attributes:
      init: ``key -> params``, any pytree of arrays.
      apply: ``(params, inputs [B, ...]) -> outputs [B, ...]``; or ``(params, inputs, key) -> outputs``, which gets
        ``key=None`` where it must be deterministic.
      order: the layers in call order, see :func:`fedjax_layers.ops.layer_map`; ``None`` finds them.
      train: for running statistics among the params, ``(params, inputs, mask [B], key) -> (outputs, params)``: the
        forward pass of a training step with the statistics of the rows where the mask is True, and the params with the
        running statistics moved. At least one row of every mask is True.
      statistics: regular expressions; a leaf is a running statistic if one of them matches its slash-separated path.
      affine: the same for the norms' scales and offsets.
    """

    init: Callable[[Key], Params]
    apply: Callable[..., Array]
    order: Order | None = None
    train: Callable[[Params, Array, Array, Key], tuple[Array, Params]] | None = None
    statistics: tuple[str, ...] = ()
    affine: tuple[str, ...] = ()


def functions_network(model: Functions, sample: jax.ShapeDtypeStruct) -> Network:
    """Make a network of plain functions.

    Arrays that lie side by side in one dictionary, list or tuple of the params are one layer; a group whose name has
    "norm" in it, or is "bn" or "ln" with a number, is a norm.

    Args:
      model: the functions.
      sample: shape and dtype of one preprocessed batch.

    Raises:
      ValueError: they take other arguments, or ``init`` fails.
    """
    if not _takes(model.init, 1):
        raise ValueError(f"model: expected a function init(key), got {model.init!r}")
    with_key = _takes(model.apply, 3)
    if not with_key and not _takes(model.apply, 2):
        raise ValueError(f"model: expected apply(params, inputs) or apply(params, inputs, key), got {model.apply!r}")

    def apply(params: Params, x: Array, key: Key | None) -> Array:
        return model.apply(params, x, key) if with_key else model.apply(params, x)

    def order() -> Order | None:
        return model.order or order_of_use(apply, params, sample, _owners_of(params))

    with told("a function init(key) that returns arrays"):
        params = jax.eval_shape(model.init, jax.random.key(0))
    return Network(params, model.init, apply, order, model.train, tuple(model.statistics), tuple(model.affine))


def _owners_of(params: Params) -> Owners:
    """Return the groups of arrays that lie side by side, and which of them are norms.

    Raises:
      ValueError: several matrices lie side by side at the top, which nothing groups into layers.
    """
    flat = jax.tree_util.tree_flatten_with_path(params)[0]
    paths: list[Path] = [tuple(leaf_path(path).split("/")) for path, _ in flat]
    top = ["/".join(path) for path, (_, x) in zip(paths, flat, strict=True) if len(path) == 1 and x.ndim > 1]
    if len(top) > 1:
        expected = "the layers in call order where the params are not grouped by layers"
        raise ValueError(f"order: expected {expected} ({', '.join(top)} lie side by side), got none")
    groups = {path[:-1] for path in paths}
    return Owners(frozenset(groups), frozenset(path for path in groups if path and _NORM.search(path[-1])))


def _takes(function: Any, count: int) -> bool:
    """Return whether a function takes this many positional arguments."""
    try:
        inspect.signature(function).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True
