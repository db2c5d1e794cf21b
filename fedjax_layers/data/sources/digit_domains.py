"""Digit domains: MNIST and USPS as one set, in which clients differ in the look of digits and not in their labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.formats.pictures import resize_grey
from fedjax_layers.data.preprocess import Preprocess
from fedjax_layers.data.sources.mnist import MNIST
from fedjax_layers.data.sources.usps import LEVELS, USPS
from fedjax_layers.data.tables.columns import Tables, image, label
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.parts import Examples, take_parts
from fedjax_layers.data.tables.source import Layout, Source

DOMAINS = {"mnist": MNIST, "usps": USPS}
_SIDE = 28


def _digit_domains(
    tables: Tables, provenance: str, *, split: str = "train", limit_per_domain: int | None = None
) -> Dataset:
    """Make MNIST and USPS as one set, ``[N, 28, 28, 1]`` uint8, ten digits, with the two domains as natural clients.

    This is the setting of FedBN (Li et al., arXiv 2102.07623): each domain is a client, labels are distributed alike,
    and images look different. FedBN reduces all domains to the size of the smallest; here ``limit_per_domain=7291``
    does so for training. Both domains are normalised by MNIST's mean and standard deviation, so that their differences
    remain.

    Args:
      tables: columns ``image`` (USPS resized bilinearly), ``label`` and ``domain``.
      provenance: line on the source of the data.
      split: official part: ``"train"`` (60,000 and 7,291), ``"test"`` (10,000 and 2,007) or ``"all"``.
      limit_per_domain: number of first images of each domain to take, or all of a smaller domain; ``None`` takes all.

    Raises:
      ValueError: an unknown split, or a limit out of range.
    """
    if limit_per_domain is not None and limit_per_domain < 1:
        raise ValueError(f"limit_per_domain: expected at least 1, got {limit_per_domain}")
    examples = take_parts(tables, split)
    domain = examples.array("domain")
    kept = np.sort(np.concatenate([np.flatnonzero(domain == d)[:limit_per_domain] for d in range(len(DOMAINS))]))
    test = examples.official_test
    return Dataset(
        name="digit_domains",
        inputs=examples.array("image")[kept],
        labels=examples.array("label")[kept].astype(np.int32),
        class_names=DIGIT_DOMAINS.columns["label"].names,
        clients=domain[kept].astype(np.int32),
        client_names=tuple(DOMAINS),
        preprocess=Preprocess(scale=1 / 255, mean=0.1307, std=0.3081),
        source=provenance,
        licence=DIGIT_DOMAINS.licence,
        example_ids=examples.ids[kept],
        official_test=None if test is None else test[kept],
    )


def _layout(mnist: Layout, usps: Layout) -> Layout:
    """Combine one form of MNIST's files and one of USPS's, each in its own folder."""

    def read(files: Mapping[str, Path]) -> Tables:
        large = mnist.read({f.name: files[f"mnist/{f.name}"] for f in mnist.files})
        small = usps.read({f.name: files[f"usps/{f.name}"] for f in usps.files})
        return {split: _joined(take_parts(large, split), take_parts(small, split)) for split in ("train", "test")}

    files = (*_inside("mnist", mnist), *_inside("usps", usps))
    counts = {split: mnist.counts[split] + usps.counts[split] for split in mnist.counts}
    return Layout(files, read, counts, "folders mnist and usps")


def _joined(mnist: Examples, usps: Examples) -> dict[str, np.ndarray]:
    """Join the rows of MNIST and those of USPS, scaled to the same size."""
    grey = np.rint(usps.array("pixels") * np.float32(255 / LEVELS)).astype(np.uint8)
    return {
        "image": np.concatenate([mnist.array("image"), resize_grey(grey, _SIDE, "bilinear")]),
        "label": np.concatenate([mnist.array("label"), usps.array("label")]),
        "domain": np.repeat(np.arange(len(DOMAINS)), [len(mnist), len(usps)]),
    }


def _inside(folder: str, layout: Layout) -> tuple[SourceFile, ...]:
    return tuple(dataclasses.replace(file, name=f"{folder}/{file.name}") for file in layout.files)


DIGIT_DOMAINS = Source(
    name="digit_domains",
    title="digits of MNIST and USPS, 28x28 grey",
    task="classification",
    licence=f"MNIST: {MNIST.licence}; USPS: {USPS.licence}",
    citation=f"{MNIST.citation}; {USPS.citation}",
    build=_digit_domains,
    classes=10,
    clients="domain",
    columns={"image": image(_SIDE, _SIDE), "label": MNIST.columns["label"], "domain": label(DOMAINS)},
    layouts=tuple(_layout(mnist, usps) for mnist in MNIST.layouts for usps in USPS.layouts),
    folder=".",  # its files belong to two other sets
    obtain=USPS.obtain,
)
