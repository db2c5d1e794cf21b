"""CIFAR-10: 32 x 32 colour photographs of ten kinds of things."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.formats.cifar import SIDE, from_stock, read_binary, read_tiled
from fedjax_layers.data.preprocess import Preprocess
from fedjax_layers.data.tables.columns import Tables, image, label
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.parts import take_parts
from fedjax_layers.data.tables.source import Layout, Source

_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_ARCHIVE = "cifar-10-binary.tar.gz"
_PREFIX = "cifar-10-batches-bin/"
_MEMBERS = {
    "train": tuple(f"{_PREFIX}data_batch_{i}.bin" for i in range(1, 6)),
    "test": (f"{_PREFIX}test_batch.bin",),
}


def _cifar10(tables: Tables, provenance: str, *, split: str = "train", limit: int | None = None) -> Dataset:
    """Make CIFAR-10, ``[N, 32, 32, 3]`` uint8, ten classes.

    Mean and standard deviation are those of the 50,000 training images, as Wide Residual Networks (Zagoruyko and
    Komodakis, arXiv 1605.07146) and DenseNet (Huang et al., arXiv 1608.06993) use them; the numbers are from
    fb.resnet.torch.

    Args:
      tables: columns ``image`` and ``label``.
      provenance: line on the source of the data.
      split: official part: ``"train"``, ``"test"`` or ``"all"`` (train, then test).
      limit: number of first images to take; ``None`` takes all.

    Raises:
      ValueError: an unknown split, or a limit out of range.
    """
    examples = take_parts(tables, split, limit)
    return Dataset(
        name="cifar10",
        inputs=examples.array("image"),
        labels=examples.array("label").astype(np.int32),
        class_names=_CLASSES,
        clients=None,
        client_names=(),
        preprocess=Preprocess(
            scale=1 / 255,
            mean=(125.3 / 255, 123.0 / 255, 113.9 / 255),
            std=(63.0 / 255, 62.1 / 255, 66.7 / 255),
        ),
        source=provenance,
        licence=CIFAR10.licence,
        example_ids=examples.ids,
        official_test=examples.official_test,
    )


def _read_archive(files: Mapping[str, Path]) -> Tables:
    return read_binary(files[_ARCHIVE], _MEMBERS, ("label",))


def _read_subset(files: Mapping[str, Path]) -> Tables:
    return read_tiled(files, {"train": {"label": "train"}, "test": {"label": "test"}})


CIFAR10 = Source(
    name="cifar10",
    title="photographs of ten kinds of things, 32x32 RGB",
    task="classification",
    licence="none published; cite the technical report",
    citation="A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images (technical report, 2009)",
    build=_cifar10,
    classes=10,
    columns={"image": image(SIDE, SIDE, 3), "label": label(_CLASSES)},
    layouts=(
        Layout(
            (
                SourceFile(
                    _ARCHIVE,
                    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                ),
            ),
            _read_archive,
            {"train": 50_000, "test": 10_000},
        ),
        Layout(
            (
                SourceFile("labels.npz", "940048b07a48ac7e3b83ab49355000bb5fc7552a8049de1e7edb0fcbe5c8c0d2"),
                SourceFile("train_0.webp", "26a26d1509b704a1ea57b5ef22ffb28f574ff94fc4527a3061179981c6c4b417"),
                SourceFile("train_1.webp", "0292f95c0bd55c1f636f2545e29d3f7e4b15bc5c0caed760725ddd262027e1a3"),
                SourceFile("train_2.webp", "e1f15976a62af08ca3677a1ee4ef41ec7a4851c10cf2c73da63980d2eae0f920"),
                SourceFile("train_3.webp", "b90bd07422dc73f5edc7253408c29f380514e5f3d81b9c9679e8aba71ef6c408"),
                SourceFile("test_0.webp", "ca493ae6b05f944c87d3beb8f476207210f63dbb64106e2a7899b312bae8f6c8"),
            ),
            _read_subset,
            {"train": 10_000, "test": 2_000},
            "subset: data_batch_1 and the first 2,000 test images, in the official order",
        ),
    ),
    stock="cifar10",
    from_stock=from_stock({"label": "label"}),
    obtain=f"the authors offer {_ARCHIVE} at https://www.cs.toronto.edu/~kriz/cifar.html",
)
