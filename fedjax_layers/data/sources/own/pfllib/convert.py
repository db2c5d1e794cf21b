"""Conversion of a folder in PFLlib's layout to one that ``client_folder`` reads.

Source: ``dataset/utils/dataset_utils.py`` of PFLlib: files ``train/<client>.npz`` and ``test/<client>.npz``, each with
an array ``data`` that is a pickled dictionary of the arrays x and y.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import struct
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fedjax_layers.data.formats.archives import read_npz, read_zip
from fedjax_layers.data.sources.own.picture_files import entries
from fedjax_layers.host_memory import spoken

_PARTS = ("train", "test")
_MEMBER = "data.npy"
_SCRIPT = Path(__file__).with_name("unpickling.py")
_MEMORY = 2**30  # bytes that the child may take, and further bytes for each byte that it reads
_TIMES = 8
_SECONDS = 60  # for one file
_CHANNELS = (1, 3)


class Converted(NamedTuple):
    """What was converted: the number of clients, of examples of each part, and the shape and type of an input."""

    clients: int
    examples: dict[str, int]
    shape: tuple[int, ...]
    dtype: np.dtype
    moved: bool


def is_pickled_tree(folder: Path) -> bool:
    """Return whether a folder is one of PFLlib's, by the names of its files and of what is in the first of them."""
    try:
        files = [path for path in (folder / "train").iterdir() if path.suffix == ".npz" and path.is_file()]
        if not files:
            return False
        with zipfile.ZipFile(min(files)) as box:
            return box.namelist() == [_MEMBER]
    except Exception:  # damaged bytes raise errors of zipfile and many others, and the reader will say more
        return False


def refusal(folder: Path) -> ValueError:
    """Make the error for such a folder, where one of plain arrays is expected."""
    return ValueError(
        f"{folder}: expected plain arrays, found files train/<client>.npz as PFLlib pickles them, which are not read; "
        f"fedjax-layers data convert {folder} --out NEW_FOLDER makes plain ones"
    )


def convert(folder: Path, out: Path, say: Callable[[str], object] = lambda _: None) -> Converted:
    """Convert the files of a folder; pictures with their channels first get them last, as models here read them.

    The pickled content is read by a child process that can make nothing but arrays of numbers and texts, dictionaries
    and lists, with limits of memory and time; see ``unpickling``.

    Args:
      folder: the folder with ``train/<client>.npz`` and perhaps ``test/<client>.npz``.
      out: the new folder, which is there when all files have been converted; it gets ``train/<client>/data.npz`` and
        ``test/<client>/data.npz``, or ``<client>/data.npz`` where there is no test part.
      say: called with each file's name before it is read.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: a file holds something else, is damaged or takes too much memory or time; files differ in shape; or
        ``out`` exists.
    """
    files = _files(folder)
    if out.exists():
        raise ValueError(f"--out: expected a new folder, found something at {out}")
    place = out.with_name(f"{out.name}.{secrets.token_hex(4)}.partial")
    kinds: list[_Kind] = []
    parted = any(part == "test" for _, part in files)
    try:
        place.mkdir(parents=True)
        with _child() as child:
            for path, part in files:
                say(f"{part}/{path.name}")
                kinds.append(_convert_one(child, path, (place / part if parted else place) / path.stem / "data.npz"))
                _check_alike(files, kinds)
        place.rename(out)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    numbers = {part: sum(k.rows for (_, of), k in zip(files, kinds, strict=True) if of == part) for part in _PARTS}
    return Converted(len({path.stem for path, _ in files}), numbers, kinds[0].shape, kinds[0].dtype, kinds[0].moved)


class _Kind(NamedTuple):
    """The inputs of one file: their number, the shape and type of one, and whether its channels were put last."""

    rows: int
    shape: tuple[int, ...]
    dtype: np.dtype
    moved: bool


def _check_alike(files: list[tuple[Path, str]], kinds: list[_Kind]) -> None:
    if kinds[-1][1:] != kinds[0][1:]:
        expected, found = (f"{kind.dtype} {list(kind.shape)}" for kind in (kinds[0], kinds[-1]))
        where = files[len(kinds) - 1][0]
        raise ValueError(f"{where}, x: expected entries {expected} as in {files[0][0]}, found {found}")


def _files(folder: Path) -> list[tuple[Path, str]]:
    """List the files with their parts, by clients."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected a folder, found none")
    found = []
    for part in _PARTS:
        if (folder / part).is_dir():
            for path in entries(folder / part, folder):
                if path.suffix != ".npz" or not path.is_file():
                    raise ValueError(f"{folder / part}: expected files <client>.npz, found {path.name}")
                found.append((path, part))
    if not any(part == "train" for _, part in found):
        raise ValueError(f"{folder}: expected files train/<client>.npz, found none")
    return sorted(found, key=lambda file: (_PARTS.index(file[1]), len(file[0].stem), file[0].stem))


def _convert_one(child: subprocess.Popen[bytes], path: Path, out: Path) -> _Kind:
    """Let the child convert a file, and check and write what comes back."""
    contents = dict(read_zip(path, lambda name: name == _MEMBER))
    if _MEMBER not in contents:
        raise ValueError(f"{path}: expected an array data, found none")
    result = _asked(child, path, contents.pop(_MEMBER))
    out.parent.mkdir(parents=True)
    out.write_bytes(result)
    x, y = read_npz(out, "x", "y").values()
    moved = x.ndim == 4 and x.shape[1] in _CHANNELS and x.shape[1] < x.shape[3]
    x = np.moveaxis(x, 1, 3) if moved else x
    np.savez_compressed(out, x=x, y=y)
    return _Kind(len(x), x.shape[1:], x.dtype, moved)


@contextlib.contextmanager
def _child() -> Iterator[subprocess.Popen[bytes]]:
    """Start the child process, in which modules come from no folder but Python's own, and end it."""
    command = [sys.executable, "-P", str(_SCRIPT), str(_MEMORY), str(_TIMES), str(_SECONDS)]
    one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=one_thread) as child:
        try:
            yield child
        finally:
            child.kill()


def _asked(child: subprocess.Popen[bytes], path: Path, content: bytes) -> bytes:
    """Send the content of a file to the child, and return its answer."""
    assert child.stdin is not None  # both are pipes
    assert child.stdout is not None
    timer = threading.Timer(2 * _SECONDS, child.kill)
    timer.start()
    try:
        child.stdin.write(struct.pack("<Q", len(content)) + content)
        child.stdin.flush()
        head = child.stdout.read(9)
        fine, length = struct.unpack("<?Q", head) if len(head) == 9 else (False, 0)
        result = child.stdout.read(min(length, _MEMORY + _TIMES * len(content)))
    except BrokenPipeError:
        fine, length, result = False, 0, b""
    finally:
        timer.cancel()
    if not length or len(result) != length:
        limits = f"{spoken(_MEMORY + _TIMES * len(content))} and {_SECONDS} seconds"
        raise ValueError(f"{path}: expected a dictionary of arrays, found one that takes more than {limits}")
    if not fine:
        raise ValueError(f"{path}: {result.decode(errors='replace')}")
    return result
