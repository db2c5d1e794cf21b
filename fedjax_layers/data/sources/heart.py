"""Heart: heart disease in four hospitals, the smallest real cross-silo data set there is."""

from __future__ import annotations

from importlib import resources

import numpy as np

from fedjax_layers.data.dataset import Dataset, Preprocess

CENTRES = ("cleveland", "hungarian", "switzerland", "va")
_COLUMNS = 14
_FEATURES = ("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak")
_RAW = {"sex", "fbs", "exang"}  # yes/no columns; left as 0 and 1
_LABEL = 13  # columns 10 to 12 (slope, ca, thal) are missing nearly everywhere outside Cleveland


def load_heart() -> Dataset:
    """740 patients of four hospitals, ``[740, 10]`` float32, label 0 (no disease) to 4.

    Rows with a value missing among the ten features are left out, which keeps 303, 261, 46 and 130 of the
    patients (as Fed-Heart-Disease does: FLamby, du Terrail et al. 2022). ``example_ids`` count rows of the
    four files together, left-out rows included. The natural clients are the hospitals.

    PLayer-FL z-scores seven columns with fixed pooled numbers that were not published to us. Here they are
    the mean and population standard deviation of all 740 rows, test rows included: nothing to set, and the
    same numbers for any partition.
    """
    tables = [_read(centre) for centre in CENTRES]
    rows = np.concatenate(tables)
    clients = np.repeat(np.arange(len(CENTRES)), [len(t) for t in tables])
    inputs = rows[:, : len(_FEATURES)]
    kept = np.flatnonzero(~np.isnan(inputs).any(axis=1))
    inputs = inputs[kept]
    raw = np.array([name in _RAW for name in _FEATURES])
    mean = np.where(raw, 0.0, inputs.mean(axis=0))
    std = np.where(raw, 1.0, inputs.std(axis=0))
    return Dataset(
        name="heart",
        inputs=inputs.astype(np.float32),
        labels=rows[kept, _LABEL].astype(np.int32),
        class_names=("no disease", "disease 1", "disease 2", "disease 3", "disease 4"),
        clients=clients[kept].astype(np.int32),
        client_names=CENTRES,
        preprocess=Preprocess(mean=tuple(mean.tolist()), std=tuple(std.tolist())),
        source="UCI Heart Disease (Janosi, Steinbrunn, Pfisterer, Detrano, 1988), inside this package",
        licence="CC BY 4.0",
        example_ids=kept.astype(np.int64),
    )


def _read(centre: str) -> np.ndarray:
    """All rows of one hospital, ``[n, 14]`` float64 with NaN where the file says ``?``."""
    name = f"processed.{centre}.data"
    text = (resources.files("fedjax_layers.data") / "uci_heart" / name).read_text(encoding="ascii")
    cells = [line.split(",") for line in text.splitlines() if line.strip()]
    wrong = [i for i, row in enumerate(cells, start=1) if len(row) != _COLUMNS]
    if wrong:
        found = len(cells[wrong[0] - 1])
        raise ValueError(f"{name}: expected {_COLUMNS} columns, found {found} in line {wrong[0]}")
    return np.array([[np.nan if cell.strip() == "?" else float(cell) for cell in row] for row in cells])
