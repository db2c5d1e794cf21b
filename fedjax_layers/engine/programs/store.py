"""A store of compiled programs by value, in which equal programs are one, whichever function was traced.

A program's value is its text after lowering, together with what the text leaves out: the trees and types of arguments
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

MOST_PROGRAMS = 64  # held at once; fewer if they take more than half of the memory maps that a process may have
_CALLBACK = "callback"  # part of the name of every operation that calls Python

User = Callable[[], Any] | None  # a weak reference to the function that was traced; None for a build by value


@dataclasses.dataclass
class _Held:
    program: Any
    user: User
    shared: bool  # whether several functions gave it, or a build by value, which may be used again

    @property
    def wanted(self) -> bool:
        """Whether the program may be called again."""
        return self.shared or self.user is None or self.user() is not None


_programs: collections.OrderedDict[Any, _Held] = collections.OrderedDict()
_dropped: collections.deque[bytes] = collections.deque(maxlen=1000)  # fingerprints of dropped programs


def find(key: Any) -> Any | None:
    """Return the program with this key, and mark it as used last; ``None`` if it was dropped."""
    held = _programs.pop(key, None)
    if held is None:
        return None
    _programs[key] = held
    return held.program


def compiled_once(traced: Any, placed: Any, user: User) -> tuple[Any, Any]:
    """Return the key and the program of a traced function, compiled unless an equal program is held.

    A program whose function no longer exists is dropped when the next one is compiled, so that a loop of functions that
    all differ holds one program; but not if another function gave it as well, now or before.

    Args:
      traced: the result of ``jax.jit(..., keep_unused=True).trace``; without ``keep_unused`` the text would not say
        which arguments are used.
      placed: hashable; the placement of the arguments, and of the others.
      user: a weak reference to the function, or ``None``.
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
    """Return whether more than half of the process's memory maps are used; a program on CPU takes hundreds of them."""
    try:
        most = int(pathlib.Path("/proc/sys/vm/max_map_count").read_text())
        return 2 * pathlib.Path("/proc/self/maps").read_bytes().count(b"\n") > most
    except OSError:  # only Linux has such a limit and reports it
        return False


def clear() -> None:
    """Drop all programs."""
    _programs.clear()


class _Hash:
    """A file-like object that keeps only the hash of what is written to it."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=32)

    def write(self, text: bytes) -> None:
        """Add bytes to the hash."""
        self._hash.update(text)

    def digest(self) -> bytes:
        """Return the hash of all bytes written."""
        return self._hash.digest()


def _fingerprint(lowered: Any) -> bytes:
    """Hash a program's text, with all constants and without source locations."""
    text = _Hash()
    lowered.compiler_ir("stablehlo").operation.print(file=text, binary=True, enable_debug_info=False)
    return text.digest()


def _left_out(jaxpr: Any) -> tuple[Any, ...]:
    """Return the parts of a traced function that its text may not show.

    The text shows a callback only as a number, so that a function with a callback shares its program with no other.
    """
    parts = tuple(_parts(jaxpr.jaxpr))
    alone = object() if _CALLBACK in parts or jaxpr.effects else None
    constants = tuple(_value(c) for c in jaxpr.consts)
    return (*(tuple(avals) for avals in (jaxpr.in_avals, jaxpr.out_avals)), constants, parts, alone)


def _parts(jaxpr: Any) -> Iterator[Any]:
    """Iterate over meshes, shardings, devices and constants of a jaxpr and those within it, and mark callbacks."""
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
    """Make a hashable value of a closed-over array; one that is only partly on this process equals only itself."""
    if not getattr(constant, "is_fully_addressable", True):
        return object()
    shown = constant
    if jax.dtypes.issubdtype(constant.dtype, jax.dtypes.prng_key):
        shown = jax.random.key_data(constant)
    data = hashlib.blake2b(np.asarray(shown).tobytes(), digest_size=32).digest()
    return data, jax.typeof(constant), getattr(constant, "sharding", None)
