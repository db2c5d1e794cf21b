"""USPS: 16 x 16 grey digits from American envelopes, a second domain beside MNIST."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.formats.archives import read_bytes, read_npz
from fedjax_layers.data.preprocess import Preprocess
from fedjax_layers.data.tables.columns import Tables, label, number
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.parts import take_parts
from fedjax_layers.data.tables.source import Layout, Source

SIDE = 16
LEVELS = 2000  # a pixel is 0 (paper) to 2000 (ink), for -1 to 1 with three decimals in the published text


def _usps(tables: Tables, provenance: str, *, split: str = "train", limit: int | None = None) -> Dataset:
    """Make USPS's digits, ``[N, 16, 16, 1]`` int16 in 0..2000, ten classes.

    Mean and standard deviation are those of the training pixels, scaled to 0..1.

    Args:
      tables: columns ``pixels`` and ``label``.
      provenance: line on the source of the data.
      split: official part: ``"train"`` (7,291), ``"test"`` (2,007) or ``"all"`` (train, then test).
      limit: number of first images to take; ``None`` takes all.

    Raises:
      ValueError: an unknown split, or a limit out of range.
    """
    examples = take_parts(tables, split, limit)
    return Dataset(
        name="usps",
        inputs=examples.array("pixels"),
        labels=examples.array("label").astype(np.int32),
        class_names=USPS.columns["label"].names,
        clients=None,
        client_names=(),
        preprocess=Preprocess(scale=1 / LEVELS, mean=0.2545, std=0.3846),
        source=provenance,
        licence=USPS.licence,
        example_ids=examples.ids,
        official_test=examples.official_test,
    )


def read_arrays(files: Mapping[str, Path]) -> Tables:
    """Read ``usps.npz``: ``x_train`` and ``x_test`` ``[N, 256]`` int16, ``y_train`` and ``y_test`` ``[N]``."""
    tables = {}
    for split in ("train", "test"):
        pixels, digits = read_npz(files["usps.npz"], f"x_{split}", f"y_{split}").values()
        tables[split] = {"pixels": pixels.reshape(-1, SIDE, SIDE, 1), "label": digits.astype(np.int64)}
    return tables


def _read_text(files: Mapping[str, Path]) -> Tables:
    """Read ``zip.train.gz`` and ``zip.test.gz``, whose lines have the digit and 256 pixels from -1 to 1."""
    tables = {}
    for split in ("train", "test"):
        path = files[f"zip.{split}.gz"]
        try:
            cells = np.loadtxt(io.BytesIO(read_bytes(path)), np.float32, ndmin=2)
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: expected lines of numbers, found others ({error})") from error
        if cells.shape[1] != 1 + SIDE * SIDE:
            raise ValueError(f"{path}: expected {1 + SIDE * SIDE} columns, found {cells.shape[1]}")
        pixels = np.rint((cells[:, 1:] + 1) * (LEVELS / 2)).astype(np.int16)
        tables[split] = {"pixels": pixels.reshape(-1, SIDE, SIDE, 1), "label": cells[:, 0].astype(np.int64)}
    return tables


_COUNTS = {"train": 7291, "test": 2007}

USPS = Source(
    name="usps",
    title="handwritten digits, 16x16 grey",
    task="classification",
    licence="none published; research use",
    citation="J. J. Hull, A Database for Handwritten Text Recognition Research (IEEE TPAMI 16, 1994), as in T. Hastie, "
    "R. Tibshirani, J. Friedman, The Elements of Statistical Learning",
    build=_usps,
    classes=10,
    columns={"pixels": number("int16", SIDE, SIDE, 1), "label": label(str(d) for d in range(10))},
    layouts=(
        Layout(
            (SourceFile("usps.npz", "6f775f8660826b91f146734a1fb42ed5cf089695d168a6b7ddad7ff09f388517"),),
            read_arrays,
            _COUNTS,
            "a copy of the published text as numbers",
        ),
        Layout((SourceFile("zip.train.gz"), SourceFile("zip.test.gz")), _read_text, _COUNTS),
    ),
    obtain="zip.train.gz and zip.test.gz are at https://hastie.su.domains/ElemStatLearn/datasets/",
)
