"""Synthetic(α, β): the generated data set of FedProx, whose clients differ in model (α) and in inputs (β)."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.packing import aligned_empty, slices
from fedjax_layers.data.preprocess import Preprocess
from fedjax_layers.data.tables.source import Outline, Source
from fedjax_layers.options import Mark, defaults_of

_FEATURES = 60
_MOST_CLIENTS = 1_000_000
_MOST_EXAMPLES = 2**31 - 1  # rows of the pool are int32; the memory may allow fewer
_CLASSES = 10
_CLIENTS_AT_ONCE = 1024  # bounds the weight matrices held at a time: 1024 x 60 x 10 floats
_ROWS_AT_ONCE = 8192  # bounds the copies of them, one per example


def _synthetic(
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    clients: Annotated[int, Mark.FIELD] = 30,
    seed: Annotated[int, Mark.FIELD] = 0,
    min_samples: int = 50,
    max_samples: int = 10_000,
    size_factor: int = 1,
) -> Dataset:
    """Generate Synthetic(α, β) of FedProx (Li et al. 2020, section 5.1), ``[N, 60]`` float32, ten classes.

    For client k: ``u_k ~ N(0, α)``, ``B_k ~ N(0, β)``; ``W_k ~ N(u_k, 1)`` and ``b_k ~ N(u_k, 1)``;
    ``v_k ~ N(B_k, 1)``, ``x ~ N(v_k, diag(j^-1.2))``, label ``argmax(W_k x + b_k)``; number of examples
    ``int(LogNormal(4, 2)) + 50``. As in the authors' generator, α and β are standard deviations (read as
    variances, the paper's other settings 0 and 1 mean the same).

    The lognormal is unbounded, so sizes are limited to ``max_samples``; about 0.5 % of the clients
    reach the default. ``min_samples == max_samples`` gives clients of one size.

    Args:
      alpha: spread of the clients' models, at least 0.
      beta: spread of the clients' inputs, at least 0.
      clients: C, number of clients.
      seed: seed of all draws.
      min_samples: number added to every client's lognormal size; the paper's 50.
      max_samples: largest number of examples of a client.
      size_factor: factor on the sizes before they are limited; PerMFL's released code has 5.

    Returns:
      The data set, ordered by client.

    Raises:
      ValueError: an argument out of range.
    """
    for name, spread in {"alpha": alpha, "beta": beta}.items():
        if not 0 <= spread < np.inf:
            raise ValueError(f"{name}: expected a finite number of at least 0, got {spread}")
    rng = np.random.default_rng(seed)
    sizes = _sizes(rng, clients, min_samples, max_samples, size_factor)
    model_mean = rng.normal(0.0, alpha, clients).astype(np.float32)
    input_mean = rng.normal(0.0, beta, clients).astype(np.float32)
    inputs, labels = _draw(rng, sizes, model_mean, input_mean)
    return Dataset(
        name="synthetic",
        inputs=inputs,
        labels=labels,
        class_names=tuple(str(c) for c in range(_CLASSES)),
        clients=np.repeat(np.arange(clients, dtype=np.int32), sizes),
        client_names=(),
        preprocess=Preprocess(),
        source=f"generated: FedProx Synthetic({alpha:g}, {beta:g}), {clients} clients, seed {seed}, "
        f"sizes {min_samples}..{max_samples} x {size_factor}",
        licence=SYNTHETIC.licence,
    )


def _sizes(rng: np.random.Generator, clients: int, min_samples: int, max_samples: int, size_factor: int) -> np.ndarray:
    """Draw the number of examples ``[C]`` of each client, before anything else is drawn."""
    for name, number in {"clients": clients, "min_samples": min_samples, "size_factor": size_factor}.items():
        if number < 1:
            raise ValueError(f"{name}: expected at least 1, got {number}")
    if clients > _MOST_CLIENTS:
        raise ValueError(f"clients: expected at most {_MOST_CLIENTS}, got {clients}")
    if max_samples < min_samples:
        raise ValueError(f"max_samples: expected at least min_samples={min_samples}, got {max_samples}")
    # Limited before the cast, since a float beyond int64 would wrap around.
    tail = np.minimum(rng.lognormal(4.0, 2.0, clients), max_samples).astype(np.int64)
    sizes = np.minimum((tail + min_samples) * size_factor, max_samples)
    if int(sizes.sum()) > _MOST_EXAMPLES:
        raise ValueError(f"clients: expected at most {_MOST_EXAMPLES} examples of all, got {sizes.sum()} of {clients}")
    return sizes


def _outline(**options: Any) -> Outline:
    """Make the outline of :func:`_synthetic`."""
    chosen = defaults_of(_synthetic) | options
    rng = np.random.default_rng(chosen["seed"])
    sizes = _sizes(rng, *(chosen[name] for name in ("clients", "min_samples", "max_samples", "size_factor")))
    return Outline(sizes, _synthetic(**chosen | {"clients": 1, "min_samples": 1, "max_samples": 1, "size_factor": 1}))


def _draw(
    rng: np.random.Generator, sizes: np.ndarray, model_mean: np.ndarray, input_mean: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draw inputs ``[N, 60]`` and labels ``[N]`` of all clients, a block of clients at a time."""
    ends = np.cumsum(sizes)
    inputs = aligned_empty((int(ends[-1]), _FEATURES), np.float32)  # aligned, so that federating moves rows in place
    labels = aligned_empty((int(ends[-1]),), np.int32)
    spread = (np.arange(1, _FEATURES + 1) ** -0.6).astype(np.float32)  # the root of the variances j^-1.2
    for first in range(0, len(sizes), _CLIENTS_AT_ONCE):
        block = slice(first, first + _CLIENTS_AT_ONCE)
        count = sizes[block]
        rows = slice(int(ends[block][0] - count[0]), int(ends[block][-1]))
        mean = model_mean[block]
        weight = rng.standard_normal((len(count), _FEATURES, _CLASSES), np.float32) + mean[:, None, None]
        bias = rng.standard_normal((len(count), _CLASSES), np.float32) + mean[:, None]
        centre = rng.standard_normal((len(count), _FEATURES), np.float32) + input_mean[block, None]
        owner = np.repeat(np.arange(len(count)), count)
        rng.standard_normal(out=inputs[rows], dtype=np.float32)
        for part in slices(len(owner), _ROWS_AT_ONCE):
            inputs[rows][part] = centre[owner[part]] + inputs[rows][part] * spread
        labels[rows] = _argmax(inputs[rows], owner, weight, bias)
    return inputs, labels


def _argmax(x: np.ndarray, owner: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Compute the label of each example under its owner's model, ``[n]`` int32."""
    labels = np.empty(len(x), np.int32)
    for rows in slices(len(x), _ROWS_AT_ONCE):
        who = owner[rows]
        logits = np.matmul(x[rows, None, :], weight[who])[:, 0] + bias[who]
        labels[rows] = logits.argmax(axis=1)
    return labels


SYNTHETIC = Source(
    name="synthetic",
    title="Synthetic(α, β), generated",
    task="classification",
    licence="generated",
    citation="T. Li et al., Federated Optimization in Heterogeneous Networks (MLSys 2020), section 5.1",
    build=_synthetic,
    outline=_outline,
    classes=_CLASSES,
    clients="generated client",
)
