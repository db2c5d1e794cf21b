"""The partition file, which holds each example's client and split, for another run or another program."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.feature_shift import FEATURE_SHIFTS
from fedjax_layers.data.federated.client_data import ClientData, assemble_clients
from fedjax_layers.data.federated.splits import SPLITS
from fedjax_layers.data.formats.archives import read_npz
from fedjax_layers.options import check_options, options_of, unknown_name
from fedjax_layers.storage import beside, json_of

_ARRAYS = {"example_ids": "iu", "client": "i", "split": "i", "unseen": "b", "teams": "i"}  # NumPy's kinds of dtypes
_TEXTS = {"dataset": str, "client_names": list, "partition": dict, "partition_hash": str}


def save_partition(data: ClientData, path: str | os.PathLike[str]) -> str:
    """Write a partition as ``.npz`` without pickled objects.

    It holds ``example_ids [n]`` int64, ``client [n]`` int32 (-1 in the global test set), ``split [n]`` int8 (0 train,
    1 val, 2 test), ``unseen [C]`` bool, ``teams`` (``[C]`` int32, or empty) and ``about``, the UTF-8 bytes of a JSON
    object with the data set's name, the clients' names, the description and the hash.

    Args:
      data: the federated data.
      path: path of the file, which is written under another name first.

    Returns:
      The partition's hash.

    Raises:
      FileNotFoundError: there is no such folder.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"save: expected a folder {path.parent}, found none")
    client, split = data.places
    about = {
        "dataset": data.name,
        "client_names": list(data.client_names),
        "partition": data.partition,
        "partition_hash": data.partition_hash,
    }
    with beside(path) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(
            file,
            example_ids=data.example_ids,
            client=client,
            split=split,
            unseen=data.unseen,
            teams=np.empty(0, np.int32) if data.teams is None else data.teams,
            about=np.frombuffer(json.dumps(about).encode(), np.uint8),
        )
    return data.partition_hash


def apply_partition(dataset: Dataset, path: str | os.PathLike[str]) -> ClientData:
    """Make the clients' data of a partition file, including the feature shift that it describes.

    Args:
      dataset: the data set that the file was written for; it may hold more examples, which are not used.
      path: path of the file.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no partition file, is damaged (its hash differs), or is for another data set.
    """
    arrays, about = _read(Path(path))
    if about["dataset"] != dataset.name:
        raise ValueError(f"{path}: expected a partition of {dataset.name}, found one of {about['dataset']}")
    client, split, unseen = arrays["client"], arrays["split"], arrays["unseen"]
    order = np.lexsort((arrays["example_ids"], split, np.where(client < 0, len(unseen), client)))
    counts = _counts(arrays)
    names = tuple(about["client_names"])
    teams = arrays["teams"] if len(arrays["teams"]) else None
    try:
        rows = _rows(dataset, arrays["example_ids"])
        dataset = _shifted(dataset, rows, client, len(unseen), about["partition"])
        data = assemble_clients(dataset, rows[order], counts, names, unseen, teams, about["partition"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if data.partition_hash != about["partition_hash"]:
        expected = f"a partition with hash {about['partition_hash']}"
        raise ValueError(f"{path}: expected {expected}, found {data.partition_hash}; the file is damaged")
    return data


def _rows(dataset: Dataset, ids: np.ndarray) -> np.ndarray:
    """Find the rows ``[n]`` of the data set with these ids."""
    own = np.arange(len(dataset)) if dataset.example_ids is None else dataset.example_ids
    by_id = np.argsort(own, kind="stable")
    rows = by_id[np.minimum(np.searchsorted(own, ids, sorter=by_id), len(own) - 1)]
    missing = np.flatnonzero(own[rows] != ids)
    if len(missing):
        found = f"id {ids[missing[0]]}, which it lacks (and {len(missing) - 1} more)"
        raise ValueError(f"expected example ids of {dataset.name}, found {found}")
    return rows


def _counts(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Count the examples ``[C, 3]`` of each client and split."""
    owned = arrays["client"] >= 0
    cells = arrays["client"][owned].astype(np.int64) * len(SPLITS) + arrays["split"][owned]
    return np.bincount(cells, minlength=len(arrays["unseen"]) * len(SPLITS)).reshape(-1, len(SPLITS))


def _shifted(
    dataset: Dataset, rows: np.ndarray, client: np.ndarray, clients: int, partition: dict[str, Any]
) -> Dataset:
    """Shift the inputs as :func:`~fedjax_layers.data.load` did when it made the partition."""
    name, params = partition.get("feature_shift"), partition.get("feature_shift_params", {})
    if name is None:
        return dataset
    if not isinstance(name, str) or name not in FEATURE_SHIFTS:
        raise unknown_name("feature_shift", name, FEATURE_SHIFTS)
    client_of = np.full(len(dataset), -1, np.int32)
    client_of[rows] = client
    try:
        check_options(f"feature shift {name!r}", params, options_of(FEATURE_SHIFTS[name]))
        inputs = FEATURE_SHIFTS[name](dataset.inputs, client_of, clients, partition.get("seed", 0), **params)
    except TypeError as error:  # values of another type, which only a damaged file can have
        raise ValueError(f"feature_shift_params: expected options of {name}, got {params!r} ({error})") from error
    return dataclasses.replace(dataset, inputs=inputs)


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read the arrays and texts, and check them as far as possible without the data set."""
    if not path.is_file():
        raise FileNotFoundError(f"partition_file: expected a file, found none at {path}")
    try:
        arrays = read_npz(path, *_ARRAYS, "about")
        about = json_of(arrays.pop("about").tobytes(), "about")
    except ValueError as error:  # includes errors of json, and of texts that are not UTF-8
        reason = " ".join(str(error).removeprefix(f"{path}").split())[:200].lstrip(":, ")
        raise ValueError(f"{path}: expected a partition file, could not read one ({reason})") from error
    _check_form(path, arrays, about)
    clients, splits, unseen, total = arrays["client"], arrays["split"], arrays["unseen"], len(arrays["unseen"])
    if not (-1 <= clients.min() <= clients.max() < total and 0 <= splits.min() <= splits.max() < len(SPLITS)):
        raise ValueError(f"{path}: expected clients -1..{total - 1} and splits 0..2, found others")
    idle = np.flatnonzero(_counts(arrays)[:, 0] == 0)
    if len(idle):
        raise ValueError(f"{path}: expected a training example for each client, found none for client {idle[0]}")
    if unseen.all():
        raise ValueError(f"{path}: expected some clients that train, found all of them unseen")
    for argument, given in {"names": about["client_names"], "teams": arrays["teams"]}.items():
        if len(given) not in (0, total):
            raise ValueError(f"{path}: expected {argument} of {total} clients, or none, found {len(given)}")
    return arrays, about


def _check_form(path: Path, arrays: dict[str, np.ndarray], about: Any) -> None:
    """Check dtypes, axes and lengths of the arrays, and names and types of the texts."""
    fits = all(array.ndim == 1 and array.dtype.kind in _ARRAYS[name] for name, array in arrays.items())
    fits = fits and len(arrays["example_ids"]) == len(arrays["client"]) == len(arrays["split"]) > 0
    fits = fits and isinstance(about, dict) and set(about) == set(_TEXTS)
    fits = fits and all(isinstance(about[name], kind) for name, kind in _TEXTS.items())
    if not fits or not all(isinstance(name, str) for name in about["client_names"]):
        raise ValueError(f"{path}: expected the arrays and texts of a partition file, found others")
