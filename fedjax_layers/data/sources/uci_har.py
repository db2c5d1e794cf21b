"""UCI HAR: the activities of thirty people, from the sensors of a telephone at the waist."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedjax_layers.data.dataset import Dataset, present_clients
from fedjax_layers.data.formats.archives import read_npz, read_zip
from fedjax_layers.data.tables.columns import Tables, label, number
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.parts import take_parts
from fedjax_layers.data.tables.source import Layout, Source

ACTIVITIES = ("walking", "walking upstairs", "walking downstairs", "sitting", "standing", "laying")
_SUBJECTS = tuple(f"subject {i}" for i in range(1, 31))
_SIGNALS = tuple(f"{sensor}_{axis}" for sensor in ("total_acc", "body_gyro") for axis in "xyz")
_STEPS = 128
_COUNTS = {"train": 7352, "test": 2947}


def _uci_har(tables: Tables, provenance: str, *, split: str = "all") -> Dataset:
    """Make the set of 10,299 windows of 2.56 s, ``[N, 128, 6]`` float32 at 50 Hz, six activities, subjects as clients.

    The signals are the total acceleration x, y, z in g and the angular velocity x, y, z in rad/s. Neighbouring
    windows of an activity share half of their samples, so a random split within a subject puts nearly the same signal
    on both sides. The official split, by subject (21 for training, 9 for testing), does not.

    Args:
      tables: columns ``signals``, ``activity`` and ``subject``.
      provenance: line on the source of the data.
      split: official part: ``"train"`` (21 subjects), ``"test"`` (9 other subjects) or ``"all"`` (train, then test).

    Raises:
      ValueError: an unknown split.
    """
    examples = take_parts(tables, split)
    clients, names = present_clients(examples.array("subject"), _SUBJECTS)
    return Dataset(
        name="uci_har",
        inputs=examples.array("signals"),
        labels=examples.array("activity").astype(np.int32),
        class_names=ACTIVITIES,
        clients=clients,
        client_names=names,
        preprocess="standardise",
        source=provenance,
        licence=UCI_HAR.licence,
        example_ids=examples.ids,
        official_test=examples.official_test,
    )


def _read_arrays(files: Mapping[str, Path]) -> Tables:
    """Read ``har_inertial.npz``: all windows, the training ones first; ``y`` from 0, ``subject`` from 1."""
    path = files["har_inertial.npz"]
    signals, activity, subject, is_test = read_npz(path, "X", "y", "subject", "is_test").values()
    first = len(is_test) - np.count_nonzero(is_test)
    if is_test[:first].any():
        raise ValueError(f"{path}: expected all training windows before the test windows, found them mixed")
    rows = {"train": slice(first), "test": slice(first, None)}
    return {
        split: {
            "signals": signals[part],
            "activity": activity[part].astype(np.int64),
            "subject": subject[part].astype(np.int64) - 1,
        }
        for split, part in rows.items()
    }


def _read_archive(files: Mapping[str, Path]) -> Tables:
    """Read ``UCI HAR Dataset.zip``: a text file for each signal, with a window in each line."""
    path = files["UCI HAR Dataset.zip"]
    wanted = {
        f"UCI HAR Dataset/{split}/{name}_{split}.txt": (split, name)
        for split in _COUNTS
        for name in ("y", "subject", *(f"Inertial Signals/{signal}" for signal in _SIGNALS))
    }
    columns: dict[tuple[str, str], np.ndarray] = {}
    for member, content in read_zip(path, wanted.__contains__):
        width = _STEPS if "Inertial" in member else 1
        columns[wanted[member]] = _numbers(content, width, f"{path}, {member}")
    missing = [member for member, key in wanted.items() if key not in columns]
    if missing:
        raise ValueError(f"{path}: expected a member {missing[0]}, found none")
    return {
        split: {
            "signals": np.stack([columns[split, f"Inertial Signals/{signal}"] for signal in _SIGNALS], axis=-1),
            "activity": columns[split, "y"][:, 0].astype(np.int64) - 1,
            "subject": columns[split, "subject"][:, 0].astype(np.int64) - 1,
        }
        for split in _COUNTS
    }


def _numbers(content: bytes, width: int, where: str) -> np.ndarray:
    """Read lines of ``width`` numbers, ``[n, width]`` float32."""
    try:
        numbers = np.loadtxt(io.BytesIO(content), np.float32, ndmin=2)
    except ValueError as error:
        raise ValueError(f"{where}: expected lines of {width} numbers, found others ({error})") from error
    if numbers.shape[1] != width:
        raise ValueError(f"{where}: expected lines of {width} numbers, found {numbers.shape[1]}")
    return numbers


UCI_HAR = Source(
    name="uci_har",
    title="human activities, 6 inertial signals of 128 steps",
    task="classification",
    licence="CC BY 4.0 according to UCI; the archive's own readme forbids commercial use",
    citation="D. Anguita, A. Ghio, L. Oneto, X. Parra, J. L. Reyes-Ortiz, A Public Domain Dataset for Human Activity "
    "Recognition Using Smartphones (ESANN 2013)",
    build=_uci_har,
    classes=len(ACTIVITIES),
    clients="subject",
    columns={
        "signals": number("float32", _STEPS, len(_SIGNALS)),
        "activity": label(ACTIVITIES),
        "subject": label(_SUBJECTS),
    },
    layouts=(
        Layout(
            (SourceFile("har_inertial.npz", "f2c4f3ab9a821a59bdd0c2925737d029af0f7cd73d578e50d28c81365bec0be9"),),
            _read_arrays,
            _COUNTS,
            "a copy of the published text as numbers",
        ),
        Layout((SourceFile("UCI HAR Dataset.zip"),), _read_archive, _COUNTS),
    ),
    obtain="UCI offers UCI HAR Dataset.zip at https://archive.ics.uci.edu/dataset/240",
)
