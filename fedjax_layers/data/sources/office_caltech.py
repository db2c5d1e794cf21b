"""Office-Caltech: ten kinds of things in photographs from four places, as counts of visual words."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.tables.columns import Tables, label, number
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.parts import take_parts
from fedjax_layers.data.tables.source import Layout, Source
from fedjax_layers.options import unknown_name

SITES = {"amazon": 958, "caltech10": 1123, "dslr": 157, "webcam": 295}  # number of pictures
_CLASSES = (
    "backpack", "bike", "calculator", "headphones", "keyboard",
    "laptop", "monitor", "mouse", "mug", "projector",
)  # fmt: skip
_WORDS = 800
_NORMALISE = ("counts", "shares", "site")


def _office_caltech(tables: Tables, provenance: str, *, normalise: str = "shares") -> Dataset:
    """Make the set of 2,533 pictures as counts of 800 SURF words, ``[2533, 800]``, ten classes, of four sites.

    Args:
      tables: columns ``counts``, ``label`` and ``site``.
      provenance: line on the source of the data.
      normalise: how counts are normalised: ``"counts"`` leaves the words' counts (uint8). ``"shares"`` divides a
        picture's counts by their sum (float32), as pictures have 10 to 625 words. Both are standardised by the clients'
        training examples when federated. ``"site"`` also standardises the shares over each site's pictures, tests
        included, as the authors' code does (Gong et al. 2012): that takes away part of what sets the sites apart. A
        word that a site does not have stays 0.

    Raises:
      ValueError: an unknown way to normalise.
    """
    if normalise not in _NORMALISE:
        raise unknown_name("normalise", normalise, _NORMALISE)
    examples = take_parts(tables)
    site = examples.array("site")
    inputs = examples.array("counts")
    if normalise != "counts":
        inputs = inputs / inputs.sum(axis=1, keepdims=True, dtype=np.float64)
    if normalise == "site":
        for s in range(len(SITES)):
            inputs[site == s] = _standardised(inputs[site == s])
    return Dataset(
        name="office_caltech",
        inputs=inputs if normalise == "counts" else inputs.astype(np.float32),
        labels=examples.array("label").astype(np.int32),
        class_names=_CLASSES,
        clients=site.astype(np.int32),
        client_names=tuple(SITES),
        preprocess=None if normalise == "site" else "standardise",
        source=provenance,
        licence=OFFICE_CALTECH.licence,
        example_ids=examples.ids,
    )


def _standardised(rows: np.ndarray) -> np.ndarray:
    """Scale rows to mean 0 and standard deviation 1 in each column that is not constant."""
    spread = rows.std(axis=0)
    return (rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1)


def _read(files: Mapping[str, Path]) -> Tables:
    """Read the sites one after the other, in the order of their files."""
    parts = [_read_site(path, size) for path, size in zip(files.values(), SITES.values(), strict=True)]
    return {
        "train": {
            "counts": np.concatenate([counts for counts, _ in parts]),
            "label": np.concatenate([labels for _, labels in parts]),
            "site": np.repeat(np.arange(len(parts)), list(SITES.values())),
        }
    }


def _read_site(path: Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Read counts ``[size, 800]`` uint8 and labels ``[size]`` int64, from 0, of one site."""
    from scipy.io import loadmat, matlab  # noqa: PLC0415  (needed by this set only)

    try:
        content = loadmat(path, variable_names=("fts", "labels"))
        counts, labels = content["fts"], content["labels"].ravel()
    except (matlab.MatReadError, LookupError, NotImplementedError, OSError, TypeError, ValueError, zlib.error) as error:
        expected = "a MATLAB 5 file with fts and labels"
        raise ValueError(f"{path}: expected {expected}, found another or a broken one ({error})") from error
    if counts.shape != (size, _WORDS) or len(labels) != size:
        found = f"shape {counts.shape} and {len(labels)} labels"
        raise ValueError(f"{path}: expected fts of shape {(size, _WORDS)} and {size} labels, found {found}")
    whole = counts.astype(np.uint8)
    if (whole != counts).any():
        row, column = np.argwhere(whole != counts)[0]
        found = f"{counts[row, column]} in row {row}, column {column}"
        raise ValueError(f"{path}: expected counts 0..255, found {found}")
    return whole, labels.astype(np.int64) - 1


OFFICE_CALTECH = Source(
    name="office_caltech",
    title="photographs from four sites, 800 SURF counts",
    task="classification",
    licence="none published; research use",
    citation="B. Gong, Y. Shi, F. Sha, K. Grauman, Geodesic Flow Kernel for Unsupervised Domain Adaptation (CVPR 2012)",
    build=_office_caltech,
    classes=len(_CLASSES),
    clients="site",
    columns={"counts": number("uint8", _WORDS), "label": label(_CLASSES), "site": label(SITES)},
    layouts=(
        Layout(
            (
                SourceFile("amazon.mat", "df32548b994e18d364c99e1f317e1fae100597259f0423a41b90f4f68187bb1f"),
                SourceFile("caltech10.mat", "4f9334c8ced489d5054de97a5fd51a61f017f3bcd1f38c9a85c6d78cb9d7bda5"),
                SourceFile("dslr.mat", "44d673c68e1d07b837893aa74dba3b986e4a6cc3fd66f0dd357683bdef059216"),
                SourceFile("webcam.mat", "a6a9c78b4b7181dfbb58bcfd351d4ebd737f171c31247b8884948aa156d3f700"),
            ),
            _read,
            {"train": sum(SITES.values())},
        ),
        Layout(
            tuple(SourceFile(f"{site}_SURF_L10.mat") for site in ("amazon", "Caltech10", "dslr", "webcam")),
            _read,
            {"train": sum(SITES.values())},
            "the authors' file names",
        ),
    ),
    folder="office_caltech_surf",
)
