"""MNIST and Fashion-MNIST: 28 x 28 grey images in IDX files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.formats.idx import read_idx
from fedjax_layers.data.preprocess import Preprocess
from fedjax_layers.data.tables.columns import Tables, image, label
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.parts import take_parts
from fedjax_layers.data.tables.source import Layout, Source

_DIGITS = tuple(str(d) for d in range(10))
_GARMENTS = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_COUNTS = {"train": 60_000, "test": 10_000}


def read_pairs(files: Mapping[str, Path]) -> Tables:
    """Read the four IDX files: images and labels of train, then of test."""
    train_images, train_labels, test_images, test_labels = (files[name] for name in sorted(files, key=_place))
    pairs = {"train": (train_images, train_labels), "test": (test_images, test_labels)}
    return {
        split: {
            "image": read_idx(images, (_COUNTS[split], 28, 28))[..., None],
            "label": read_idx(labels, (_COUNTS[split],)).astype(np.int64),
        }
        for split, (images, labels) in pairs.items()
    }


def images_from_stock(splits: Mapping[str, Mapping[str, Any]]) -> Tables:
    """Convert a stock TFDS image set (``image`` and ``label`` of train and test) to tables."""
    return {
        split: {"image": np.stack(splits[split]["image"]), "label": np.array(splits[split]["label"], np.int64)}
        for split in ("train", "test")
    }


def _mnist(tables: Tables, provenance: str, *, split: str = "train", limit: int | None = None) -> Dataset:
    """Make MNIST, ``[N, 28, 28, 1]`` uint8, ten digits.

    Args:
      tables: columns ``image`` and ``label``.
      provenance: line on the source of the data. TFDS keeps the images in an order of its own, so that an id means
        another image there.
      split: official part: ``"train"`` (60,000), ``"test"`` (10,000) or ``"all"`` (train, then test).
      limit: number of first images to take; ``None`` takes all.

    Raises:
      ValueError: an unknown split, or a limit out of range.
    """
    return _dataset(MNIST, Preprocess(scale=1 / 255, mean=0.1307, std=0.3081), tables, provenance, split, limit)


def _fashion_mnist(tables: Tables, provenance: str, *, split: str = "train", limit: int | None = None) -> Dataset:
    """Make Fashion-MNIST; arguments as :func:`_mnist`.

    PLayer-FL uses the first 10,000 training images: ``limit=10_000``. Mean and standard deviation are those of that
    paper.
    """
    return _dataset(FASHION_MNIST, Preprocess(scale=1 / 255, mean=0.286, std=0.353), tables, provenance, split, limit)


def _dataset(
    source: Source, preprocess: Preprocess, tables: Tables, provenance: str, split: str, limit: int | None
) -> Dataset:
    examples = take_parts(tables, split, limit)
    return Dataset(
        name=source.name,
        inputs=examples.array("image"),
        labels=examples.array("label").astype(np.int32),
        class_names=source.columns["label"].names,
        clients=None,
        client_names=(),
        preprocess=preprocess,
        source=provenance,
        licence=source.licence,
        example_ids=examples.ids,
        official_test=examples.official_test,
    )


def _layouts(url: str, gzipped: tuple[str, ...], raw: tuple[str, ...]) -> tuple[Layout, ...]:
    """Make the layouts of the four files, as distributed and as other libraries store them."""
    zipped = tuple(SourceFile(f"{f}.gz", sha, f"{url}{f}.gz") for f, sha in zip(_FILES, gzipped, strict=True))
    plain = tuple(SourceFile(f, sha) for f, sha in zip(_FILES, raw, strict=True))
    return Layout(zipped, read_pairs, _COUNTS), Layout(plain, read_pairs, _COUNTS, "unzipped")


MNIST = Source(
    name="mnist",
    title="handwritten digits, 28x28 grey",
    task="classification",
    licence="none published; commonly listed as CC BY-SA 3.0",
    citation="Y. LeCun, C. Cortes, C. Burges, The MNIST database",
    build=_mnist,
    classes=10,
    columns={"image": image(28, 28), "label": label(_DIGITS)},
    layouts=_layouts(
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    stock="mnist",
    from_stock=images_from_stock,
)

FASHION_MNIST = Source(
    name="fashion_mnist",
    title="garments, 28x28 grey",
    task="classification",
    licence="MIT",
    citation="H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST (2017)",
    build=_fashion_mnist,
    classes=10,
    columns={"image": image(28, 28), "label": label(_GARMENTS)},
    layouts=_layouts(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
        (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
    stock="fashion_mnist",
    from_stock=images_from_stock,
)


def _place(name: str) -> int:
    return _FILES.index(name.removesuffix(".gz"))
