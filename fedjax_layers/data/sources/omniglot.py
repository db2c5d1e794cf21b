"""Omniglot: handwritten characters of eight alphabets, each drawn by twenty people."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.formats.archives import read_zip
from fedjax_layers.data.formats.pictures import decode_picture, resize_grey
from fedjax_layers.data.preprocess import Preprocess
from fedjax_layers.data.tables.columns import Tables, image, label
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.parts import take_parts
from fedjax_layers.data.tables.source import Layout, Source

SIDE = 105
DRAWERS = 20  # of each alphabet
ALPHABETS = {
    "Balinese": 24,
    "Early_Aramaic": 22,
    "Greek": 24,
    "Japanese_(katakana)": 47,
    "Korean": 40,
    "Latin": 26,
    "Sanskrit": 42,
    "Tagalog": 17,
}  # number of characters
_CHARACTERS = tuple(f"{name} {i:02}" for name, size in ALPHABETS.items() for i in range(1, size + 1))
_DRAWERS = tuple(f"{name} {i:02}" for name in ALPHABETS for i in range(1, DRAWERS + 1))
_MEMBER = re.compile(r"images_background_small[12]/([^/]+)/character(\d\d)/\d{4}_(\d\d)\.png")
_URL = "https://github.com/brendenlake/omniglot/raw/master/python/"


def _omniglot(tables: Tables, provenance: str, *, size: int = SIDE) -> Dataset:
    """Make the set of 4,840 drawings of 242 characters, ``[4840, size, size, 1]`` uint8: 0 is ink, 255 paper.

    The two small background sets of Lake et al. overlap: Greek and Latin are in both, with the same drawings, which are
    taken once. Each class therefore has 20 drawings, one by each of its alphabet's drawers.

    The natural clients are the 160 drawers, 20 of each alphabet; the same number in two alphabets may be two people
    or one. A client has each character of its alphabet once, so its test characters are not among its training ones.

    A model sees ink as 1 and paper as 0, the inversion that MAML (Finn et al., arXiv 1703.03400) applies; its
    authors also resize to 28x28 with Lanczos' filter, as ``size=28`` does.

    Args:
      tables: columns ``image``, ``character``, ``alphabet`` and ``drawer``.
      provenance: line on the source of the data.
      size: side of the pictures in pixels, 1..105.

    Raises:
      ValueError: a size out of range.
    """
    if not 1 <= size <= SIDE:
        raise ValueError(f"size: expected 1..{SIDE} pixels, got {size}")
    examples = take_parts(tables)
    inputs = examples.array("image")
    return Dataset(
        name="omniglot",
        inputs=inputs if size == SIDE else resize_grey(inputs, size, "lanczos"),
        labels=examples.array("character").astype(np.int32),
        class_names=_CHARACTERS,
        clients=examples.array("drawer").astype(np.int32),
        client_names=_DRAWERS,
        preprocess=Preprocess(scale=-1 / 255, mean=-1.0),
        source=provenance,
        licence=OMNIGLOT.licence,
        example_ids=examples.ids,
    )


def _read(files: Mapping[str, Path]) -> Tables:
    """Read every drawing once, by character and drawer."""
    first = dict(zip(ALPHABETS, itertools.accumulate(ALPHABETS.values(), initial=0), strict=False))
    images = np.zeros((len(_CHARACTERS), DRAWERS, SIDE, SIDE, 1), np.uint8)
    seen = np.zeros((len(_CHARACTERS), DRAWERS), bool)
    for path in files.values():
        for name, content in read_zip(path, lambda name: name.endswith(".png")):
            alphabet, character, drawer = _place(name, path)
            where = (first[alphabet] + character, drawer)
            drawing = decode_picture(content, "L", f"{path}, {name}")
            if drawing.shape != (SIDE, SIDE):
                raise ValueError(f"{path}, {name}: expected {SIDE}x{SIDE} pixels, found {drawing.shape}")
            if seen[where] and not np.array_equal(images[where][..., 0], drawing):
                raise ValueError(f"{path}, {name}: expected the drawing of the other archive, found another one")
            images[where][..., 0] = drawing
            seen[where] = True
    if not seen.all():
        character, drawer = np.argwhere(~seen)[0]
        missing = f"{_CHARACTERS[character]} by drawer {drawer + 1:02}"
        raise ValueError(f"{' and '.join(map(str, files.values()))}: expected {missing}, found no such drawing")
    alphabet_of = np.repeat(np.arange(len(ALPHABETS)), list(ALPHABETS.values()))
    character_of = np.repeat(np.arange(len(_CHARACTERS)), DRAWERS)
    drawer_of = np.tile(np.arange(DRAWERS), len(_CHARACTERS))
    return {
        "train": {
            "image": images.reshape(-1, SIDE, SIDE, 1),
            "character": character_of,
            "alphabet": alphabet_of[character_of],
            "drawer": alphabet_of[character_of] * DRAWERS + drawer_of,
        }
    }


def _place(name: str, path: Path) -> tuple[str, int, int]:
    """Parse alphabet, character and drawer of a member's name, the last two counted from 0."""
    match = _MEMBER.fullmatch(name)
    if match:
        alphabet, character, drawer = match[1], int(match[2]) - 1, int(match[3]) - 1
        if 0 <= character < ALPHABETS.get(alphabet, 0) and 0 <= drawer < DRAWERS:
            return alphabet, character, drawer
    raise ValueError(f"{path}: expected drawings <set>/<alphabet>/characterNN/NNNN_NN.png, found {name!r}")


def _file(name: str, sha256: str) -> SourceFile:
    return SourceFile(name, sha256, _URL + name)


OMNIGLOT = Source(
    name="omniglot",
    title="handwritten characters of eight alphabets, 105x105 grey",
    task="classification",
    licence="MIT",
    citation="B. M. Lake, R. Salakhutdinov, J. B. Tenenbaum, Human-level concept learning through probabilistic "
    "program induction (Science 350, 2015)",
    build=_omniglot,
    classes=len(_CHARACTERS),
    clients="drawer of an alphabet",
    columns={
        "image": image(SIDE, SIDE),
        "character": label(_CHARACTERS),
        "alphabet": label(ALPHABETS),
        "drawer": label(_DRAWERS),
    },
    layouts=(
        Layout(
            (
                _file(
                    "images_background_small1.zip", "f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4"
                ),
                _file(
                    "images_background_small2.zip", "3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f"
                ),
            ),
            _read,
            {"train": 4840},
            "the two small background sets, repeated drawings once",
        ),
    ),
)
