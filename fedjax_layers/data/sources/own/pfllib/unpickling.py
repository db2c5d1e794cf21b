"""The child process that turns pickled dictionaries of arrays into plain arrays. It is a script that nothing imports.

A pickle can call any function that it can name. Here it can name eight, and each name leads to a class or function of
this file: no function of NumPy, of Python or of this package is called by a pickle. The process has limits of memory
and time, and can write no file. Its parent sends the content of one ``data.npy`` after the other through a pipe, and
gets back an npz file of plain arrays for each, or one line that says what is wrong.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import resource
import struct
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

_DTYPES = re.compile(r"[biuf][1248]|b1|f16|[US]\d{1,6}|O8?")
_DEEPEST = 8  # lists within lists
_EXPECTED = "a dictionary of the arrays x and y"


class RefusedError(Exception):
    """What was found in place of what a file should hold."""


class Dtype:
    """What stands for ``numpy.dtype``: its text, and its byte order."""

    def __init__(self, text: object, align: object = False, copy: object = False) -> None:
        del align, copy
        if not isinstance(text, str) or not _DTYPES.fullmatch(text):
            raise RefusedError(f"an array of type {str(text)[:40]!r}")
        self.text = text
        self.order: Literal["<", ">", "=", "|"] = "="

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise RefusedError("an array of records")
        if state[1] not in ("<", ">", "=", "|"):
            raise RefusedError("an array of an unknown byte order")
        self.order = state[1]

    def made(self) -> np.dtype:
        """Make the type."""
        return np.dtype(self.text).newbyteorder(self.order)


class Array:
    """What stands for ``numpy.ndarray``: its type, shape, order and bytes."""

    def __init__(self, shape: object = (), dtype: object = None, fortran: object = False, raw: object = b"") -> None:
        self.shape, self.dtype, self.fortran, self.raw = shape, dtype, fortran, raw

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise RefusedError("an array of an unknown form")
        _, self.shape, self.dtype, self.fortran, self.raw = state

    def made(self, depth: int = 0) -> Any:
        """Make the array; one of Python objects becomes one of numbers if they are numbers or arrays of one shape."""
        if not isinstance(self.dtype, Dtype) or not isinstance(self.shape, tuple):
            raise RefusedError("an array of an unknown form")
        if not all(type(n) is int and 0 <= n < 2**40 for n in self.shape):
            raise RefusedError("an array of an unknown shape")
        dtype, number = self.dtype.made(), math.prod(self.shape)
        if dtype.hasobject:
            if not isinstance(self.raw, list) or len(self.raw) != number:
                raise RefusedError("an array of Python objects of another length")
            inner = plain(self.raw, depth)
            return inner.reshape(*self.shape, *inner.shape[1:])
        if not isinstance(self.raw, (bytes, bytearray)) or len(self.raw) != number * dtype.itemsize:
            raise RefusedError("an array of more or fewer bytes than its shape has")
        return np.frombuffer(self.raw, dtype).reshape(self.shape, order="F" if self.fortran else "C")


def reconstruct(kind: object, shape: object, dtype: object) -> Array:
    """Stand for ``_reconstruct``; the state that follows says everything."""
    del kind, shape, dtype
    return Array()


def from_buffer(raw: object, dtype: object, shape: object, order: object, axes: object = None) -> Array:
    """Stand for ``_frombuffer``, with which the fifth form of pickles makes arrays."""
    if axes is not None:
        raise RefusedError("an array of permuted axes")
    return Array(shape, dtype, order == "F", raw)


def scalar(dtype: object, raw: object = b"") -> Any:
    """Stand for ``scalar``, which makes one number."""
    return Array((), dtype, False, raw).made().item()


_CORES = ("numpy.core", "numpy._core")
_NAMES: dict[tuple[str, str], Any] = {("numpy", "dtype"): Dtype, ("numpy", "ndarray"): Array}
for _core in _CORES:
    _NAMES[f"{_core}.multiarray", "_reconstruct"] = reconstruct
    _NAMES[f"{_core}.multiarray", "scalar"] = scalar
    _NAMES[f"{_core}.numeric", "_frombuffer"] = from_buffer


class Reader(pickle.Unpickler):
    """A reader of pickles that knows the names above and no others."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name."""
        if (module, name) not in _NAMES:
            raise RefusedError(f"the name {f'{module}.{name}'[:80]!r}, which no array needs")
        return _NAMES[module, name]

    def persistent_load(self, pid: object) -> Any:
        """Refuse references to things outside the file."""
        del pid
        raise RefusedError("a reference to something outside")


def plain(value: object, depth: int = 0) -> Any:
    """Convert what was read to an array."""
    if isinstance(value, Array):
        return value.made(depth + 1)
    if isinstance(value, (list, tuple)):
        if depth >= _DEEPEST:
            raise RefusedError("lists within lists within lists")
        inner = [plain(one, depth + 1) for one in value]
        texts = {isinstance(one, str) for one in inner}
        if len(texts) > 1 or len({np.shape(one) for one in inner}) > 1:
            raise RefusedError("a list of texts and numbers" if len(texts) > 1 else "entries of different shapes")
        return np.array(inner)
    if isinstance(value, (bool, int, float, str)):
        return value
    raise RefusedError(f"a value of type {type(value).__name__[:40]!r}")


def converted(content: bytes) -> bytes:
    """Convert the content of a ``data.npy`` to that of an npz file with the arrays x and y."""
    stream = io.BytesIO(content)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(stream)
    if version not in read:
        raise RefusedError(f"version {version} of NumPy's format")
    shape, _, dtype = read[version](stream)
    if shape != () or dtype != np.dtype(object):
        raise RefusedError(f"an array {shape} of {dtype}")
    whole = Reader(stream).load()
    if isinstance(whole, Array) and whole.shape == () and isinstance(whole.raw, list) and len(whole.raw) == 1:
        whole = whole.raw[0]
    if not isinstance(whole, dict) or set(whole) != {"x", "y"}:
        keys = ", ".join(sorted(map(str, whole))[:5])[:80] if isinstance(whole, dict) else type(whole).__name__[:40]
        raise RefusedError(keys or "an empty one")
    x, y = np.asarray(plain(whole["x"])), np.asarray(plain(whole["y"]))
    if x.ndim < 2 or x.dtype.kind not in "biuf" or y.ndim != 1 or y.dtype.kind not in "biufU" or len(x) != len(y):
        raise RefusedError(f"x {x.dtype} {list(x.shape)} and y {y.dtype} {list(y.shape)}")
    out = io.BytesIO()
    np.savez(out, x=x, y=y)
    return out.getvalue()


def answer(content: bytes) -> tuple[bool, bytes]:
    """Convert, or say in one line why not."""
    try:
        return True, converted(content)
    except RefusedError as refused:
        found = str(refused)
    except MemoryError:
        found = "more than the memory that it may take"
    except Exception as error:  # a damaged pickle raises anything
        found = f"a damaged one ({type(error).__name__}: {error})"
    return False, f"expected {_EXPECTED}, found {' '.join(found.split())}".encode()[:300]


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def main(memory: int, times: int, seconds: int, source: BinaryIO, out: BinaryIO) -> None:
    """Answer each content that comes: its length and its bytes, then the result, its length and its bytes.

    Args:
      memory: bytes that a file may take.
      times: further bytes for each of its bytes.
      seconds: time that a file may take.
      source: the pipe from the parent.
      out: the pipe to the parent.
    """
    told = Path("/proc/self/statm")
    own = int(told.read_text().split()[0]) * resource.getpagesize() if told.exists() else 0
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    while head := source.read(8):
        (length,) = struct.unpack("<Q", head)
        _limit(resource.RLIMIT_AS, own + memory + times * length)
        _limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + seconds)
        fine, result = answer(source.read(length))
        out.write(struct.pack("<?Q", fine, len(result)) + result)
        out.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.stdin.buffer, sys.stdout.buffer)
