"""Own data in the shapes of Hugging Face, TensorFlow Federated and PFLlib: changed files, and pickles."""

from __future__ import annotations

import functools
import lzma
import pickle
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_files import Target
from fuzz_samples import arrays, written

from fedjax_layers import data
from fedjax_layers.data.formats.tf_example import parse_example
from fedjax_layers.data.sources.own.pfllib.convert import convert
from fedjax_layers.data.sources.own.tff import describe

SAMPLES = Path(__file__).parent.parent / "tests" / "data" / "sources"
_NAMES = (
    ("os", "system"),
    ("posix", "system"),
    ("builtins", "exec"),
    ("builtins", "getattr"),
    ("numpy", "save"),
    ("numpy", "fromfile"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("copyreg", "_reconstructor"),
    ("__main__", "main"),
    ("__main__", "_limit"),
)


_SPLIT: dict[str, Any] = {"clients": 2, "partition": "iid"}


def copied(folder: Path, sample: str, changed: str) -> Path:
    """Copy a folder of samples, and return the path of the file to be changed."""
    shutil.copytree(SAMPLES / sample, folder / "own")
    return folder / "own" / changed


def hugging_face(sample: str, changed: str, above: int, *, text: bool = False, **options: Any) -> Target:
    """Make the target of one file of a sample; the folder that is read is some folders above it."""
    return Target(
        functools.partial(copied, sample=f"hugging_face/{sample}", changed=changed),
        lambda path: data.load("huggingface", path=path.parents[above], **options or _SPLIT),
        text=text,
    )


def packed_database(folder: Path) -> Path:
    """Write a compressed database."""
    content = (SAMPLES / "tff" / "own.sqlite").read_bytes()
    return written(folder, "own.sqlite.lzma", lzma.compress(content, format=lzma.FORMAT_ALONE))


def pickled_tree(folder: Path) -> Path:
    """Write a folder of PFLlib with one client."""
    path = folder / "own" / "train" / "0.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, data=np.array({name: arrays()[name] for name in ("x", "y")}, dtype=object))
    return path


def pickled_array(folder: Path) -> Path:
    """Write what lies inside a file of PFLlib."""
    with zipfile.ZipFile(pickled_tree(folder)) as box:
        return written(folder, "data.npy", box.read("data.npy"))


def packed_and_converted(path: Path) -> object:
    """Put the content into a folder of PFLlib again, and convert that."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file")
    tree = path.parent / "changed"
    (tree / "train").mkdir(parents=True)
    with zipfile.ZipFile(tree / "train" / "0.npz", "w") as box:
        box.write(path, "data.npy")
    return convert(tree, path.parent / "out")


TARGETS: dict[str, Target] = {
    "shards": hugging_face("shards", "train-00000-of-00002.parquet", 0, client="writer"),
    "saved": hugging_face("saved", "train/data-00000-of-00001.arrow", 1, client="writer"),
    "saved, state": hugging_face("saved", "train/state.json", 1, text=True),
    "saved, splits": hugging_face("saved", "dataset_dict.json", 0, text=True),
    "saved, features": hugging_face("saved", "train/dataset_info.json", 1, text=True),
    "partitions": hugging_face("partitions", "partition_0/data-00000-of-00001.arrow", 1),
    "own": Target(
        functools.partial(copied, sample="hugging_face/shards", changed="test-00000-of-00001.parquet"),
        lambda path: data.load("own", path=path, **_SPLIT),
    ),
    "tff": Target(
        functools.partial(copied, sample="tff", changed="own.sqlite"), lambda path: data.load("tff", path=path)
    ),
    "tff, described": Target(functools.partial(copied, sample="tff", changed="own.sqlite"), describe),
    "tff, lzma": Target(packed_database, lambda path: data.load("tff", path=path)),
    "pfllib": Target(pickled_tree, lambda path: convert(path.parent.parent, path.parents[2] / "out")),
    "pfllib, pickle": Target(pickled_array, packed_and_converted),
}


def example(rng: random.Random, folder: Path) -> tuple[str, Callable[[], object]]:
    """A message tf.train.Example with random bytes in it."""
    del folder
    content = bytearray(b"\x0a\x1b\x0a\x19\x0a\x05label\x12\x10\x1a\x0e\x0a\x0c" + bytes(range(122, 134)))
    for _ in range(rng.choice([1, 2, 8])):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return content.hex(), lambda: parse_example(bytes(content), "own")


def pickles(rng: random.Random, folder: Path) -> tuple[str, Callable[[], object]]:
    """A pickle that calls a function by its name, in the place of an array or of everything."""
    module, name = rng.choice(_NAMES)
    guarded = folder.parent / "guarded" / "pickled"
    commands = [f"touch {guarded}", f"open({str(guarded)!r}, 'w')", str(guarded)]
    given = rng.choice([*commands, 2**40, -1, None, b"f4", ("x",)])
    called = f"c{module}\n{name}\n".encode() + pickle.dumps((given,) * rng.choice([1, 2, 3]), 0)[:-1] + b"R"
    if rng.random() < 0.5:  # and give the result a state
        state = rng.choice([(1, (2,), None, False, b"x"), {"a": 1}, (3, "<", None, None)])
        called += pickle.dumps(state, 0)[:-1] + b"b"
    whole = called + b"." if rng.random() < 0.5 else b"}(Vx\n" + called + b"Vy\n" + called + b"u."
    header = str({"descr": "|O", "fortran_order": False, "shape": ()}).ljust(117) + "\n"
    path = written(folder, "data.npy", b"\x93NUMPY\x01\x00\x76\x00" + header.encode() + whole)
    return f"{module}.{name}, {given!r}", lambda: packed_and_converted(path)


pickles.share = 0.5  # type: ignore[attr-defined]  (each starts a process)
KINDS = {"odd: example": example, "odd: pickles": pickles}
