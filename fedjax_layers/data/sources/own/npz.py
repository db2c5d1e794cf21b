"""The reader of a user's own arrays in one ``.npz`` file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.formats.archives import read_npz
from fedjax_layers.data.sources.own.arrays import Missing, OwnTask, Scaling, from_arrays
from fedjax_layers.data.sources.own.held_out import without_owner
from fedjax_layers.data.sources.own.names import option_names
from fedjax_layers.data.sources.own.pfllib.convert import is_pickled_tree, refusal
from fedjax_layers.data.tables.source import Source

_TEST = {"x_test": "x", "y_test": "y", "client_test": "client"}


def labelled_arrays(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray | None, np.ndarray]:
    """Read the arrays ``x``, ``y`` and perhaps ``client`` of a file, with a test part after the other examples.

    Returns:
      The arrays by these names; flags ``[N]`` on the examples of the test part, ``None`` where there is none; and flags
      ``[N]`` on examples without a client, whatever ``client`` says: those of a test part without clients.

    Raises:
      ValueError: an array is missing or has an unknown name; or as :func:`read_npz`.
    """
    arrays = read_npz(path)
    known = ("x", "y", "client", *_TEST)
    test = any(name in arrays for name in _TEST)
    for name in ("x", "y", *(("x_test", "y_test") if test else ())):
        if name not in arrays:
            raise ValueError(f"{path}: expected an array {name!r}, found {', '.join(arrays) or 'none'}")
    for name in arrays:
        if name not in known or (name == "client_test" and "client" not in arrays):
            raise ValueError(f"{path}: expected arrays x, y, client, x_test, y_test, client_test, found {name!r}")
    for first, *others in (("x", "y", "client"), ("x_test", "y_test", "client_test")):
        _check_lengths(path, arrays, first, others)
    if not test:
        return arrays, None, np.zeros(len(arrays["x"]), bool)
    flags = np.repeat([False, True], [len(arrays["x"]), len(arrays["x_test"])])
    nobodys = flags & ("client" in arrays and "client_test" not in arrays)
    if nobodys.any():
        if not len(arrays["client"]):
            raise ValueError(f"{path}, array client: expected at least one entry, found none")
        arrays["client_test"] = np.repeat(arrays["client"][:1], len(arrays["x_test"]))
    return {of: _joined(path, arrays, of, name) for name, of in _TEST.items() if of in arrays}, flags, nobodys


def _check_lengths(path: Path, arrays: Mapping[str, np.ndarray], first: str, others: list[str]) -> None:
    for name in (first, *others):
        if name in arrays and arrays[name].ndim == 0:
            raise ValueError(f"{path}, array {name}: expected one entry for each example, found a scalar")
    for name in others:
        if name in arrays and len(arrays[name]) != len(arrays[first]):
            expected = f"{len(arrays[first])} entries as in {first}"
            raise ValueError(f"{path}, array {name}: expected {expected}, found {len(arrays[name])}")


def _joined(path: Path, arrays: Mapping[str, np.ndarray], train: str, test: str) -> np.ndarray:
    parts = [arrays[train], arrays[test]]
    if parts[0].shape[1:] != parts[1].shape[1:] or parts[0].dtype.kind != parts[1].dtype.kind:
        found = [f"{part.dtype} {part.shape[1:]}" for part in parts]
        raise ValueError(f"{path}, array {test}: expected entries like those of {train}, {found[0]}, found {found[1]}")
    return np.concatenate(parts)


def _npz(
    *,
    path: str,
    task: str = "auto",
    classes: tuple[str, ...] = (),
    preprocess: str = "auto",
    missing: str = "error",
) -> Dataset:
    """Read arrays ``x [N, ...]``, ``y [N]`` and, if there are natural clients, ``client [N]`` of an ``.npz`` file.

    ``x_test``, ``y_test`` and ``client_test`` hold a part that is set apart for testing; its examples come last, and
    without ``client_test`` they belong to no client.

    Args:
      path: path of the file.
      task: kind of prediction; ``"auto"`` treats a float ``y`` as a regression and all others as a classification.
      classes: the classes' names in order; empty takes the sorted distinct labels.
      preprocess: ``"auto"`` divides uint8 pictures by 255 and standardises the columns of a float table; or one of
        ``"none"``, ``"scale"`` and ``"standardise"``.
      missing: what to do about NaN in ``x``: ``"error"``, ``"drop"`` or ``"mean"``.

    Raises:
      FileNotFoundError: there is no file at ``path``.
      ValueError: see :func:`read_npz`, :func:`labelled_arrays` and
        :func:`~fedjax_layers.data.sources.own.arrays.from_arrays`.
    """
    file = Path(str(path)).expanduser()
    try:
        arrays, official_test, nobodys = labelled_arrays(file)
    except ValueError as error:
        tree = file.absolute().parent.parent
        if is_pickled_tree(tree):
            raise refusal(tree) from error
        raise
    try:
        dataset = from_arrays(
            arrays.pop("x"),  # so that it can be freed after its conversion to float32
            arrays["y"],
            arrays.get("client"),
            name="npz",
            task=cast(OwnTask, task),
            classes=option_names(classes),
            preprocess=cast(Scaling, preprocess),
            missing=cast(Missing, missing),
            official_test=official_test,
            source=str(file),
        )
        return without_owner(dataset, nobodys[dataset.example_ids]) if nobodys.any() else dataset
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


NPZ = Source(
    name="npz",
    title="arrays of your own, npz",
    task="classification",
    licence="the user's own",
    citation="the user's own",
    build=_npz,
    clients="array client",
    own=True,
    obtain="path names a file with the arrays x and y, and perhaps client, x_test, y_test, client_test",
)
