"""The amount of a client's training in a round: epochs or steps, one number for all clients or one for each."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.types import Array

Epochs = int | float | tuple[float, ...]
Steps = int | tuple[int, ...] | Array

_FINEST = 1000  # largest denominator of a fraction of an epoch, so that step counts are exact in 32-bit integers


def as_epochs(name: str, value: Any, num_clients: int | None) -> Epochs:
    """Check epochs: return a number, or a tuple with one per client ``[C]``, of any length while C is unknown.

    Raises:
      ValueError: their number is not C, one is not positive and finite, or one is traced: the number of shuffled orders
        is fixed when the program is compiled.
    """
    if isinstance(value, jax.core.Tracer):
        raise ValueError(f"{name}: expected numbers known before the run is compiled, got a traced {value.aval}")
    amount = _amount(name, value, num_clients)
    for one in amount if isinstance(amount, tuple) else (amount,):
        if not (math.isfinite(one) and one > 0):
            raise ValueError(f"{name}: expected a positive number, got {one}")
    whole = [int(one) if one == int(one) else one for one in (amount if isinstance(amount, tuple) else (amount,))]
    return tuple(whole) if isinstance(amount, tuple) else whole[0]


def as_steps(name: str, value: Any, num_clients: int | None) -> Steps:
    """Check steps: return an integer, or a tuple with one per client ``[C]``; traced ones ``[]`` or ``[C]`` unchanged.

    Raises:
      ValueError: their number is not C, or one is no integer of at least 1.
    """
    if isinstance(value, jax.core.Tracer):
        if not _one_or_each(value.shape, num_clients) or not jnp.issubdtype(value.dtype, jnp.integer):
            raise ValueError(f"{name}: expected an integer, or one for each of {_who(num_clients)}, got {value.aval}")
        return value
    amount = _amount(name, value, num_clients)
    for one in amount if isinstance(amount, tuple) else (amount,):
        if one != int(one) or one < 1:
            raise ValueError(f"{name}: expected an integer of at least 1, got {one}")
    return tuple(int(one) for one in amount) if isinstance(amount, tuple) else int(amount)


def largest(amount: Epochs) -> int:
    """Return the largest client's epochs, rounded up."""
    return math.ceil(max(amount) if isinstance(amount, tuple) else amount)


def per_client(amount: Epochs | Steps | None) -> bool:
    """Return whether each client has a number of its own; static."""
    return isinstance(amount, tuple) or jnp.ndim(0 if amount is None else amount) > 0


def steps_of(steps: Steps, count: int | Array, client: int | Array | None) -> int | Array:
    """Return the steps of a client whose work is given in steps; 0 without examples."""
    own: Any = np.asarray(steps) if isinstance(steps, tuple) else steps
    own = _row(own, client) if per_client(steps) else own
    if isinstance(count, int) and isinstance(own, int):
        return own * (count > 0)
    return jnp.where(jnp.asarray(count) > 0, jnp.asarray(own, jnp.int32), 0)


def steps_of_epochs(epochs: Epochs, per_epoch: int | Array, client: int | Array | None) -> int | Array:
    """Return the steps of a client whose work is given in epochs of ``per_epoch`` batches.

    A fraction of an epoch is that fraction of its batches, rounded half up; a client with examples takes at least one
    step.
    """
    if not isinstance(epochs, tuple):
        return _steps_of(*_parts(epochs), per_epoch)
    whole, top, bottom = (_row(np.array(column), client) for column in zip(*map(_parts, epochs), strict=True))
    return _steps_of(whole, top, bottom, per_epoch)


def _parts(epochs: float) -> tuple[int, int, int]:
    """Split epochs into whole ones, and the numerator and denominator of the rest."""
    whole, part = divmod(Fraction(epochs).limit_denominator(_FINEST), 1)
    return int(whole), part.numerator, part.denominator


def _steps_of(whole: Any, top: Any, bottom: Any, per_epoch: int | Array) -> int | Array:
    if isinstance(top, int) and top == 0:
        return whole * per_epoch
    steps = whole * per_epoch + (2 * top * per_epoch + bottom) // (2 * bottom)
    if isinstance(steps, int):
        return max(steps, min(per_epoch, 1))
    return jnp.maximum(steps, jnp.minimum(jnp.asarray(per_epoch), 1)).astype(jnp.int32)


def _row(amounts: np.ndarray | Array, client: int | Array | None) -> Any:
    if client is None:
        raise ValueError("client: expected the client's number where each has its own work, got None")
    if isinstance(client, int) and isinstance(amounts, np.ndarray):
        return int(amounts[client])
    return jnp.asarray(amounts, jnp.int32)[client]


def _amount(name: str, value: Any, num_clients: int | None) -> float | tuple[float, ...]:
    """Return a number, or a tuple of ``num_clients`` numbers."""
    numbers = np.asarray(value)
    if not _one_or_each(numbers.shape, num_clients) or numbers.dtype.kind not in "iuf":
        listed = numbers.ndim == 1 and numbers.dtype.kind in "iuf"
        found = f"{len(numbers)} of them" if listed else repr(value)
        raise ValueError(f"{name}: expected a number, or one for each of {_who(num_clients)}, got {found}")
    return tuple(numbers.tolist()) if numbers.ndim else numbers.item()


def _one_or_each(shape: tuple[int, ...], num_clients: int | None) -> bool:
    return not shape or (len(shape) == 1 and num_clients in (None, shape[0]))


def _who(num_clients: int | None) -> str:
    return "the clients" if num_clients is None else f"{num_clients} clients"
