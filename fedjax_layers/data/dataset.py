"""A data set before it is split among clients: all examples on the host, and how a model reads them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from fedjax_layers.data.preprocess import Preprocess

Task = Literal["classification", "regression", "survival", "tagging", "language_modelling"]
TASKS: tuple[Task, ...] = ("classification", "regression", "survival", "tagging", "language_modelling")


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled examples on the host, not yet split among clients.

    What ``labels`` hold depends on the task, T being the length of a sequence:

    ==================  =======================================================================
    classification      ``[N]`` int32, ``0 .. num_classes - 1``
    regression          ``[N]`` float32
    survival            ``[N, 2]`` float32: time in days, and 1 for an event or 0 for censoring
    tagging             ``[N, T]`` int32 classes, -1 where a sentence has ended
    language_modelling  ``[N, T]`` int32, the token that follows each input, -1 where there is none
    ==================  =======================================================================

    Attributes:
      name: registry name.
      inputs: ``[N, ...]`` in stored dtype (uint8 images stay uint8); token sequences are ``[N, T]`` integers.
      labels: the targets, see above.
      class_names: one name per class (tag, token); empty for regression and survival.
      clients: ``[N]`` int32 natural client of each example, or ``None`` where the data have none.
      client_names: names of the natural clients; empty where they are only numbered.
      preprocess: how a model reads the inputs; ``None`` as they are stored (tokens), and ``"standardise"`` by mean
        and standard deviation of each input column over the clients' training examples, found when the data are
        federated.
      source: where the bytes came from.
      licence: terms of the data.
      example_ids: ``[N]`` int64, row of each example in the source; ``None`` stands for ``0 .. N-1``.
      task: what is predicted.
      strata: ``[N]`` int32, the groups by which label-skewed partitions and stratified splits work; ``None`` takes the
        labels of a classification, and one stratum for all other tasks.
      strata_names: names of the strata; empty with ``strata`` ``None``.
      official_test: ``[N]`` bool, whether the data's authors set the example apart for testing; ``None`` where they
        did not, or where only one part was loaded.

    Raises:
      ValueError: arrays of unequal length, a label outside the classes, targets that are not finite, or a client or
        stratum without a name.
    """

    name: str
    inputs: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    clients: np.ndarray | None
    client_names: tuple[str, ...]
    preprocess: Preprocess | Literal["standardise"] | None
    source: str
    licence: str
    example_ids: np.ndarray | None = None
    task: Task = "classification"
    strata: np.ndarray | None = None
    strata_names: tuple[str, ...] = ()
    official_test: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"task: expected one of {', '.join(TASKS)}, got {self.task!r}")
        self._check_labels()
        for field in ("clients", "example_ids", "strata"):
            self._check_integers(field)
        _check_named("clients", self.clients, self.client_names, self.name)
        _check_named("strata", self.strata, self.strata_names, self.name)
        if self.official_test is not None and self.official_test.shape != (len(self),):
            raise ValueError(f"official_test: expected {len(self)} flags, got shape {self.official_test.shape}")

    def _check_integers(self, field: str) -> None:
        array = getattr(self, field)
        if array is not None and (array.shape != (len(self),) or not np.issubdtype(array.dtype, np.integer)):
            raise ValueError(f"{field}: expected {len(self)} integers, got shape {array.shape} of {array.dtype}")

    def _check_labels(self) -> None:
        n = len(self)
        if self.task in ("regression", "survival"):
            shape = (n,) if self.task == "regression" else (n, 2)
            if self.labels.shape != shape or not np.issubdtype(self.labels.dtype, np.floating):
                found = f"shape {self.labels.shape} of {self.labels.dtype}"
                raise ValueError(f"labels: expected {shape} floats for {self.task}, got {found}")
            if not np.isfinite(self.labels).all():
                raise ValueError(f"labels: expected finite targets for {self.name}, got NaN or infinity")
            return
        lowest = 0
        if self.task == "classification":
            self._check_integers("labels")
        else:
            lowest = -1
            if self.labels.shape != self.inputs.shape[:2] or not np.issubdtype(self.labels.dtype, np.integer):
                found = f"shape {self.labels.shape} of {self.labels.dtype}"
                raise ValueError(f"labels: expected {self.inputs.shape[:2]} integers, got {found}")
        if n and not lowest <= int(self.labels.min()) <= int(self.labels.max()) < self.num_classes:
            found = f"{self.labels.min()}..{self.labels.max()}"
            raise ValueError(f"labels: expected {lowest}..{self.num_classes - 1} for {self.name}, got {found}")

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 for regression and survival."""
        return len(self.class_names)

    @property
    def groups(self) -> np.ndarray:
        """The groups of label-skewed partitions and stratified splits, ``[N]`` integers; see ``strata``."""
        if self.strata is not None:
            return self.strata
        return self.labels if self.task == "classification" else np.zeros(len(self), np.int32)

    @property
    def group_names(self) -> tuple[str, ...]:
        """Names of the groups."""
        if self.strata is not None:
            return self.strata_names
        return self.class_names if self.task == "classification" else ("all",)


def _check_named(field: str, numbers: np.ndarray | None, names: tuple[str, ...], name: str) -> None:
    last = -1 if numbers is None else int(numbers.max(initial=-1))
    if names and last >= len(names):
        raise ValueError(f"{field}: expected ids below {len(names)} for {name}, got {last}")


def present_clients(numbers: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Renumber the clients without those that have no example.

    Args:
      numbers: ``[N]`` client of each example, by its place in ``names``.
      names: of all clients.

    Returns:
      ``[N]`` int32 numbers ``0 .. C-1``, and the C names, in their old order.
    """
    present, clients = np.unique(numbers, return_inverse=True)
    return clients.astype(np.int32), tuple(names[i] for i in present)
