"""Parkinsons: the progress of the disease, from the voices of 42 patients recorded at home."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.formats.text_files import classes, numbers, read_csv, table
from fedjax_layers.data.tables.columns import Tables, label, number
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.parts import take_parts
from fedjax_layers.data.tables.source import Layout, Source
from fedjax_layers.options import unknown_name

FEATURES = (
    "age", "sex", "test_time", "Jitter(%)", "Jitter(Abs)", "Jitter:RAP", "Jitter:PPQ5", "Jitter:DDP", "Shimmer",
    "Shimmer(dB)", "Shimmer:APQ3", "Shimmer:APQ5", "Shimmer:APQ11", "Shimmer:DDA", "NHR", "HNR", "RPDE", "DFA", "PPE",
)  # fmt: skip
_TARGETS = ("motor_updrs", "total_updrs")
_HEADER = ("subject#", *FEATURES[:3], "motor_UPDRS", "total_UPDRS", *FEATURES[3:])
_PATIENTS = tuple(str(n) for n in range(1, 43))


def _parkinsons(tables: Tables, provenance: str, *, target: str = "total_updrs") -> Dataset:
    """Make the set of 5,875 recordings of 42 patients, ``[5875, 19]`` float32, with targets ``[5875]`` in UPDRS points.

    Inputs are age in years, sex (1 female), days since the trial began, and sixteen measures of the voice. The scores
    are interpolated between a few examinations of each patient, as the authors published them. The score that
    is not the target is no input. The natural clients are the patients, 101 to 168 recordings each.

    Args:
      tables: columns ``features``, ``motor_updrs``, ``total_updrs`` and ``patient``.
      provenance: line on the source of the data.
      target: the score to predict, ``"total_updrs"`` (0 to 176 points) or ``"motor_updrs"`` (its motor section, 0 to
        108).

    Raises:
      ValueError: an unknown target.
    """
    if target not in _TARGETS:
        raise unknown_name("target", target, _TARGETS)
    examples = take_parts(tables)
    return Dataset(
        name="parkinsons",
        inputs=examples.array("features"),
        labels=examples.array(target),
        class_names=(),
        clients=examples.array("patient").astype(np.int32),
        client_names=tuple(f"patient {n}" for n in _PATIENTS),
        preprocess="standardise",
        source=provenance,
        licence=PARKINSONS.licence,
        example_ids=examples.ids,
        task="regression",
    )


def _read(files: Mapping[str, Path]) -> Tables:
    """Read all recordings, in the order of the file."""
    path = files["parkinsons_updrs.data"]
    cells = read_csv(path, _HEADER)
    return {
        "train": {
            "features": table(path, cells, FEATURES),
            "motor_updrs": numbers(path, cells, "motor_UPDRS").astype(np.float32),
            "total_updrs": numbers(path, cells, "total_UPDRS").astype(np.float32),
            "patient": classes(path, cells, "subject#", _PATIENTS),
        }
    }


PARKINSONS = Source(
    name="parkinsons",
    title="Parkinson's disease scores from voice, 19 features",
    task="regression",
    licence="CC BY 4.0",
    citation="A. Tsanas, M. A. Little, Parkinsons Telemonitoring (UCI, 2009)",
    build=_parkinsons,
    clients="patient",
    columns={
        "features": number("float32", len(FEATURES)),
        "motor_updrs": number("float32"),
        "total_updrs": number("float32"),
        "patient": label(_PATIENTS),
    },
    layouts=(
        Layout(
            (SourceFile("parkinsons_updrs.data", "f2c7d5025dec4e92e7feae367a5f7ccf58789a10ac6b54bdf15976c599f9dd39"),),
            _read,
            {"train": 5875},
        ),
    ),
    folder="parkinsons_telemonitoring",
    obtain="the UCI Machine Learning Repository offers it as data set 189",
)
