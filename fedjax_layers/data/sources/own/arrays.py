"""Data sets from NumPy arrays, for data in memory and as the last step of reading a user's own files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.packing import aligned_empty, slices
from fedjax_layers.data.preprocess import Preprocess
from fedjax_layers.data.sources.own.names import class_numbers, numbered, option_names, plain
from fedjax_layers.options import unknown_name

Missing = Literal["error", "drop", "mean"]
_AT_ONCE = 2**22  # numbers that are checked at once
OwnTask = Literal["auto", "classification", "regression"]
Scaling = Literal["auto", "none", "scale", "standardise"]


def from_arrays(
    inputs: np.ndarray,
    labels: np.ndarray | Sequence[object],
    clients: np.ndarray | Sequence[object] | None = None,
    *,
    name: str = "arrays",
    task: OwnTask = "auto",
    classes: Sequence[str] = (),
    preprocess: Preprocess | Scaling = "auto",
    missing: Missing = "error",
    example_ids: np.ndarray | None = None,
    official_test: np.ndarray | None = None,
    source: str = "arrays in memory",
    licence: str = "the user's own",
) -> Dataset:
    """Make a data set from arrays, and check them.

    ``preprocess="auto"`` treats uint8 as pictures (pixels / 255), standardises floats of rank 2 (columns of a
    table), and leaves other floats and all other integers (tokens) as they are. Grey pictures ``[N, H, W]`` uint8
    get a channel axis.

    Args:
      inputs: ``[N, ...]`` numbers; stored in their own type, float64 as float32.
      labels: ``[N]``. Classes are integers, flags or texts, targets of a regression numbers.
      clients: ``[N]`` integers or texts, each example's natural client; ``None`` where there are none.
      name: name of the data set.
      task: kind of prediction; ``"auto"`` treats float labels as a regression and all others as a classification.
      classes: the classes' names in order, which integer labels index; empty takes the sorted distinct labels.
      preprocess: how a model reads the inputs: ready made, or ``"none"`` (as stored), ``"scale"`` (by 1/255),
        ``"standardise"`` (by training mean and standard deviation), ``"auto"``.
      missing: what to do about NaN in the inputs: ``"error"``, ``"drop"`` its example, or ``"mean"``: leave it there
        for the standardisation, which puts the training mean in its place.
      example_ids: ``[N]`` distinct integers; ``None`` numbers the rows.
      official_test: ``[N]`` flags on examples that are set apart for testing; ``None`` for none.
      source: the origin of the data.
      licence: terms of the data.

    Returns:
      The data set. Dropped examples keep their numbers: ``example_ids`` still count the rows of ``inputs``.

    Raises:
      ValueError: arrays differ in length, hold Python objects or mix types; there is NaN or infinity; a label is no
        class; there are fewer than two classes or no examples; example ids are repeated; or an argument is out of
        range.
    """
    for argument, value, allowed in (("task", task, OwnTask), ("missing", missing, Missing)):
        if value not in get_args(allowed):
            raise unknown_name(argument, value, get_args(allowed))
    inputs = _numbers(inputs)
    count = len(inputs)
    target = plain(labels, "labels", lambda row: f"labels[{row}]")
    owner = None if clients is None else plain(clients, "clients", lambda row: f"clients[{row}]")
    for field, array in (("labels", target), ("clients", owner), ("example_ids", example_ids)):
        if array is not None and len(array) != count:
            raise ValueError(f"{field}: expected {count} entries, one for each example, got {len(array)}")
    ids = np.arange(count) if example_ids is None else np.asarray(example_ids)
    _check_distinct(ids)
    kept = _kept(inputs, missing)
    if not len(kept):
        raise ValueError(f"inputs: expected at least one example{' without a gap' if count else ''}, got none")
    if len(kept) < count:
        inputs, target, ids = inputs[kept], target[kept], ids[kept]
        owner = None if owner is None else owner[kept]
        official_test = None if official_test is None else official_test[kept]
    regression = task == "regression" or (task == "auto" and target.dtype.kind == "f")
    numbers, names = _targets(target, regression, option_names(classes), kept)
    client_numbers, client_names = (None, ()) if owner is None else numbered(owner, "clients")
    return Dataset(
        name=name,
        inputs=inputs,
        labels=numbers,
        class_names=names,
        clients=client_numbers,
        client_names=client_names,
        preprocess=_preprocess(inputs, preprocess, missing),
        source=source,
        licence=licence,
        example_ids=ids.astype(np.int64),
        task="regression" if regression else "classification",
        official_test=official_test,
    )


def _numbers(inputs: np.ndarray) -> np.ndarray:
    """Convert inputs to a dtype for devices, and give pictures a channel axis."""
    inputs = np.asarray(inputs)
    if inputs.dtype.kind not in "biuf" or inputs.ndim < 2:
        raise ValueError(f"inputs: expected numbers [N, ...] of rank 2 or more, got {inputs.dtype} {inputs.shape}")
    if inputs.dtype == np.uint8 and inputs.ndim == 3:
        return inputs[..., None]
    if inputs.dtype == np.uint8 and inputs.ndim == 4 and inputs.shape[3] > 4 >= inputs.shape[1]:
        raise ValueError(f"inputs: expected pictures [N, H, W, C], got {inputs.shape}, which looks like [N, C, H, W]")
    if inputs.dtype.kind in "bf":
        if inputs.dtype != np.float32:
            inputs = _as_float32(inputs)
        _check_finite(inputs)
        return inputs
    if inputs.dtype.itemsize == 8:
        low, high = int(inputs.min(initial=0)), int(inputs.max(initial=0))
        if not -(2**31) <= low <= high < 2**31:
            raise ValueError(f"inputs: expected integers of 32 bits, got {low}..{high}")
        return inputs.astype(np.int32)
    return inputs


def _as_float32(inputs: np.ndarray) -> np.ndarray:
    """Copy to float32, in an array that may become the pool itself."""
    narrow = aligned_empty(inputs.shape, np.float32)
    with np.errstate(over="ignore"):  # an overflow is refused later
        narrow[...] = inputs
    return narrow


def _rows_where(test: np.ufunc, inputs: np.ndarray) -> np.ndarray:
    """Flag examples ``[N]`` with a number that passes the test, some rows at a time."""
    found = np.zeros(len(inputs), bool)
    for part in slices(len(inputs), _AT_ONCE // max(1, inputs[:1].size)):
        found[part] = test(inputs[part]).any(axis=tuple(range(1, inputs.ndim)))
    return found


def _check_finite(inputs: np.ndarray) -> None:
    """Raise ``ValueError`` for infinity, which also results from float64 beyond float32."""
    rows = np.flatnonzero(_rows_where(np.isinf, inputs))
    if len(rows):
        raise ValueError(f"{_entry(inputs, int(rows[0]), np.isinf)}: expected a finite number, got infinity")


def ways_out(*, mean: bool = True) -> str:
    """Say how missing values are allowed; ``mean`` says whether a mean may take their place."""
    drop = "missing='drop' (--missing drop) leaves out their rows"
    return drop + ", missing='mean' (--missing mean) puts the training mean there" * mean


def _kept(inputs: np.ndarray, missing: Missing) -> np.ndarray:
    """Return the rows to keep."""
    if inputs.dtype.kind != "f":
        return np.arange(len(inputs))
    gaps = _rows_where(np.isnan, inputs)
    if missing == "error" and gaps.any():
        place = _entry(inputs, int(gaps.argmax()), np.isnan)
        raise ValueError(f"{place}: expected a number, got NaN; {ways_out()}")
    return np.flatnonzero(~gaps) if missing == "drop" else np.arange(len(inputs))


def _entry(inputs: np.ndarray, row: int, test: np.ufunc) -> str:
    place = (row, *np.argwhere(test(inputs[row]))[0].tolist())
    return f"inputs{list(place)}"


def _check_distinct(ids: np.ndarray) -> None:
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(f"example_ids: expected integers [N], got {ids.dtype} {ids.shape}")
    order = np.argsort(ids, kind="stable")
    again = np.flatnonzero(ids[order][1:] == ids[order][:-1])
    if len(again):
        first, second = order[again[0] : again[0] + 2].tolist()
        raise ValueError(f"example_ids: expected distinct ids, got {ids[first]} in rows {first} and {second}")


def _targets(
    target: np.ndarray, regression: bool, classes: tuple[str, ...], kept: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
    def where(row: int) -> str:
        return f"labels[{kept[row]}]"

    if not regression:
        whole = target.dtype.kind == "f" and bool((target == np.round(target)).all())
        return class_numbers(target.astype(np.int64) if whole else target, classes, "labels", where)
    if target.dtype.kind not in "iuf":
        raise ValueError(f"labels: expected numbers for a regression, got {target.dtype}")
    numbers = target.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        raise ValueError(f"{where(int(wrong[0]))}: expected a finite number, got {target[wrong[0]]}")
    return numbers, ()


def _preprocess(
    inputs: np.ndarray, preprocess: Preprocess | Scaling, missing: Missing
) -> Preprocess | Literal["standardise"] | None:
    if isinstance(preprocess, Preprocess):
        return preprocess
    if preprocess not in get_args(Scaling):
        raise unknown_name("preprocess", preprocess, get_args(Scaling))
    if preprocess == "auto":
        table = inputs.dtype.kind == "f" and (inputs.ndim == 2 or missing == "mean")
        preprocess = "standardise" if table else "scale" if inputs.dtype == np.uint8 else "none"
    if missing == "mean" and inputs.dtype.kind == "f" and preprocess != "standardise":
        raise ValueError(f"preprocess: expected 'standardise' with missing='mean', got {preprocess!r}")
    if preprocess == "scale":
        return Preprocess(scale=1 / 255)
    if preprocess == "standardise":
        return preprocess
    return Preprocess() if inputs.dtype.kind == "f" else None
