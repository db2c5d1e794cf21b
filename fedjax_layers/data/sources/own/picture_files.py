"""Readers of picture files, which all get one size."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fedjax_layers.data.tables.files import resolve_inside

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
_CLUTTER = ("thumbs.db", "desktop.ini")  # files that file managers leave, beside hidden files


def entries(folder: Path, root: Path) -> Iterator[Path]:
    """Iterate over a folder's entries by name, without hidden files.

    Raises:
      ValueError: a link leads out of ``root``.
    """
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and path.name.lower() not in _CLUTTER:
            resolve_inside(root, path.relative_to(root).as_posix())
            yield path


def folders(folder: Path, root: Path, what: str) -> list[Path]:
    """List the sub-folders of a folder, which may hold nothing else.

    Args:
      folder: the folder.
      root: the folder that no link may leave.
      what: what a sub-folder stands for, for the message.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: a file lies among the folders, there are none, or a link leaves ``root``.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"path: expected a folder, found none at {folder}")
    found = list(entries(folder, root))
    for path in found:
        if not path.is_dir():
            raise ValueError(f"{folder}: expected a folder for each {what}, found the file {path.name}")
    if not found:
        raise ValueError(f"{folder}: expected a folder for each {what}, found an empty folder")
    return found


def picture_files(folder: Path, root: Path) -> list[Path]:
    """List the pictures of a folder, which may hold nothing else.

    Raises:
      ValueError: there is another file or folder, or no picture, or a link leaves ``root``.
    """
    found = list(entries(folder, root))
    for path in found:
        if not path.is_file() or path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{folder}: expected pictures ({' '.join(SUFFIXES)}), found {path.name}")
    if not found:
        raise ValueError(f"{folder}: expected pictures, found an empty folder")
    return found


def read_pictures(files: Sequence[Path], size: tuple[int, ...] = (), grey: bool = False) -> np.ndarray:
    """Read pictures into one array.

    Args:
      files: one picture each; the first frame of an animation is taken.
      size: ``(H, W)`` to which all are scaled bilinearly; empty where they all have one size.
      grey: whether pictures get one channel in place of three.

    Returns:
      ``[N, H, W, 1 or 3]`` uint8; transparency is dropped.

    Raises:
      ValueError: ``size`` is invalid; or a file is no picture, is truncated, has more than 8 bits per channel, or
        another size than the first one.
    """
    if size and (len(size) != 2 or not all(isinstance(s, int) and s >= 1 for s in size)):
        raise ValueError(f"size: expected height and width, two whole numbers of at least 1, got {size}")
    first = _read_picture(files[0], size, grey)
    pictures = np.empty((len(files), *first.shape), np.uint8)
    for row, file in enumerate(files):
        picture = _read_picture(file, size, grey)
        if picture.shape != first.shape:
            sizes = [f"{p.shape[0]} x {p.shape[1]}" for p in (first, picture)]
            expected = f"{sizes[0]} pixels (H x W) as {files[0].name} has"
            raise ValueError(f"{file}: expected {expected}, found {sizes[1]}; the option size scales all pictures")
        pictures[row] = picture
    return pictures


def _read_picture(file: Path, size: tuple[int, ...], grey: bool) -> np.ndarray:
    from PIL import Image  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                mode = image.mode
                picture = image.convert("L" if grey else "RGB")
    except Exception as error:  # damaged bytes raise errors of Pillow and of whatever reads the form
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{file}: expected a picture, could not read it ({reason})") from error
    if mode.startswith(("I", "F")):
        raise ValueError(f"{file}: expected 8 bits a channel, found mode {mode}")
    if size:
        picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    array = np.asarray(picture)
    return array[..., None] if grey else array
