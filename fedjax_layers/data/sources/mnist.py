"""MNIST and Fashion-MNIST: 28 x 28 grey images, from IDX files or from what TFDS has prepared."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_layers.data.dataset import Dataset, Preprocess
from fedjax_layers.data.folder import DATA_DIR_VARIABLE, resolve_data_dir
from fedjax_layers.data.idx import read_idx
from fedjax_layers.names import unknown_name

# Official split -> stem of its files, its size, and the row number of its first example over both splits.
_SPLITS = {"train": ("train", 60_000, 0), "test": ("t10k", 10_000, 60_000)}
_SIDE = 28
_GARMENTS = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def load_mnist(
    data_dir: str | os.PathLike[str] | None = None, *, split: str = "train", limit: int | None = None
) -> Dataset:
    """MNIST, ``[N, 28, 28, 1]`` uint8, ten digits.

    Args:
      data_dir: folder holding ``mnist/*-ubyte.gz`` or data prepared by TFDS; see :func:`resolve_data_dir`.
      split: official part: ``"train"`` (60,000), ``"test"`` (10,000) or ``"all"`` (train, then test).
      limit: keep the first ``limit`` images only.

    Returns:
      The data set; ``example_ids`` count over train, then test. TFDS keeps the images in an order of its own,
      so the same id is another image there, which ``source`` tells.

    Raises:
      FileNotFoundError: neither IDX files nor prepared data are there.
      ValueError: an unknown split, a limit out of range, or a damaged file.
    """
    return _load(
        "mnist",
        data_dir,
        split,
        limit,
        class_names=tuple(str(d) for d in range(10)),
        preprocess=Preprocess(scale=1 / 255, mean=0.1307, std=0.3081),
        licence="none published; commonly listed as CC BY-SA 3.0 (LeCun, Cortes, Burges)",
    )


def load_fashion_mnist(
    data_dir: str | os.PathLike[str] | None = None, *, split: str = "train", limit: int | None = None
) -> Dataset:
    """Fashion-MNIST (Xiao et al. 2017), ``[N, 28, 28, 1]`` uint8; arguments as :func:`load_mnist`.

    PLayer-FL uses the first 10,000 training images: ``limit=10_000``. Mean and standard deviation are that
    paper's.

    Raises:
      FileNotFoundError: neither IDX files nor prepared data are there.
      ValueError: an unknown split, a limit out of range, or a damaged file.
    """
    return _load(
        "fashion_mnist",
        data_dir,
        split,
        limit,
        class_names=_GARMENTS,
        preprocess=Preprocess(scale=1 / 255, mean=0.286, std=0.353),
        licence="MIT (Zalando Research)",
    )


def _load(name: str, data_dir: str | os.PathLike[str] | None, split: str, limit: int | None, **fields: Any) -> Dataset:
    if split not in (*_SPLITS, "all"):
        raise unknown_name("split", split, (*_SPLITS, "all"))
    parts = list(_SPLITS) if split == "all" else [split]
    size = sum(_SPLITS[part][1] for part in parts)
    if limit is not None and not 1 <= limit <= size:
        raise ValueError(f"limit: expected 1..{size} for split {split!r} of {name}, got {limit}")
    images, labels, source = _read(name, resolve_data_dir(data_dir), parts)
    ids = np.concatenate([_SPLITS[part][2] + np.arange(_SPLITS[part][1], dtype=np.int64) for part in parts])
    return Dataset(
        name=name,
        inputs=images[:limit, ..., None],
        labels=labels[:limit].astype(np.int32),
        clients=None,
        client_names=(),
        source=source,
        example_ids=ids[:limit],
        **fields,
    )


Arrays = tuple[np.ndarray, np.ndarray, str]  # images [N, 28, 28], labels [N], source


def _read(name: str, folder: Path, parts: list[str]) -> Arrays:
    """From IDX files where there are any, else from prepared TFDS data."""
    if any((folder / name).glob("*-ubyte*")):
        return _from_idx(folder / name, parts)
    if (folder / name).is_dir():
        return _from_tfds(name, folder, parts)
    raise FileNotFoundError(
        "data_dir: expected the files (train|t10k)-(images-idx3|labels-idx1)-ubyte.gz in "
        f"{folder / name}, or {name} prepared by TFDS in {folder}, found neither; put the files there, or "
        f"name the folder that holds {name}/ by data_dir or {DATA_DIR_VARIABLE}"
    )


def _from_idx(folder: Path, parts: list[str]) -> Arrays:
    images, labels = [], []
    for part in parts:
        stem, size, _ = _SPLITS[part]
        images.append(read_idx(_file(folder, f"{stem}-images-idx3-ubyte"), (size, _SIDE, _SIDE)))
        labels.append(read_idx(_file(folder, f"{stem}-labels-idx1-ubyte"), (size,)))
    return np.concatenate(images), np.concatenate(labels), f"IDX files of {folder.name}"


def _file(folder: Path, name: str) -> Path:
    """The gzipped file, or the raw one where only that exists."""
    raw = folder / name
    return raw if raw.is_file() else raw.with_name(f"{name}.gz")


def _from_tfds(name: str, folder: Path, parts: list[str]) -> Arrays:
    import tensorflow_datasets as tfds  # noqa: PLC0415  (slow to import, and rarely the way taken)

    images, labels = [], []
    try:
        # A builder's ``as_data_source`` reads what is prepared; ``tfds.data_source`` would download.
        builder = tfds.builder(name, data_dir=folder)
        for part in parts:
            records = builder.as_data_source(split=part)
            # One call for all: record by record costs three times as much.
            fetched = records.__getitems__(range(len(records)))
            images.append(np.stack([record["image"][..., 0] for record in fetched]))
            labels.append(np.array([record["label"] for record in fetched]))
    except (AssertionError, AttributeError, NotImplementedError, OSError, ImportError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FileNotFoundError(
            f"data_dir: expected {name} prepared by TFDS as array_record in {folder}, found none readable "
            f"({type(error).__name__}: {reason}); or put the four IDX .gz files into {folder / name}"
        ) from error
    for part, found in zip(parts, labels, strict=True):
        if len(found) != _SPLITS[part][1]:
            expected = f"{_SPLITS[part][1]} images in {name}'s split {part!r}"
            raise ValueError(f"data_dir: expected {expected}, found {len(found)} in {folder / name}")
    return np.concatenate(images), np.concatenate(labels), f"TFDS {builder.info.full_name}"
