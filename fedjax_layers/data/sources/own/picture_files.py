"""Readers of picture files, which all get one size."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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


class Picture(NamedTuple):
    """A picture that has not been decoded: its place and its short name for messages, and its file or its bytes."""

    where: str
    name: str
    content: Path | Callable[[], bytes]


def read_pictures(files: Sequence[Path], size: tuple[int, ...] = (), grey: bool = False) -> np.ndarray:
    """Read picture files into one array; see :func:`decode_pictures`."""
    return decode_pictures([Picture(str(file), file.name, file) for file in files], size, grey)


def decode_pictures(
    pictures: Sequence[Picture],
    size: tuple[int, ...] = (),
    grey: bool = False,
    check: Callable[[int], object] = lambda _: None,
) -> np.ndarray:
    """Decode pictures into one array.

    Args:
      pictures: the pictures; the first frame of an animation is taken.
      size: ``(H, W)`` to which all are scaled bilinearly; empty where they all have one size.
      grey: whether pictures get one channel in place of three.
      check: called with the bytes of the array before it is made.

    Returns:
      ``[N, H, W, 1 or 3]`` uint8; transparency is dropped.

    Raises:
      ValueError: ``size`` is invalid; or a file is no picture, is truncated, has more than 8 bits per channel, or
        another size than the first one.
    """
    if size and (len(size) != 2 or not all(isinstance(s, int) and s >= 1 for s in size)):
        raise ValueError(f"size: expected height and width, two whole numbers of at least 1, got {size}")
    first = _decode(pictures[0], size, grey)
    check(len(pictures) * first.nbytes)
    decoded = np.empty((len(pictures), *first.shape), np.uint8)
    for row, one in enumerate(pictures):
        picture = _decode(one, size, grey)
        if picture.shape != first.shape:
            sizes = [f"{p.shape[0]} x {p.shape[1]}" for p in (first, picture)]
            expected = f"{sizes[0]} pixels (H x W) as {pictures[0].name} has"
            raise ValueError(f"{one.where}: expected {expected}, found {sizes[1]}; the option size scales all pictures")
        decoded[row] = picture
    return decoded


def are_grey(pictures: Sequence[Picture]) -> bool:
    """Return whether all pictures are stored in grey or in black and white; this reads their headers only."""
    return all(_opened(picture, lambda image: str(image.mode)) in ("L", "1", "LA") for picture in pictures)


def _decode(picture: Picture, size: tuple[int, ...], grey: bool) -> np.ndarray:
    from PIL import Image  # noqa: PLC0415

    mode, image = _opened(picture, lambda image: (image.mode, image.convert("L" if grey else "RGB")))
    if mode.startswith(("I", "F")):
        raise ValueError(f"{picture.where}: expected 8 bits a channel, found mode {mode}")
    if size:
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    array = np.asarray(image)
    return array[..., None] if grey else array


def _opened(picture: Picture, use: Callable[[Any], Any]) -> Any:
    from PIL import Image  # noqa: PLC0415

    content = picture.content
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(content if isinstance(content, Path) else io.BytesIO(content())) as image:
                return use(image)
    except Exception as error:  # damaged bytes raise errors of Pillow and of whatever reads the form
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{picture.where}: expected a picture, could not read it ({reason})") from error
