"""The decorator of functions that make objectives, which checks their options as those of algorithms are."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from fedjax_layers.algorithms.factory import check_option
from fedjax_layers.options import options_of

P = ParamSpec("P")
T = TypeVar("T")


def declared(fn: Callable[P, T]) -> Callable[P, T]:
    """Check the options of a function, which its annotations declare, see :mod:`fedjax_layers.options`.

    The function then raises ``ValueError`` for an option that is out of bounds, an unknown choice or an array.
    """

    @functools.wraps(fn)
    def made(*args: P.args, **options: P.kwargs) -> T:
        known = options_of(fn)
        for name in options.keys() & known.keys():
            check_option(known[name], options[name])
        return fn(*args, **options)

    return made
