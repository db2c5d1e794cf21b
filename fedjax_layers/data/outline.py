"""Outlines of generated data: their shapes and sizes, known before they are generated."""

from __future__ import annotations

from typing import Any

import numpy as np

from fedjax_layers.data.federated.client_data import ClientData, ranges_of
from fedjax_layers.data.federated.federate import unseen_flags
from fedjax_layers.data.federated.splits import split_counts
from fedjax_layers.data.loading import data_set_options, load
from fedjax_layers.data.packing import frozen
from fedjax_layers.data.sources import DATASETS
from fedjax_layers.options import defaults_of, options_of

_CHANGE_NO_SIZE = ("stratified", "in_order", "split_seed", "official_test")


def outline_clients(
    name: str, *, partition: str | None = None, clients: int | None = None, seed: int = 0, **options: Any
) -> ClientData | None:
    """Make the result of :func:`~fedjax_layers.data.load` without examples: all of them are one shared entry.

    Args:
      name: a key of ``DATASETS``.
      partition: see ``load``.
      clients: number of clients.
      seed: seed of a generated data set.
      **options: the other arguments of ``load``.

    Returns:
      Data that take no memory, with the shapes, types and sizes of the real ones; ``None`` where these are known only
      from the data.

    Raises:
      ValueError: an option is out of range.
    """
    source = DATASETS.get(name)
    if source is None or source.outline is None or partition not in (None, "natural"):
        return None
    own, usual = options_of(source.build), defaults_of(load)
    chosen = data_set_options(name, options, partition, clients, seed)
    rest = {key: value for key, value in options.items() if key.rpartition(".")[2] not in own}
    splits = {key: rest.pop(key, usual[key]) for key in ("test_fraction", "val_fraction", "unseen")}
    if any(key not in usual or (value != usual[key] and key not in _CHANGE_NO_SIZE) for key, value in rest.items()):
        return None
    outline = source.outline(**chosen)
    sample, counts = outline.sample, split_counts(outline.sizes, splits["test_fraction"], splits["val_fraction"])
    total = int(counts.sum())
    labels = _repeated(sample.labels, total)
    split_seed = rest.get("split_seed", usual["split_seed"])
    return ClientData(
        inputs=_repeated(sample.inputs, total),
        labels=labels,
        example_ids=_repeated(np.zeros(1, np.int64), total),
        ranges=ranges_of(counts),
        num_classes=sample.num_classes,
        class_names=sample.class_names,
        client_names=(),
        name=name,
        preprocess=None if sample.preprocess == "standardise" else sample.preprocess,
        partition={"scheme": "natural"},
        task=sample.task,
        strata=labels,
        strata_names=sample.group_names,
        global_test=0,
        unseen=frozen(unseen_flags(splits["unseen"], len(outline.sizes), split_seed)),
        teams=None,
    )


def _repeated(array: np.ndarray, times: int) -> np.ndarray:
    """Repeat the first entry of ``array``, ``[times, ...]``, without copying it."""
    first = array.reshape(-1)[:1].reshape((1,) * array.ndim)
    return np.broadcast_to(first, (times, *array.shape[1:]))
