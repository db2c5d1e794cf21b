"""Compiled programs by the value of what is compiled: equal programs are one, whoever traced them.

What a program does is its text after lowering, together with what the text leaves out: the trees and types of arguments
and results, the arrays that were closed over, and the devices.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, Sharding

MOST_PROGRAMS = 64  # held at once; fewer where they take more than half of the memory maps that a process may have
_CALLBACK = "callback"  # in the name of every operation that calls Python

User = Callable[[], Any] | None  # a weak reference to the function that came to a program; None for a value


@dataclasses.dataclass
class _Held:
    program: Any
    user: User
    shared: bool  # more than one function came to it, or a value did, which may come again

    @property
    def wanted(self) -> bool:
        """Whether somebody is known who may call it again."""
        return self.shared or self.user is None or self.user() is not None


_programs: collections.OrderedDict[Any, _Held] = collections.OrderedDict()
_dropped: collections.deque[bytes] = collections.deque(maxlen=1000)  # prints of programs that nobody wanted


def find(key: Any) -> Any | None:
    """The program with this key, unless it had to make room; it becomes the one used last."""
    held = _programs.pop(key, None)
    if held is None:
        return None
    _programs[key] = held
    return held.program


def compiled_once(traced: Any, placed: Any, user: User) -> tuple[Any, Any]:
    """The key of a traced function and its program, compiled unless one of the same value is held.

    A program whose function is gone goes when the next one is compiled, so that a loop of functions that all differ
    holds one of them; but not if another function came to it as well, now or before.

    Args:
      traced: of ``jax.jit(..., keep_unused=True).trace``: else the text would not say which arguments are used.
      placed: hashable, where the arguments lie and where the others are put.
      user: what came to it.
    """
    lowered = traced.lower()
    text = _fingerprint(lowered)
    key = (text, lowered.in_tree, lowered.out_tree, *_left_out(traced.jaxpr), placed)
    if find(key) is None:
        _drop_unwanted()
        _programs[key] = _Held(lowered.compile(), user, text in _dropped)
        while len(_programs) > MOST_PROGRAMS or (len(_programs) > 1 and _crowded()):
            _programs.popitem(last=False)
    else:
        _programs[key].shared = True
    return key, _programs[key].program


def _drop_unwanted() -> None:
    for key, held in list(_programs.items()):
        if not held.wanted:
            del _programs[key]
            _dropped.append(key[0])


def _crowded() -> bool:
    """Whether more than half of the process's memory maps are taken: a program on CPU takes hundreds of them."""
    try:
        most = int(pathlib.Path("/proc/sys/vm/max_map_count").read_text())
        return 2 * pathlib.Path("/proc/self/maps").read_bytes().count(b"\n") > most
    except OSError:  # only Linux tells, and counts
        return False


def clear() -> None:
    """Let go of all programs."""
    _programs.clear()


class _Hash:
    """A file that keeps the hash of what is written to it."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=32)

    def write(self, text: bytes) -> None:
        """Add some bytes."""
        self._hash.update(text)

    def digest(self) -> bytes:
        """The hash of all that was written."""
        return self._hash.digest()


def _fingerprint(lowered: Any) -> bytes:
    """Of the program's text, with all its constants and without the places in the source that it comes from."""
    text = _Hash()
    lowered.compiler_ir("stablehlo").operation.print(file=text, binary=True, enable_debug_info=False)
    return text.digest()


def _left_out(jaxpr: Any) -> tuple[Any, ...]:
    """What a traced function has that its text may not show.

    A callback is known to the text by a number alone, so that no other function may have this one's program.
    """
    parts = tuple(_parts(jaxpr.jaxpr))
    alone = object() if _CALLBACK in parts or jaxpr.effects else None
    constants = tuple(_value(c) for c in jaxpr.consts)
    return (*(tuple(avals) for avals in (jaxpr.in_avals, jaxpr.out_avals)), constants, parts, alone)


def _parts(jaxpr: Any) -> Iterator[Any]:
    """Meshes, shardings and devices in a jaxpr and those within it, its constant arrays, and whether it calls back."""
    for atom in itertools.chain(jaxpr.outvars, *(equation.invars for equation in jaxpr.eqns)):
        if np.ndim(getattr(atom, "val", 0)):
            yield _value(atom.val)
    for equation in jaxpr.eqns:
        if _CALLBACK in equation.primitive.name:
            yield _CALLBACK
        for part in jax.tree.leaves(list(equation.params.values())):
            if isinstance(part, Mesh | Sharding | jax.Device):
                yield part
            elif hasattr(part, "eqns") or hasattr(part, "jaxpr"):
                yield from _parts(getattr(part, "jaxpr", part))


def _value(constant: Any) -> Any:
    """A hashable value of a closed-over array; one that this process sees in part is equal to itself alone."""
    if not getattr(constant, "is_fully_addressable", True):
        return object()
    shown = constant
    if jax.dtypes.issubdtype(constant.dtype, jax.dtypes.prng_key):
        shown = jax.random.key_data(constant)
    data = hashlib.blake2b(np.asarray(shown).tobytes(), digest_size=32).digest()
    return data, jax.typeof(constant), getattr(constant, "sharding", None)
