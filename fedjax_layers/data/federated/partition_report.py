"""Reports on a partition: numbers per client, differences between clients, and a picture."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_layers.data.federated.client_data import ClientData

_LABELLED = 40  # largest number of clients or strata that get a tick label each


@dataclasses.dataclass(frozen=True)
class Skew:
    """Measures of the differences between clients.

    Attributes:
      smallest: number of examples of the smallest client.
      median: median number of examples.
      largest: number of examples of the largest client.
      strata_held: mean number of classes (strata) of which a client has examples.
      distance: mean total variation distance between a client's class shares and those of all clients together,
        weighted by examples: 0 where all are alike, towards 1 where each has classes of its own.
    """

    smallest: int
    median: float
    largest: int
    strata_held: float
    distance: float


def skew(counts: np.ndarray) -> Skew:
    """Compute the measures from ``counts [C, S]`` of :meth:`~fedjax_layers.data.ClientData.stratum_counts`."""
    sizes = counts.sum(1)
    shares = counts / np.maximum(sizes, 1)[:, None]
    together = counts.sum(0) / max(counts.sum(), 1)
    distance = 0.5 * np.abs(shares - together).sum(1)
    return Skew(
        smallest=int(sizes.min()),
        median=float(np.median(sizes)),
        largest=int(sizes.max()),
        strata_held=float((counts > 0).sum(1).mean()),
        distance=float((distance * sizes).sum() / max(sizes.sum(), 1)),
    )


def partition_facts(clients: ClientData) -> dict[str, Any]:
    """Return how the examples are split among the clients, for JSON: totals, distances, and an entry per client."""
    counts, strata = clients.stratum_counts(), list(clients.strata_names)
    per_client = [
        {
            "name": str(clients.client_names[c]) if len(clients.client_names) else str(c),
            "unseen": bool(clients.unseen[c]),
            "examples": {split: int(sizes[c]) for split, sizes in clients.sizes.items()},
            "strata": counts[c].tolist(),
        }
        for c in range(clients.num_clients)
    ]
    return {
        "data_set": clients.name,
        "task": clients.task,
        "partition": clients.partition,
        "partition_hash": clients.partition_hash,
        "global_test": clients.global_test,
        "skew": dataclasses.asdict(skew(counts)),
        "duplicates": dataclasses.asdict(clients.duplicates),
        "strata": strata,
        "clients": per_client,
    }


def plot_partition(data: ClientData, path: str | os.PathLike[str]) -> None:
    """Draw the classes of each client (a heat map of shares, a row per client) beside the sizes of its splits.

    Args:
      data: the federated data.
      path: path of the picture, whose ending decides the format.

    Raises:
      FileNotFoundError: there is no such folder.
      ValueError: matplotlib is not installed, or does not know the ending.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  (an extra of the package)
    except ImportError as error:
        raise ValueError("plot: expected matplotlib, found none; pip install fedjax-layers[plot]") from error
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"plot: expected a folder {path.parent}, found none")
    counts = data.stratum_counts()
    height = float(np.clip(1.5 + 0.22 * data.num_clients, 3, 12))
    width = float(np.clip(5 + 0.25 * counts.shape[1], 7, 14))
    figure = Figure(figsize=(width, height), layout="constrained")
    heat, bars = figure.subplots(1, 2, sharey=True, width_ratios=[2.5, 1])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    shown = np.ma.masked_equal(shares, 0)  # a share of 0 gets a colour of its own, outside the scale
    picture = heat.imshow(shown, aspect="auto", cmap="viridis", interpolation="nearest", vmin=0)
    heat.set_facecolor("0.93")
    scale = figure.colorbar(picture, ax=heat, location="top", pad=0.01, fraction=0.3 / height, aspect=40)
    scale.set_label("share of the client's examples", fontsize=8)
    scale.ax.tick_params(labelsize=7)
    heat.set(xlabel="class" if data.task == "classification" else "stratum", ylabel="client")
    if counts.shape[1] <= _LABELLED:
        heat.set_xticks(np.arange(counts.shape[1]), data.strata_names, rotation=45, ha="right", fontsize=7)
    if data.num_clients <= _LABELLED:
        names = data.client_names or tuple(str(c) for c in range(data.num_clients))
        heat.set_yticks(np.arange(data.num_clients), names, fontsize=7)
    left = np.zeros(data.num_clients)
    for split, colour in zip(data.ranges, ("#4c72b0", "#dd8452", "#55a868"), strict=True):
        bars.barh(np.arange(data.num_clients), data.sizes[split], left=left, label=split, color=colour, height=0.9)
        left += data.sizes[split]
    bars.set(xlabel="examples")
    bars.legend(fontsize=7, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, columnspacing=1)
    scheme = data.partition.get("scheme", "given")
    figure.suptitle(
        f"{data.name}, {scheme}, {data.num_clients} clients; partition {data.partition_hash[:12]}", fontsize=9
    )
    try:
        figure.savefig(path, dpi=110)
    except ValueError as error:
        raise ValueError(f"plot: {' '.join(str(error).split())[:200]}") from error
