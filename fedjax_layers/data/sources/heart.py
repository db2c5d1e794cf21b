"""Heart: heart disease in four hospitals, a very small real cross-silo data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.preprocess import Preprocess
from fedjax_layers.data.tables.columns import Tables, label, number
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.parts import take_parts
from fedjax_layers.data.tables.source import Layout, Source

CENTRES = ("cleveland", "hungarian", "switzerland", "va")
_COLUMNS = 14
_FEATURES = ("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak")
_RAW = {"sex", "fbs", "exang"}  # yes/no columns, which stay 0 and 1
_LABEL = 13  # columns 10 to 12 (slope, ca, thal) are missing nearly everywhere outside Cleveland
_SHA256 = {
    "processed.cleveland.data": "a74b7efa387bc9d108d7d0115d831fe9b414b29ae7124f331b622b4efa0427c8",
    "processed.hungarian.data": "d1ad108f785768cd3d7e82dc522e6f5a61eea93cccfb3a46ee8076f73fc3d796",
    "processed.switzerland.data": "834a405ccf5b66ab4056bb77794adc8df0b7125186454c0a1d002d33c6c3b314",
    "processed.va.data": "e7c93d8d0d2acdadfa4c5e8de768e2191e7f618b952e29623f1f0d5949ff6b8f",
}
_URL = "https://archive.ics.uci.edu/ml/machine-learning-databases/heart-disease/"


def _heart(tables: Tables, provenance: str) -> Dataset:
    """Make the set of 740 patients of four hospitals, ``[740, 10]`` float32, label 0 (no disease) to 4.

    Rows with a missing value among the ten features are left out, which keeps 303, 261, 46 and 130 of the
    patients (as Fed-Heart-Disease does: FLamby, du Terrail et al. 2022). ``example_ids`` count rows of the
    four files together, left-out rows included. The natural clients are the hospitals.

    PLayer-FL standardises seven columns with fixed pooled numbers that are not published. Here they are the mean and
    population standard deviation of all 740 rows, test rows included, so that they are the same for any partition.
    """
    examples = take_parts(tables)
    inputs = examples.array("values")[:, : len(_FEATURES)]
    kept = np.flatnonzero(~np.isnan(inputs).any(axis=1))
    inputs = inputs[kept]
    raw = np.array([name in _RAW for name in _FEATURES])
    mean = np.where(raw, 0.0, inputs.mean(axis=0))
    std = np.where(raw, 1.0, inputs.std(axis=0))
    return Dataset(
        name="heart",
        inputs=inputs.astype(np.float32),
        labels=examples.array("values")[kept, _LABEL].astype(np.int32),
        class_names=("no disease", "disease 1", "disease 2", "disease 3", "disease 4"),
        clients=examples.array("hospital")[kept].astype(np.int32),
        client_names=CENTRES,
        preprocess=Preprocess(mean=tuple(mean.tolist()), std=tuple(std.tolist())),
        source=provenance,
        licence=HEART.licence,
        example_ids=kept.astype(np.int64),
    )


def _read(files: Mapping[str, Path]) -> Tables:
    """Read all rows of the four hospitals, NaN where a file says ``?``."""
    tables = [_read_centre(files[f"processed.{centre}.data"]) for centre in CENTRES]
    hospital = np.repeat(np.arange(len(CENTRES)), [len(t) for t in tables])
    return {"train": {"values": np.concatenate(tables), "hospital": hospital}}


def _read_centre(path: Path) -> np.ndarray:
    """Read all rows of one hospital, ``[n, 14]`` float64."""
    cells = [line.split(",") for line in path.read_text(encoding="ascii").splitlines() if line.strip()]
    wrong = [i for i, row in enumerate(cells, start=1) if len(row) != _COLUMNS]
    if wrong:
        found = len(cells[wrong[0] - 1])
        raise ValueError(f"{path.name}: expected {_COLUMNS} columns, found {found} in line {wrong[0]}")
    return np.array([[np.nan if cell.strip() == "?" else float(cell) for cell in row] for row in cells])


HEART = Source(
    name="heart",
    title="heart disease, 10 features",
    task="classification",
    licence="CC BY 4.0",
    citation="A. Janosi, W. Steinbrunn, M. Pfisterer, R. Detrano, Heart Disease (UCI, 1988)",
    build=_heart,
    classes=5,
    clients="hospital",
    columns={"values": number("float64", _COLUMNS), "hospital": label(CENTRES)},
    layouts=(
        Layout(
            tuple(SourceFile(name, sha, _URL + name) for name, sha in _SHA256.items()),
            _read,
            {"train": 920},
        ),
    ),
    folder="uci_heart",
    embedded=Path(__file__).parents[1] / "uci_heart",
)
