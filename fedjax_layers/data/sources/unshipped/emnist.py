"""EMNIST: handwritten digits and letters in the form of MNIST, six selections of them."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.formats.archives import read_zip
from fedjax_layers.data.formats.idx import read_idx
from fedjax_layers.data.preprocess import Preprocess
from fedjax_layers.data.tables.columns import Tables, image, label
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.parts import take_parts
from fedjax_layers.data.tables.source import Layout, Source

_SIDE = 28
_DIGITS = tuple("0123456789")
_CAPITALS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_SMALL = tuple("abcdefghijklmnopqrstuvwxyz")
_DISTINCT = tuple("abdefghnqrt")  # small letters that do not look like their capitals
# Selection -> classes, examples of train and test. The labels of letters begin with 1, all others with 0.
_SELECTIONS = {
    "balanced": ((*_DIGITS, *_CAPITALS, *_DISTINCT), 112_800, 18_800),
    "byclass": ((*_DIGITS, *_CAPITALS, *_SMALL), 697_932, 116_323),
    "bymerge": ((*_DIGITS, *_CAPITALS, *_DISTINCT), 697_932, 116_323),
    "digits": (_DIGITS, 240_000, 40_000),
    "letters": (_CAPITALS, 124_800, 20_800),
    "mnist": (_DIGITS, 60_000, 10_000),
}
_ARCHIVE = SourceFile(
    "gzip.zip",
    "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
    "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
)


def _files(selection: str) -> dict[str, tuple[str, str]]:
    """Return the names of the images' and labels' files of each official part."""
    return {
        split: (
            f"emnist-{selection}-{split}-images-idx3-ubyte",
            f"emnist-{selection}-{split}-labels-idx1-ubyte",
        )
        for split in ("train", "test")
    }


def _read_files(selection: str, suffix: str, files: Mapping[str, Path]) -> Tables:
    """Read the four IDX files of a selection, which have each image transposed."""
    first = 1 if selection == "letters" else 0
    tables = {}
    for split, (images, labels) in _files(selection).items():
        pixels = read_idx(files[images + suffix], (None, _SIDE, _SIDE))
        numbers = read_idx(files[labels + suffix], (len(pixels),)).astype(np.int64)
        tables[split] = {"image": _upright(pixels[..., None]), "label": numbers - first}
    return tables


def _read_archive(selection: str, files: Mapping[str, Path]) -> Tables:
    """Read the four files of a selection from NIST's archive."""
    path = files[_ARCHIVE.name]
    wanted = {f"gzip/{name}.gz" for pair in _files(selection).values() for name in pair}
    with tempfile.TemporaryDirectory() as folder:
        unpacked = {}
        for member, content in read_zip(path, wanted.__contains__):
            name = member.rpartition("/")[2]
            unpacked[name] = Path(folder) / name
            unpacked[name].write_bytes(content)
        missing = sorted(name for name in wanted if name.rpartition("/")[2] not in unpacked)
        if missing:
            raise ValueError(f"{path}: expected members {', '.join(sorted(wanted))}, found no {missing[0]}")
        return _read_files(selection, ".gz", unpacked)


def _from_stock(selection: str, splits: Mapping[str, Mapping[str, Any]]) -> Tables:
    """Convert stock TFDS data, transposed as in the files; ``letters`` has the first 88,800 and 14,800 of them."""
    first = 1 if selection == "letters" else 0
    return {
        split: {
            "image": _upright(np.stack(splits[split]["image"])),
            "label": np.array(splits[split]["label"], np.int64) - first,
        }
        for split in ("train", "test")
    }


def _upright(images: np.ndarray) -> np.ndarray:
    """Exchange rows and columns of images ``[N, H, W, 1]``."""
    return np.ascontiguousarray(images.swapaxes(1, 2))


def _build(selection: str) -> Callable[..., Dataset]:
    """Make the function that builds the data set of one selection."""

    def emnist(tables: Tables, provenance: str, *, split: str = "train", limit: int | None = None) -> Dataset:
        """Make EMNIST, ``[N, 28, 28, 1]`` uint8, ink bright on black, upright (the files have it transposed).

        Mean and standard deviation are PLayer-FL's, which takes the first 15,000 training images of ``byclass``:
        ``limit=15_000``.

        Args:
          tables: columns ``image`` and ``label``.
          provenance: line on the source of the data. TFDS keeps the images in an order of its own, so that an id means
            another image there.
          split: official part: ``"train"``, ``"test"`` or ``"all"`` (train, then test).
          limit: number of first images to take; ``None`` takes all.

        Raises:
          ValueError: an unknown split, or a limit out of range.
        """
        examples = take_parts(tables, split, limit)
        return Dataset(
            name=f"emnist_{selection}",
            inputs=examples.array("image"),
            labels=examples.array("label").astype(np.int32),
            class_names=_SELECTIONS[selection][0],
            clients=None,
            client_names=(),
            preprocess=Preprocess(scale=1 / 255, mean=0.1736, std=0.3317),
            source=provenance,
            licence=_LICENCE,
            example_ids=examples.ids,
            official_test=examples.official_test,
        )

    return emnist


_LICENCE = "none published; NIST Special Database 19 is in the public domain"


def _source(selection: str) -> Source:
    classes, train, test = _SELECTIONS[selection]
    counts = {"train": train, "test": test}
    names = [name for pair in _files(selection).values() for name in pair]
    single = tuple(
        Layout(
            tuple(SourceFile(name + suffix) for name in names),
            functools.partial(_read_files, selection, suffix),
            counts,
        )
        for suffix in (".gz", "")
    )
    return Source(
        name=f"emnist_{selection}",
        title=f"handwritten digits and letters, 28x28 grey: EMNIST {selection}",
        task="classification",
        licence=_LICENCE,
        citation="G. Cohen, S. Afshar, J. Tapson, A. van Schaik, EMNIST: Extending MNIST to handwritten letters (2017)",
        build=_build(selection),
        classes=len(classes),
        columns={"image": image(_SIDE, _SIDE), "label": label(classes)},
        layouts=(Layout((_ARCHIVE,), functools.partial(_read_archive, selection), counts), *single),
        folder="emnist",
        stock=f"emnist/{selection}",
        from_stock=functools.partial(_from_stock, selection),
        obtain="NIST offers gzip.zip at https://www.nist.gov/itl/products-and-services/emnist-dataset",
    )


EMNIST_BALANCED, EMNIST_BYCLASS, EMNIST_BYMERGE, EMNIST_DIGITS, EMNIST_LETTERS, EMNIST_MNIST = map(
    _source, ("balanced", "byclass", "bymerge", "digits", "letters", "mnist")
)
