"""``fedjax_layers.layer_profile``: all metrics of the layers of one model, or of each client's own."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from fedjax_layers.data import ClientData
from fedjax_layers.engine.history.frame import data_frame
from fedjax_layers.experiment.layer_profile.examples import draw_examples
from fedjax_layers.experiment.layer_profile.measure import Asked, measure
from fedjax_layers.experiment.layer_profile.metrics import chosen_metrics
from fedjax_layers.experiment.layer_profile.saved import saved_models
from fedjax_layers.ops.checks import model_leaves
from fedjax_layers.options import unknown_name
from fedjax_layers.types import Batch, LayerMap, Params, Task

ROWS = ("layers", "clients")


@dataclasses.dataclass(frozen=True)
class LayerProfile:
    """The metrics of the layers of a model.

    Attributes:
      layers: names of the layers ``[L]``, in the order of the forward pass.
      clients: names of the clients ``[K]``.
      values: by metric, ``[K, L]`` for a number of each client, or ``[L]`` for one of all clients together.
    """

    layers: tuple[str, ...]
    clients: tuple[str, ...]
    values: Mapping[str, np.ndarray]

    def means(self) -> dict[str, np.ndarray]:
        """Return a number for each layer by metric, ``[L]``: the mean over the clients that have one."""
        return {name: x if x.ndim == 1 else _mean(x) for name, x in self.values.items()}

    def to_frame(self, rows: str = "layers") -> Any:
        """Return the metrics as a ``pandas.DataFrame``, which needs pandas.

        Args:
          rows: ``"layers"``, a row for each layer: ``depth`` from 1, ``layer``, and each metric, as the mean over the
            clients; or ``"clients"``, a row for each client and layer: ``client``, ``depth``, ``layer``, and each
            metric that clients have.

        Raises:
          ValueError: ``rows`` is neither.
          ImportError: pandas is not installed.
        """
        if rows not in ROWS:
            raise unknown_name("rows", rows, ROWS)
        depth = np.arange(1, len(self.layers) + 1)
        if rows == "layers":
            return data_frame({"depth": depth, "layer": list(self.layers), **self.means()})
        clients = len(self.clients)
        columns = {"client": np.repeat(self.clients, len(self.layers)), "depth": np.tile(depth, clients)}
        columns["layer"] = np.tile(self.layers, clients)
        return data_frame(columns | {name: x.reshape(-1) for name, x in self.values.items() if x.ndim == 2})

    def __repr__(self) -> str:
        names = ", ".join(self.values)
        return f"LayerProfile({len(self.layers)} layers, {len(self.clients)} clients: {names})"


def layer_profile(
    task: Task,
    models: Params | str | os.PathLike[str],
    data: ClientData,
    metrics: Sequence[str] | None = None,
    *,
    layers: Sequence[str] | None = None,
    examples: int = 32,
    samples: int = 10,
    iterations: int = 10,
    seed: int = 0,
) -> LayerProfile:
    """Compute metrics of each layer: of its gradient, its curvature, its weights, and what clients represent with it.

    Gradients and curvature are those of each client's loss on its own training examples, with dropout off and the
    running statistics of norms held fixed; between clients, a gradient stands for the update of one step. Weights and
    representations are compared only where each client has a model. The second call with the same task compiles
    nothing.

    Args:
      task: the task, of a model of any kind.
      models: one model for all clients; a model of each client, stacked ``[C, ...]``; or a run directory with saved
        models, of which those of the clients are taken, or else the global one; or one of its ``.safetensors`` files.
      data: the clients' data.
      metrics: names among ``gradient_variance``, ``signal_to_noise``, ``update_cosine``, ``hessian_trace``,
        ``top_eigenvalue``, ``linear_cka``, ``procrustes`` and ``weight_divergence``, which are functions of
        :mod:`fedjax_layers.ops`; ``None`` takes all that the models have.
      layers: names of the layers to be shown; ``None`` means all.
      examples: number of training examples of each client, or all that it has if they are fewer; and of those, drawn
        from all clients in equal shares, on which representations are compared.
      samples: number of random vectors for each trace.
      iterations: number of products with the Hessian for each eigenvalue.
      seed: of the examples that are drawn, and of the random vectors.

    Returns:
      The profile. A client without training examples has NaN for gradients and curvature.

    Raises:
      ValueError: an unknown metric or layer; a metric that compares models of clients where there is one model; models
        that do not fit the task or the data; a folder without saved models; a layer without representations; or a
        number that is too small.
    """
    if isinstance(models, str | os.PathLike):
        models = saved_models(models, task.layers)
    stacked = _is_stacked(models, task.layers, data.num_clients)
    asked = Asked(chosen_metrics(metrics, stacked=stacked), stacked, samples, iterations)
    names = tuple(task.layers.names) if layers is None else tuple(layers)
    for name in names:
        if name not in task.layers.names:
            raise unknown_name("layers", name, task.layers.names)
    drawn = draw_examples(data, examples, seed)
    batches = Batch(*(jax.numpy.asarray(x) for x in (drawn.inputs, drawn.labels, drawn.mask)))
    found = measure(task, asked, jax.tree.map(jax.numpy.asarray, models), batches, drawn.probe, jax.random.key(seed))
    places = [task.layers.names.index(name) for name in names]
    values = {name: np.asarray(found[name])[..., places] for name in asked.metrics}
    return LayerProfile(names, tuple(data.client_name(client) for client in range(data.num_clients)), values)


def _is_stacked(models: Params, layers: LayerMap, clients: int) -> bool:
    """Return whether there is a model for each client; refuse what is neither that nor one model."""
    leaves = model_leaves(models, layers, "models")
    shapes = [tuple(np.shape(x)) for x in leaves]
    if shapes == list(layers.leaf_shapes):
        return False
    for path, shape, found in zip(layers.leaf_paths, layers.leaf_shapes, shapes, strict=True):
        if found != (clients, *shape):
            expected = f"shape {shape}, or {(clients, *shape)} for {clients} clients"
            raise ValueError(f"models at {path!r}: expected {expected}, found {found}")
    return True


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over clients ``[L]`` of ``[K, L]``, without those that have NaN."""
    there = ~np.isnan(values)
    number = there.sum(0)
    total = np.where(there, values, 0).sum(0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)
