"""FEMNIST: handwritten digits and letters by writer, the standard set of cross-device federated learning."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.preprocess import Preprocess
from fedjax_layers.data.sources.unshipped.leaf import OBTAIN, chosen_clients, layouts, read_users
from fedjax_layers.data.tables.columns import Ragged, Table, Tables, image, label, text
from fedjax_layers.data.tables.parts import take_parts
from fedjax_layers.data.tables.source import Source

CHARACTERS = tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_SIDE = 28
_SLACK = 1e-3  # tolerance for pixels, which are multiples of 1/255 that some programs round


def _femnist(
    tables: Tables, provenance: str, *, split: str = "all", ranks: tuple[int, ...] = (), min_examples: int = 1
) -> Dataset:
    """Make the characters ``[N, 28, 28, 1]`` uint8, ink dark on white, 62 classes: digits, capitals, small letters.

    The natural clients are the writers (3,550 of them in all data of LEAF, 805,263 examples). A model reads pixels in
    [0, 1] as LEAF writes them, so 1 is paper.

    Args:
      tables: columns ``image``, ``label`` and ``writer``.
      provenance: line on the source of the data.
      split: part of the data: ``"all"``; or ``"train"`` or ``"test"`` where LEAF has split them.
      ranks: first and last rank, counted from 1, of the writers to take by their number of examples; empty takes all.
      min_examples: least number of examples of a writer; others are left out, as by LEAF's ``-k``.

    Raises:
      ValueError: an unknown split, or ranks or numbers that leave no writer.
    """
    examples = take_parts(tables, split)
    rows, clients, names = chosen_clients(examples, "writer", ranks, min_examples)
    test = examples.official_test
    return Dataset(
        name="femnist",
        inputs=examples.array("image")[rows],
        labels=examples.array("label")[rows].astype(np.int32),
        class_names=CHARACTERS,
        clients=clients,
        client_names=names,
        preprocess=Preprocess(scale=1 / 255),
        source=provenance,
        licence=FEMNIST.licence,
        example_ids=examples.ids[rows],
        official_test=None if test is None else test[rows],
    )


def _table(paths: list[Path]) -> Table:
    images, labels, writers = [], [], []
    for path in paths:
        for user, pixels, classes in read_users(path):
            images.append(_pictures(pixels, f"{path}, user {user}"))
            labels.append(_classes(classes, f"{path}, user {user}"))
            writers += [user] * len(classes)
    return {
        "image": np.concatenate(images) if images else np.empty((0, _SIDE, _SIDE, 1), np.uint8),
        "label": np.concatenate(labels) if labels else np.empty(0, np.int64),
        "writer": Ragged.of_texts(writers),
    }


def _pictures(pixels: list[list[float]], where: str) -> np.ndarray:
    """Convert floats in [0, 1], which are k / 255 in the files, to pictures ``[n, 28, 28, 1]`` uint8."""
    for row, picture in enumerate(pixels):
        found = len(picture) if isinstance(picture, list) else 0
        if found != _SIDE * _SIDE or not all(isinstance(x, int | float) and abs(x) < 2**31 for x in picture):
            raise ValueError(f"{where}, example {row}: expected {_SIDE * _SIDE} pixels, found {found} or no numbers")
    levels = np.array(pixels, np.float64).reshape(-1, _SIDE, _SIDE, 1) * 255
    rounded = np.rint(levels)
    wrong = ~((np.abs(levels - rounded) <= 255 * _SLACK) & (rounded >= 0) & (rounded <= 255))
    if wrong.any():
        row = int(np.argwhere(wrong)[0][0])
        raise ValueError(f"{where}, example {row}: expected pixels k/255 in [0, 1], found {levels[wrong][0] / 255:g}")
    return rounded.astype(np.uint8)


def _classes(labels: list[int], where: str) -> np.ndarray:
    for row, number in enumerate(labels):
        if not isinstance(number, int) or not 0 <= number < len(CHARACTERS):
            raise ValueError(f"{where}, example {row}: expected a class 0..{len(CHARACTERS) - 1}, found {number!r}")
    return np.array(labels, np.int64)


FEMNIST = Source(
    name="femnist",
    title="handwritten digits and letters by writer, 28x28 grey (LEAF)",
    task="classification",
    licence="none published; NIST Special Database 19 is in the public domain, LEAF's scripts are BSD-2-Clause",
    citation="S. Caldas et al., LEAF: A Benchmark for Federated Settings (2018), of NIST Special Database 19",
    build=_femnist,
    classes=len(CHARACTERS),
    clients="writer",
    columns={"image": image(_SIDE, _SIDE), "label": label(CHARACTERS), "writer": text()},
    layouts=layouts("all_data_*.json", _table),
    obtain=OBTAIN,
)
