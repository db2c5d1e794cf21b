"""Bad data: some clients train on noisy or wrong examples, while all are tested on correct ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from fedjax_layers.data.changes.backdoor import backdoor
from fedjax_layers.data.federated.client_data import ClientData
from fedjax_layers.data.federated.leaks import range_rows
from fedjax_layers.data.text.vocabulary import PAD_ID
from fedjax_layers.options import unknown_name

Corrupt = Callable[[ClientData, np.ndarray, float, np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def corrupt(data: ClientData, bad: np.ndarray, kind: str, rate: float, seed: int, target: int = 0) -> ClientData:
    """Give some clients bad training examples.

    Validation and test examples stay as they are.

    Args:
      data: the federated data.
      bad: ``[C]`` bool, the clients that get bad examples.
      kind: a key of :data:`CORRUPTIONS`.
      rate: share of tokens, labels or images that change, 0 to 1.
      seed: seed of the changes.
      target: the class of a backdoor; other kinds do not use it.

    Returns:
      The data with changed arrays.

    Raises:
      ValueError: an unknown kind, one that does not fit the data, a rate out of range, or flags for other clients.
    """
    if kind not in CORRUPTIONS:
        raise unknown_name("corruption", kind, CORRUPTIONS)
    if not 0 <= rate <= 1:
        raise ValueError(f"rate: expected 0 to 1, got {rate}")
    if bad.shape != (data.num_clients,):
        raise ValueError(f"bad: expected a flag for each of {data.num_clients} clients, got shape {bad.shape}")
    start, count = data.ranges["train"]
    rows = range_rows(start[bad].astype(np.int64), count[bad].astype(np.int64))
    inputs, labels = CORRUPTIONS[kind](data, rows, rate, np.random.default_rng(seed), target)
    return dataclasses.replace(data, inputs=inputs, labels=labels)


def token_noise(
    data: ClientData, rows: np.ndarray, rate: float, rng: np.random.Generator, target: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Replace tokens at this rate by tokens drawn from the whole vocabulary; padding stays.

    In language modelling, the input and target of a window are one text, which is made noisy once, so that the target
    after a noisy token is the next token of the noisy text. Labels of other tasks stay.

    Raises:
      ValueError: the inputs are no token numbers.

    Source: the token noise of FedTLU's experiments.
    """
    del target
    if data.preprocess is not None or not np.issubdtype(data.inputs.dtype, np.integer):
        raise ValueError(f"corruption: expected token numbers for 'token_noise', got the quantities of {data.name}")
    inputs, labels = data.inputs.copy(), data.labels.copy()
    text = inputs[rows].astype(np.int64)
    language = data.task == "language_modelling"
    if language:  # the text is the first input, and all targets
        text = np.concatenate([text[:, :1], labels[rows]], axis=1)
    size = data.num_classes if language else int(data.inputs.max(initial=PAD_ID)) + 1
    real = (text != PAD_ID) & (text >= 0)  # after the end of a document there is padding, or no target
    noise = rng.integers(PAD_ID + 1, max(size, PAD_ID + 2), text.shape)
    text = np.where(real & (rng.random(text.shape) < rate), noise, text)
    if not language:
        inputs[rows] = text
        return inputs, labels
    inputs[rows] = np.where(labels[rows] >= 0, text[:, :-1], inputs[rows])  # the last token is only a target
    labels[rows] = text[:, 1:]
    return inputs, labels


def label_flip(
    data: ClientData, rows: np.ndarray, rate: float, rng: np.random.Generator, target: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Change labels y to ``S - 1 - y``, of S classes, at this rate, except where nothing is to be predicted.

    Raises:
      ValueError: the labels are no classes.
    """
    del target
    if not data.class_names:
        raise ValueError(f"corruption: expected classes for 'label_flip', got the {data.task} of {data.name}")
    labels = data.labels.copy()
    own = labels[rows]
    flipped = (own >= 0) & (rng.random(own.shape) < rate)
    labels[rows] = np.where(flipped, data.num_classes - 1 - own.astype(np.int64), own)
    return data.inputs, labels


CORRUPTIONS: dict[str, Corrupt] = {"token_noise": token_noise, "label_flip": label_flip, "backdoor": backdoor}
"""The functions ``(data, rows [M], rate, rng, target) -> (inputs [N, ...], labels [N, ...])`` by name."""
