"""What every adapter makes of a model, and the errors of a model that cannot be built or traced."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax

from fedjax_layers.types import Array, Key, Params

Order = Sequence[str | Sequence[str]]
Path = tuple[str, ...]
_OWN = ("model:", "module:", "order:", "statistics:", "affine:")


class Network(NamedTuple):
    """A model of any framework as pure functions on one batch of inputs, which are preprocessed already.

    Attributes:
      params: shapes and dtypes of the params.
      init: ``key -> params``.
      apply: ``(params, inputs [B, ...], key | None) -> outputs [B, ...]``; with ``key=None`` deterministic.
      order: ``() -> order``, the layers in call order for :func:`fedjax_layers.ops.layer_map`; called only where the
        user gives none.
      train: for a model with running statistics, ``(params, inputs, mask [B], key) -> (outputs, params)``, see
        :func:`fedjax_layers.models.task.task_from_functions`; ``None`` for one without.
      statistics: regular expressions that match the leaves which are running statistics.
      affine: regular expressions that match the scales and offsets of the same norms.
    """

    params: Params
    init: Callable[[Key], Params]
    apply: Callable[[Params, Array, Key | None], Array]
    order: Callable[[], Order | None]
    train: Callable[[Params, Array, Array, Key], tuple[Array, Params]] | None = None
    statistics: tuple[str, ...] = ()
    affine: tuple[str, ...] = ()


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Turn any error of the user's own code into a ``ValueError`` of one line, which says what was expected of it."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ValueError) and str(error).startswith(_OWN):
            raise
        lines = str(error).strip().splitlines() or [""]
        raise ValueError(f"model: expected {what}, got {type(error).__name__}: {lines[0]}") from error


def built(make: Any, kind: type, **arguments: Any) -> Any:
    """Call a user's function with its source of random numbers, and check that it returns a module of this kind."""
    (name,) = arguments
    with told(f"a function of {name} that makes a module"):
        module = make(**arguments)
    if not isinstance(module, kind):
        expected = f"a function of {name} that returns a {kind.__module__.partition('._')[0]}.{kind.__name__}"
        raise ValueError(f"model: expected {expected}, got one that returns {type(module).__name__}")
    return module


def is_a(value: Any, package: str, name: str = "Module") -> bool:
    """Return whether a value is an instance of a class of a package, without importing the package."""
    kind = getattr(sys.modules.get(package), name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a function, or of the ``__init__`` of a class, by name; none where they are unknown."""
    if isinstance(function, functools.partial):
        left = list(parameters_of(function.func).items())[len(function.args) :]
        return {name: p for name, p in left if name not in function.keywords}
    try:
        if isinstance(function, type):
            own = list(inspect.signature(function.__init__).parameters.values())[1:]  # type: ignore[misc]
        else:
            own = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some functions that are written in C
        return {}
    return {p.name: p for p in own if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def mode(call: Callable[..., Any], deterministic: bool) -> dict[str, bool]:
    """Return the argument that switches a module between training and evaluation, if its ``__call__`` has one."""
    names = parameters_of(call)
    if "deterministic" in names:
        return {"deterministic": deterministic}
    return {name: not deterministic for name in ("train", "training") if name in names}


def nested(flat: dict[Path, Any]) -> Params:
    """Make nested dictionaries of a flat one."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        place = tree
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = value
    return tree


def at(tree: Params, path: Path) -> Any:
    """Return what is at a path of nested dictionaries."""
    for name in path:
        tree = tree[name]
    return tree


def shapes_of(tree: Any) -> Any:
    """Return the same tree with shapes and dtypes in place of arrays."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
