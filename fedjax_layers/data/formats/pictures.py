"""Decoding and resizing of pictures, with Pillow."""

from __future__ import annotations

import io
import warnings
from typing import Literal

import numpy as np


def decode_picture(content: bytes, mode: Literal["L", "RGB"], where: str) -> np.ndarray:
    """Decode a PNG, WebP or other picture to uint8, ``[H, W]`` for mode ``L`` (grey), ``[H, W, 3]`` for ``RGB``.

    Args:
      content: the file's bytes.
      mode: grey or colour.
      where: name of what is read, for the message.

    Raises:
      ValueError: the bytes are no picture, or only the beginning of one.
    """
    from PIL import Image  # noqa: PLC0415  (needed by few sets)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as picture:
                return np.asarray(picture.convert(mode))
    except Exception as error:  # damaged bytes raise errors of Pillow and of whatever reads the form
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{where}: expected a picture, found none or a broken one ({reason})") from error


def resize_grey(images: np.ndarray, size: int, resample: Literal["bilinear", "lanczos"]) -> np.ndarray:
    """Resize grey pictures ``[N, H, W, 1]`` uint8 to ``[N, size, size, 1]``, with smoothing where they shrink."""
    from PIL import Image  # noqa: PLC0415

    how = {"bilinear": Image.Resampling.BILINEAR, "lanczos": Image.Resampling.LANCZOS}[resample]
    resized = np.empty((len(images), size, size, 1), np.uint8)
    for row, image in enumerate(images):
        picture = Image.fromarray(np.ascontiguousarray(image[..., 0]))
        resized[row, ..., 0] = np.asarray(picture.resize((size, size), how))
    return resized
