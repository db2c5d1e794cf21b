"""The data sets, by name.

A new data set is one new file here with a ``load_*`` function that returns a
:class:`~fedjax_layers.data.dataset.Dataset`, and one line in ``DATASETS``. Its options are its keyword-only
parameters; if it reads files it takes ``data_dir`` first. Slow imports belong inside the function.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.sources.digits import load_digits
from fedjax_layers.data.sources.heart import load_heart
from fedjax_layers.data.sources.mnist import load_fashion_mnist, load_mnist
from fedjax_layers.data.sources.synthetic import load_synthetic
from fedjax_layers.names import check_options, unknown_name

DATASETS: dict[str, Callable[..., Dataset]] = {
    "digits": load_digits,
    "fashion_mnist": load_fashion_mnist,
    "heart": load_heart,
    "mnist": load_mnist,
    "synthetic": load_synthetic,
}


def load_dataset(name: str, data_dir: str | os.PathLike[str] | None = None, **options: Any) -> Dataset:
    """Load a data set by name.

    Args:
      name: a key of ``DATASETS``.
      data_dir: folder of the data files, for the sets that read any; see :func:`resolve_data_dir`.
      **options: keyword-only parameters of the set's loader, e.g. ``limit`` of ``fashion_mnist``.

    Returns:
      The data set, on the host.

    Raises:
      ValueError: an unknown name or option (the nearest is suggested), or one out of range.
      FileNotFoundError: files are missing; the message says which and where they belong.
    """
    if name not in DATASETS:
        raise unknown_name("data set", name, DATASETS)
    loader = DATASETS[name]
    check_options(f"data set {name!r}", options, loader)
    if "data_dir" in inspect.signature(loader).parameters:
        return loader(data_dir, **options)
    return loader(**options)
