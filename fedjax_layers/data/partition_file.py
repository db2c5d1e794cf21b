"""A partition as a file: who owns which example in which split, exactly, for another run or another program."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_layers.data.client_data import ClientData, assemble_clients
from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.splits import SPLITS

_ARRAYS = ("example_ids", "client", "split", "unseen", "teams")


def save_partition(data: ClientData, path: str | os.PathLike[str]) -> str:
    """Write a partition as ``.npz`` without pickled objects.

    It holds ``example_ids [n]`` int64, ``client [n]`` int32 (-1 in the global test set), ``split [n]`` int8 (0 train,
    1 val, 2 test), ``unseen [C]`` bool, ``teams`` (``[C]`` int32, or empty) and ``about``, the UTF-8 bytes of a JSON
    object with the data set's name, the clients' names, the description and the hash.

    Args:
      data: the federated data.
      path: of the file; written under another name first.

    Returns:
      The partition's hash.
    """
    client, split = data.places
    about = {
        "dataset": data.name,
        "client_names": list(data.client_names),
        "partition": data.partition,
        "partition_hash": data.partition_hash,
    }
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.unfinished")
    with unfinished.open("wb") as file:
        np.savez_compressed(
            file,
            example_ids=data.example_ids,
            client=client,
            split=split,
            unseen=data.unseen,
            teams=np.empty(0, np.int32) if data.teams is None else data.teams,
            about=np.frombuffer(json.dumps(about).encode(), np.uint8),
        )
    unfinished.replace(path)
    return data.partition_hash


def apply_partition(dataset: Dataset, path: str | os.PathLike[str]) -> ClientData:
    """The clients' data as a partition file has them.

    Args:
      dataset: the data set that the file was written for; it may hold more examples, which are not used.
      path: of the file.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no partition file, is damaged (its hash differs), or is of another data set.
    """
    arrays, about = _read(Path(path))
    if about["dataset"] != dataset.name:
        raise ValueError(f"{path}: expected a partition of {dataset.name}, found one of {about['dataset']}")
    own = np.arange(len(dataset)) if dataset.example_ids is None else dataset.example_ids
    by_id = np.argsort(own, kind="stable")
    place = np.searchsorted(own, arrays["example_ids"], sorter=by_id)
    rows = by_id[np.minimum(place, len(own) - 1)]
    missing = np.flatnonzero(own[rows] != arrays["example_ids"])
    if len(missing):
        found = f"id {arrays['example_ids'][missing[0]]}, which it lacks (and {len(missing) - 1} more)"
        raise ValueError(f"{path}: expected example ids of {dataset.name}, found {found}")
    client, split = arrays["client"], arrays["split"]
    order = np.lexsort((arrays["example_ids"], split, np.where(client < 0, len(arrays["unseen"]), client)))
    owned = client >= 0
    cells = client[owned].astype(np.int64) * len(SPLITS) + split[owned]
    counts = np.bincount(cells, minlength=len(arrays["unseen"]) * len(SPLITS)).reshape(-1, len(SPLITS))
    teams = arrays["teams"] if len(arrays["teams"]) else None
    names = tuple(about["client_names"])
    data = assemble_clients(dataset, rows[order], counts, names, arrays["unseen"], teams, about["partition"])
    if data.partition_hash != about["partition_hash"]:
        expected = f"a partition with hash {about['partition_hash']}"
        raise ValueError(f"{path}: expected {expected}, found {data.partition_hash}; the file is damaged")
    return data


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    if not path.is_file():
        raise FileNotFoundError(f"partition_file: expected a file, found none at {path}")
    try:
        with np.load(path, allow_pickle=False) as box:
            arrays = {name: box[name] for name in _ARRAYS}
            about = json.loads(box["about"].tobytes().decode())
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: expected a partition file, could not read one ({reason})") from error
    expected = {"dataset", "client_names", "partition", "partition_hash"}
    n = len(arrays["example_ids"])
    if not isinstance(about, dict) or set(about) != expected or any(len(arrays[k]) != n for k in ("client", "split")):
        raise ValueError(f"{path}: expected the arrays and texts of a partition file, found others")
    clients, splits = arrays["client"], arrays["split"]
    if n and not (
        -1 <= clients.min() <= clients.max() < len(arrays["unseen"]) and 0 <= splits.min() <= splits.max() < 3
    ):
        raise ValueError(f"{path}: expected clients -1..{len(arrays['unseen']) - 1} and splits 0..2, found others")
    return arrays, about
