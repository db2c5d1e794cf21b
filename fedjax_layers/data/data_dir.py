"""Where data files are looked for."""

from __future__ import annotations

import os
from pathlib import Path

DATA_DIR_VARIABLE = "FEDJAX_LAYERS_DATA"


def resolve_data_dir(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """The data folder: the argument, else ``$FEDJAX_LAYERS_DATA``, else the folder that TFDS uses by itself.

    Args:
      data_dir: folder with one sub-folder per data set, or ``None``.

    Returns:
      The folder. It exists if it was named by the argument or by the variable.

    Raises:
      FileNotFoundError: the folder named by the argument or by the variable does not exist.
    """
    named = {"data_dir": data_dir, DATA_DIR_VARIABLE: os.environ.get(DATA_DIR_VARIABLE) or None}
    for origin, value in named.items():
        if value is None:
            continue
        path = Path(value).expanduser()
        if not path.is_dir():
            raise FileNotFoundError(f"{origin}: expected an existing folder, found none at {path}")
        return path
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
