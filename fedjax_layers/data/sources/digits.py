"""Digits: the handwritten digits included in scikit-learn, which need no download."""

from __future__ import annotations

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.preprocess import Preprocess
from fedjax_layers.data.tables.source import Source


def _digits() -> Dataset:
    """Make the set of 1,797 scans of handwritten digits, ``[1797, 8, 8, 1]`` uint8 in 0..16.

    They are the test part of UCI's Optical Recognition of Handwritten Digits, by 13 writers; the writer of each digit
    is not recorded, so there are no natural clients. Mean and standard deviation are those of all pixels, scaled to
    0..1.
    """
    from sklearn import datasets  # noqa: PLC0415  (slow to import, needed by this set only)

    bunch = datasets.load_digits()
    return Dataset(
        name="digits",
        inputs=bunch.images.astype(np.uint8)[..., None],
        labels=bunch.target.astype(np.int32),
        class_names=tuple(str(d) for d in range(10)),
        clients=None,
        client_names=(),
        preprocess=Preprocess(scale=1 / 16, mean=0.3053, std=0.3760),
        source="sklearn.datasets.load_digits (UCI Optical Recognition of Handwritten Digits; Alpaydin, Kaynak, 1998)",
        licence=DIGITS.licence,
    )


DIGITS = Source(
    name="digits",
    title="handwritten digits, 8x8 grey",
    task="classification",
    licence="CC BY 4.0",
    citation="E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits (UCI, 1998), inside scikit-learn",
    build=_digits,
    classes=10,
    examples=1797,
)
