"""The registry of data sets by name.

A new data set is one new file here that ends in a :class:`~fedjax_layers.data.tables.source.Source`, and one entry in
``SOURCES``. Its options are the keyword-only parameters of the source's ``build``. Slow imports belong inside the
functions.
"""

from __future__ import annotations

import os
from typing import Any

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.sources.beijing_air import BEIJING_AIR
from fedjax_layers.data.sources.cifar10 import CIFAR10
from fedjax_layers.data.sources.cifar100 import CIFAR100
from fedjax_layers.data.sources.digit_domains import DIGIT_DOMAINS
from fedjax_layers.data.sources.digits import DIGITS
from fedjax_layers.data.sources.fed_tcga_brca import FED_TCGA_BRCA
from fedjax_layers.data.sources.fsdd import FSDD
from fedjax_layers.data.sources.heart import HEART
from fedjax_layers.data.sources.mnist import FASHION_MNIST, MNIST
from fedjax_layers.data.sources.office_caltech import OFFICE_CALTECH
from fedjax_layers.data.sources.omniglot import OMNIGLOT
from fedjax_layers.data.sources.own.detect import resolve
from fedjax_layers.data.sources.own.folders import CLIENT_FOLDER, IMAGE_FOLDER
from fedjax_layers.data.sources.own.hugging_face.reader import HUGGINGFACE
from fedjax_layers.data.sources.own.npz import NPZ
from fedjax_layers.data.sources.own.prepared_set import TFDS
from fedjax_layers.data.sources.own.tables import CSV, PARQUET
from fedjax_layers.data.sources.own.tff import TFF
from fedjax_layers.data.sources.parkinsons import PARKINSONS
from fedjax_layers.data.sources.sentiment import SENTIMENT
from fedjax_layers.data.sources.synthetic import SYNTHETIC
from fedjax_layers.data.sources.tiny_shakespeare import TINY_SHAKESPEARE
from fedjax_layers.data.sources.uci_har import UCI_HAR
from fedjax_layers.data.sources.ud_english_ewt import UD_ENGLISH_EWT
from fedjax_layers.data.sources.unshipped.emnist import (
    EMNIST_BALANCED,
    EMNIST_BYCLASS,
    EMNIST_BYMERGE,
    EMNIST_DIGITS,
    EMNIST_LETTERS,
    EMNIST_MNIST,
)
from fedjax_layers.data.sources.unshipped.fed_isic2019 import FED_ISIC2019
from fedjax_layers.data.sources.unshipped.femnist import FEMNIST
from fedjax_layers.data.sources.unshipped.mimic3_mortality import MIMIC3_MORTALITY
from fedjax_layers.data.sources.unshipped.penn_treebank import PENN_TREEBANK
from fedjax_layers.data.sources.unshipped.sent140 import SENT140
from fedjax_layers.data.sources.usps import USPS
from fedjax_layers.data.sources.wikitext2 import WIKITEXT2
from fedjax_layers.data.tables.source import Source
from fedjax_layers.options import check_options, options_of, unknown_name

SOURCES = (
    BEIJING_AIR,
    CIFAR10,
    CIFAR100,
    CLIENT_FOLDER,
    CSV,
    DIGIT_DOMAINS,
    DIGITS,
    EMNIST_BALANCED,
    EMNIST_BYCLASS,
    EMNIST_BYMERGE,
    EMNIST_DIGITS,
    EMNIST_LETTERS,
    EMNIST_MNIST,
    FASHION_MNIST,
    FED_ISIC2019,
    FED_TCGA_BRCA,
    FEMNIST,
    FSDD,
    HEART,
    HUGGINGFACE,
    IMAGE_FOLDER,
    MIMIC3_MORTALITY,
    MNIST,
    NPZ,
    OFFICE_CALTECH,
    OMNIGLOT,
    PARKINSONS,
    PARQUET,
    PENN_TREEBANK,
    SENT140,
    SENTIMENT,
    SYNTHETIC,
    TFDS,
    TFF,
    TINY_SHAKESPEARE,
    UCI_HAR,
    UD_ENGLISH_EWT,
    USPS,
    WIKITEXT2,
)
DATASETS: dict[str, Source] = {source.name: source for source in SOURCES}


def load_dataset(name: str, data_dir: str | os.PathLike[str] | None = None, **options: Any) -> Dataset:
    """Load a data set by name.

    Args:
      name: a key of ``DATASETS``, or ``"own"`` for the reader that fits the files at ``path`` or that ``format`` names.
      data_dir: folder of the data files, for the sets that read any; see :func:`resolve_data_dir`.
      **options: keyword-only parameters of the set's ``build``, e.g. ``limit`` of ``fashion_mnist``.

    Returns:
      The data set, on the host.

    Raises:
      ValueError: a name or option is unknown (the nearest is suggested), or an option is out of range.
      FileNotFoundError: files are missing; the message says which and where they belong.
    """
    name, options = resolve(name, options)
    if name not in DATASETS:
        raise unknown_name("data set", name, DATASETS)
    source = DATASETS[name]
    check_options(f"data set {name!r}", options, options_of(source.build))
    return source.load(data_dir, **options)
