"""Readers of CIFAR-10 and CIFAR-100: official binary archives, tiled pictures, and TFDS's stock sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_layers.data.formats.archives import read_npz, read_tar
from fedjax_layers.data.formats.pictures import decode_picture
from fedjax_layers.data.tables.columns import Tables

SIDE = 32
_PIXELS = 3 * SIDE * SIDE


def read_binary(path: Path, members: Mapping[str, Sequence[str]], labels: Sequence[str]) -> Tables:
    """Read an official archive ``cifar-10-binary.tar.gz`` or ``cifar-100-binary.tar.gz``.

    Its records are one byte for each label, then 1,024 red, 1,024 green and 1,024 blue pixels, row by row (the
    authors' page https://www.cs.toronto.edu/~kriz/cifar.html, "binary version").

    Args:
      path: the archive.
      members: by split, the names of its files in the archive, in order.
      labels: the label columns, in the order of a record's first bytes.

    Returns:
      By split: ``image [N, 32, 32, 3]`` uint8 and each label ``[N]`` int64.

    Raises:
      ValueError: a file is missing or ends within a record, or the archive is broken or unsafe.
    """
    wanted = {name for names in members.values() for name in names}
    size = len(labels) + _PIXELS
    records: dict[str, np.ndarray] = {}
    for name, content in read_tar(path, wanted.__contains__):
        if not content or len(content) % size:
            found = f"{len(content)} bytes"
            raise ValueError(f"{path}, {name}: expected records of {size} bytes, found {found} (truncated)")
        records[name] = np.frombuffer(content, np.uint8).reshape(-1, size)
    if wanted - set(records):
        raise ValueError(f"{path}: expected a member {min(wanted - set(records))}, found none")
    return {split: _table([records.pop(name) for name in names], labels) for split, names in members.items()}


def _table(parts: list[np.ndarray], labels: Sequence[str]) -> dict[str, np.ndarray]:
    first = len(labels)
    images = np.empty((sum(map(len, parts)), SIDE, SIDE, 3), np.uint8)
    row = 0
    for part in parts:
        planes = part[:, first:].reshape(-1, 3, SIDE, SIDE)
        images[row : row + len(part)] = planes.transpose(0, 2, 3, 1)
        row += len(part)
    columns = {name: np.concatenate([part[:, i] for part in parts]) for i, name in enumerate(labels)}
    return {"image": images, **{name: column.astype(np.int64) for name, column in columns.items()}}


def read_tiled(files: Mapping[str, Path], arrays: Mapping[str, Mapping[str, str]]) -> Tables:
    """Read pictures ``<split>_<i>.webp``, which are grids of 32x32 tiles, row by row, and ``labels.npz``.

    Args:
      files: paths of the files by name.
      arrays: by split, the array in ``labels.npz`` that holds each label column.

    Raises:
      ValueError: a file is broken, or a picture is no grid of tiles.
    """
    tables = {}
    for split, by_column in arrays.items():
        labels = read_npz(files["labels.npz"], *by_column.values()).values()
        pictures = [path for name, path in sorted(files.items()) if name.startswith(f"{split}_")]
        columns = {name: column.astype(np.int64) for name, column in zip(by_column, labels, strict=True)}
        tables[split] = {"image": np.concatenate([_tiles(path) for path in pictures]), **columns}
    return tables


def _tiles(path: Path) -> np.ndarray:
    """Cut a picture into its tiles, ``[N, 32, 32, 3]`` uint8."""
    picture = decode_picture(path.read_bytes(), "RGB", str(path))
    height, width, _ = picture.shape
    if height % SIDE or width % SIDE:
        raise ValueError(f"{path}: expected tiles of {SIDE}x{SIDE} pixels, found a picture of {height}x{width}")
    grid = picture.reshape(height // SIDE, SIDE, width // SIDE, SIDE, 3)
    return grid.swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3)


def from_stock(labels: Mapping[str, str]) -> Callable[[Mapping[str, Any]], Tables]:
    """Make a converter of a stock TFDS set, whose ids, like ``train_00042``, restore the official order.

    Args:
      labels: the stock set's feature for each label column.
    """

    def convert(splits: Mapping[str, Mapping[str, Any]]) -> Tables:
        return {split: _ordered(splits[split], labels) for split in ("train", "test")}

    return convert


def _ordered(stored: Mapping[str, Any], labels: Mapping[str, str]) -> dict[str, np.ndarray]:
    order = np.argsort(np.array(stored["id"], "S"), kind="stable")
    images = np.empty((len(order), SIDE, SIDE, 3), np.uint8)
    for row, old in enumerate(order):
        images[row] = stored["image"][old]
    columns = {name: np.array(stored[feature], np.int64)[order] for name, feature in labels.items()}
    return {"image": images, **columns}
