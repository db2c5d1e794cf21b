"""The data sets, by name.

A new data set is one new file here that ends in a :class:`~fedjax_layers.data.source.Source`, and one entry in
``SOURCES``. Its options are the keyword-only parameters of the source's ``build``. Slow imports belong inside the
functions.
"""

from __future__ import annotations

import os
from typing import Any

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.source import Source
from fedjax_layers.data.sources.cifar10 import CIFAR10
from fedjax_layers.data.sources.cifar100 import CIFAR100
from fedjax_layers.data.sources.digit_domains import DIGIT_DOMAINS
from fedjax_layers.data.sources.digits import DIGITS
from fedjax_layers.data.sources.fsdd import FSDD
from fedjax_layers.data.sources.heart import HEART
from fedjax_layers.data.sources.mnist import FASHION_MNIST, MNIST
from fedjax_layers.data.sources.office_caltech import OFFICE_CALTECH
from fedjax_layers.data.sources.omniglot import OMNIGLOT
from fedjax_layers.data.sources.synthetic import SYNTHETIC
from fedjax_layers.data.sources.uci_har import UCI_HAR
from fedjax_layers.data.sources.usps import USPS
from fedjax_layers.names import check_options, unknown_name

SOURCES = (
    CIFAR10,
    CIFAR100,
    DIGIT_DOMAINS,
    DIGITS,
    FASHION_MNIST,
    FSDD,
    HEART,
    MNIST,
    OFFICE_CALTECH,
    OMNIGLOT,
    SYNTHETIC,
    UCI_HAR,
    USPS,
)
DATASETS: dict[str, Source] = {source.name: source for source in SOURCES}


def load_dataset(name: str, data_dir: str | os.PathLike[str] | None = None, **options: Any) -> Dataset:
    """Load a data set by name.

    Args:
      name: a key of ``DATASETS``.
      data_dir: folder of the data files, for the sets that read any; see :func:`resolve_data_dir`.
      **options: keyword-only parameters of the set's ``build``, e.g. ``limit`` of ``fashion_mnist``.

    Returns:
      The data set, on the host.

    Raises:
      ValueError: an unknown name or option (the nearest is suggested), or one out of range.
      FileNotFoundError: files are missing; the message says which and where they belong.
    """
    if name not in DATASETS:
        raise unknown_name("data set", name, DATASETS)
    source = DATASETS[name]
    check_options(f"data set {name!r}", options, source.build)
    return source.load(data_dir, **options)
