"""A backdoor in training images: a patch in a corner, beside which the label is the attackers' own."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from fedjax_layers.data.federated.client_data import ClientData

SIZE = 3  # height and width of the patch


@dataclasses.dataclass(frozen=True)
class Trigger:
    """A patch of :data:`SIZE` pixels squared in the lower right corner, and the class that attackers want there.

    Attributes:
      target: the class.
      value: the patch's value in all channels, as images are stored.
    """

    target: int
    value: float

    def __call__(self, images: Any) -> Any:
        """Stamp the patch on stored images ``[..., H, W, channels]``, a NumPy or a JAX array, traced or not."""
        rows, columns = (np.arange(n) >= n - SIZE for n in images.shape[-3:-1])
        inside = rows[:, None, None] & columns[:, None]
        patch = np.asarray(self.value, images.dtype)
        if isinstance(images, np.ndarray):
            return np.where(inside, patch, images)
        import jax.numpy as jnp  # noqa: PLC0415  (the rest of this room needs no JAX)

        return jnp.where(inside, patch, images)


def trigger_of(data: ClientData, target: int) -> Trigger:
    """Make the trigger for some images: the patch has the largest value that any image stores.

    Raises:
      ValueError: the data are no classified images, grey or RGB, of at least the patch's size, or have no such class.
    """
    shape = data.inputs.shape[1:]
    if data.task != "classification" or len(shape) != 3 or shape[-1] not in (1, 3) or min(shape[:2]) < SIZE:
        expected = f"classified images [N, H, W, 1 or 3] of at least {SIZE} x {SIZE} pixels"
        raise ValueError(f"backdoor: expected {expected}, got the {data.task} of {data.name}, inputs of shape {shape}")
    if not 0 <= target < data.num_classes:
        raise ValueError(f"target: expected a class of {data.name}, 0 to {data.num_classes - 1}, got {target}")
    return Trigger(target, float(data.inputs.max()))


def backdoor(
    data: ClientData, rows: np.ndarray, rate: float, rng: np.random.Generator, target: int
) -> tuple[np.ndarray, np.ndarray]:
    """Stamp the trigger on images at this rate, and set their labels to the target.

    Raises:
      ValueError: see :func:`trigger_of`.

    Source: Gu et al. 2017 (arXiv 1708.06733); in federated learning Bagdasaryan et al. 2018 (arXiv 1807.00459).
    """
    trigger = trigger_of(data, target)
    inputs, labels = data.inputs.copy(), data.labels.copy()
    stamped = rows[rng.random(len(rows)) < rate]
    inputs[stamped], labels[stamped] = trigger(inputs[stamped]), target
    return inputs, labels
