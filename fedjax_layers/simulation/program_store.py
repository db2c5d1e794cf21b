"""Compiled programs by the value of what is compiled: equal programs are one, whoever traced them.

What a program does is its text after lowering, together with what the text leaves out: the trees and types of arguments
and results, the arrays that were closed over, and the devices.
"""

from __future__ import annotations

import collections
import hashlib
import itertools
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, Sharding

MOST_PROGRAMS = 64  # held at once; fewer where they take more than half of the memory maps that a process may have
_CALLBACK = "callback"  # in the name of every operation that calls Python

_programs: collections.OrderedDict[Any, Any] = collections.OrderedDict()


def find(key: Any) -> Any | None:
    """The program with this key, unless it had to make room; it becomes the one used last."""
    program = _programs.pop(key, None)
    if program is not None:
        _programs[key] = program
    return program


def compiled_once(traced: Any, placed: Any) -> tuple[Any, Any]:
    """The key of a traced function and its program, compiled unless one of the same value is held.

    Args:
      traced: of ``jax.jit(..., keep_unused=True).trace``: else the text would not say which arguments are used.
      placed: hashable, where the arguments lie and where the others are put.
    """
    lowered = traced.lower()
    key = (_fingerprint(lowered), lowered.in_tree, lowered.out_tree, *_left_out(traced.jaxpr), placed)
    program = find(key)
    if program is None:
        program = _programs[key] = lowered.compile()
        while len(_programs) > MOST_PROGRAMS or (len(_programs) > 1 and _crowded()):
            _programs.popitem(last=False)
    return key, program


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
