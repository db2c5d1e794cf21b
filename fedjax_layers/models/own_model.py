"""Models of a user's own by name, ``package.module:factory`` or ``path/to/file.py:factory``, for the command line."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from fedjax_layers.models.adapters.network import parameters_of, told
from fedjax_layers.options import Option, declared
from fedjax_layers.options.code import named_code, names_code

GIVEN = ("num_classes", "sample_shape")
"""Parameters of a factory that the data decide, as in :func:`fedjax_layers.task`."""

_NO_OPTIONS = (*GIVEN, "rngs", "key", "parent", "name")  # the last two are of every Linen module


def is_own(name: str) -> bool:
    """Return whether a model's name is that of a user's own factory."""
    return names_code(name)


def own_factory(name: str) -> Callable[..., Any]:
    """Return the factory of this name.

    Raises:
      ValueError: there is none, or its file or module fails.
    """
    found: Callable[..., Any] = named_code("model", name)
    return found


def own_options(name: str) -> dict[str, Option]:
    """Return the options of a user's own factory: its parameters, other than those that the data or the run give."""
    factory = own_factory(name)
    defaults = {n: p.default for n, p in parameters_of(factory).items() if n not in _NO_OPTIONS}
    with told(f"annotations that can be read in {name}"):
        if not inspect.isclass(factory) or dataclasses.is_dataclass(factory):
            return declared(factory, defaults)
        return declared(factory.__init__, defaults)


def build_own(name: str, num_classes: int, sample_shape: tuple[int, ...], options: Mapping[str, Any]) -> Any:
    """Call a user's own factory, or fill in all its parameters but ``rngs`` or ``key``, which a run gives later.

    Args:
      name: the factory's name.
      num_classes: number of classes or targets.
      sample_shape: shape of one stored example.
      options: the factory's own options.

    Returns:
      A model as :func:`fedjax_layers.task` takes it.

    Raises:
      ValueError: the factory fails.
    """
    factory = own_factory(name)
    own = parameters_of(factory)
    given = {"num_classes": num_classes, "sample_shape": sample_shape}
    arguments = {n: value for n, value in given.items() if n in own} | dict(options)
    if "rngs" in own or "key" in own:
        return functools.partial(factory, **arguments)
    with told(f"a factory {name} that makes a model"):
        return factory(**arguments)
