"""Rules of participation: cohorts drawn inside the jitted round, or chosen between intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from fedjax_layers.engine.history.history import History
from fedjax_layers.types import Array, Cohort, Key, Pool, Ranges

Scheme = Literal["all", "uniform", "by_size", "fixed", "table"]
Select = Callable[[int, History], npt.ArrayLike]  # (rounds done, history) -> ids [K] of the next rounds


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sampling:
    """A rule for drawing cohorts, made by the functions below.

    Attributes:
      scheme: static; the name of the rule.
      size: static; K, the number of slots of every cohort.
      given: client ids, ``[K]`` for ``"fixed"``; ``[R, K]`` for ``"table"`` (a row per round, used again from the first
        when there are more rounds than rows; -1 is an empty slot); for ``"uniform"`` and ``"by_size"`` those that may
        be drawn, where ``()`` means all. It is traced, so that other members use the same program.
    """

    scheme: Scheme = dataclasses.field(metadata={"static": True})
    size: int = dataclasses.field(metadata={"static": True})
    given: Array | tuple[()] = ()


def usual_scored_model(sampling: Sampling | None) -> str:
    """Return which of a client's models is scored by default, ``"trained"`` or ``"served"``.

    It is ``"trained"`` where the same clients take part in every round. Otherwise it is ``"served"``, since only the
    served model exists for every client, whichever clients were drawn before an evaluation.
    """
    return "trained" if sampling is None or sampling.scheme in ("all", "fixed") else "served"


def all_clients(num_clients: int) -> Sampling:
    """Make the rule of full participation, in order, so that the store is neither gathered nor scattered."""
    return Sampling("all", _checked_size(num_clients, num_clients))


def uniform(size: int, num_clients: int, among: np.ndarray | None = None) -> Sampling:
    """Draw ``size`` different clients, every set equally likely, from all or from ``among``, ``[n]`` ids.

    Raises:
      ValueError: size below 1 or above the population, or an id out of range or given twice.
    """
    return _drawn("uniform", size, num_clients, among)


def by_size(size: int, num_clients: int, among: np.ndarray | None = None) -> Sampling:
    """Draw ``size`` different clients, one after another, with probability proportional to their training examples.

    Unless weights are given, their models are averaged with equal weights, since sizes already decided who is drawn.
    ``among`` are the ``[n]`` ids that may be drawn; ``None`` means all.

    Raises:
      ValueError: size below 1 or above the population, or an id out of range or given twice.
    """
    return _drawn("by_size", size, num_clients, among)


def _drawn(scheme: Scheme, size: int, num_clients: int, among: np.ndarray | None) -> Sampling:
    if among is None:
        return Sampling(scheme, _checked_size(size, num_clients))
    among = _checked_ids(np.asarray(among)[None], num_clients, lowest=0)[0]
    return Sampling(scheme, _checked_size(size, len(among)), jnp.asarray(among, jnp.int32))


def fixed(ids: np.ndarray, num_clients: int) -> Sampling:
    """Take the same clients every round: ids ``[K]``, -1 for an empty slot.

    Raises:
      ValueError: an id is out of range or given twice.
    """
    ids = _checked_ids(np.asarray(ids)[None], num_clients)[0]
    return Sampling("fixed", len(ids), jnp.asarray(ids, jnp.int32))


def by_table(ids: np.ndarray, num_clients: int) -> Sampling:
    """Take cohorts from a table ``[R, K]``, one per round; -1 leaves a slot empty.

    Raises:
      ValueError: the table has not two axes, or an id is out of range or given twice in a round.
    """
    ids = _checked_ids(np.asarray(ids), num_clients)
    return Sampling("table", ids.shape[1], jnp.asarray(ids, jnp.int32))


def power_of_choice(sizes: npt.ArrayLike, size: int, candidates: int | None = None, seed: int = 0) -> Select:
    """Make a rule for ``select`` that draws candidates and takes those with the highest loss.

    Args:
      sizes: ``[C]`` numbers of training examples; candidates are drawn in proportion to them, without replacement.
      size: K, the number of clients to choose.
      candidates: number of clients to draw as candidates; ``None`` draws all.
      seed: seed of the draws, each of which depends only on the seed and the rounds done.

    Returns:
      ``(rounds done, history) -> ids [K]``. The loss is that of each client's served model on its validation examples;
      clients without one come last. Before the first evaluation only the draw decides.

    Raises:
      ValueError: it does not hold that 1 <= size <= candidates <= the number of clients with training examples.

    Source: Cho, Wang and Joshi 2020 (arXiv 2010.01243), power-of-choice, there with losses on training examples.
    """
    weights = np.asarray(sizes, float)
    there = int((weights > 0).sum())
    drawn = there if candidates is None else candidates
    if not 1 <= size <= drawn <= there:
        raise ValueError(f"size, candidates: expected 1 <= size <= candidates <= {there}, got {size} and {drawn}")

    def select(done: int, history: History) -> np.ndarray:
        rng = np.random.default_rng([seed, done])
        ids = rng.choice(len(weights), drawn, replace=False, p=weights / weights.sum())
        losses = history.scores("served", "last", "val")
        if losses is None and done:
            raise ValueError("power_of_choice: expected 'served' among the evaluated models, got none")
        known = np.full(len(weights), np.nan) if losses is None else losses["loss"]
        return ids[np.argsort(np.where(np.isnan(known), np.inf, -known)[ids], kind="stable")[:size]]

    return select


def selected(select: Select, history: History, num_clients: int, slots: int | None = None) -> Sampling:
    """Call a rule to choose the cohort after ``history``; ``slots`` is the number of slots before, ``None`` at first.

    Raises:
      ValueError: the rule gives no integer ids ``[K]``, an id is out of range or given twice, or K has changed.
    """
    try:
        sampling = fixed(np.asarray(select(history.rounds_done, history)), num_clients)
    except ValueError as error:
        raise ValueError(f"select: {error}") from error
    if slots not in (None, sampling.size):
        raise ValueError(f"select: expected {slots} slots, as before the first interval, got {sampling.size}")
    return sampling


def check_weights(weights: np.ndarray, num_clients: int) -> np.ndarray:
    """Check aggregation weights ``[C]``; ``ValueError`` unless they are finite, not negative and not all 0."""
    weights = np.asarray(weights, float)
    if weights.shape != (num_clients,):
        raise ValueError(f"weights: expected shape ({num_clients},), got {weights.shape}")
    if not np.isfinite(weights).all():
        raise ValueError(f"weights: expected finite numbers, got {weights[~np.isfinite(weights)][0]}")
    if (weights < 0).any():
        raise ValueError(f"weights: expected none below 0, got {weights.min()}")
    if weights.sum() == 0:
        raise ValueError("weights: expected a positive sum, got 0")
    return weights


def draw_cohort(
    sampling: Sampling, key: Key, round_number: Array, train: Ranges, pool: Pool, weights: Array | None = None
) -> Cohort:
    """Draw the cohort of one round.

    Args:
      sampling: the rule.
      key: the round's key for drawing.
      round_number: ``[]`` int32, counted from 0.
      train: every client's training range ``[C]``.
      pool: the examples.
      weights: ``[C]`` aggregation weights; ``None`` takes the numbers of training examples.

    Returns:
      A cohort of ``sampling.size`` slots.
    """
    num = train.count.shape[0]
    sizes = train.count.astype(jnp.float32)
    if weights is None:
        weights = jnp.where(sizes > 0, 1.0, 0.0) if sampling.scheme == "by_size" else sizes
    if sampling.scheme == "all":
        return Cohort(jnp.arange(num, dtype=jnp.int32), weights, train, pool, in_order=True)
    if sampling.scheme in ("uniform", "by_size"):
        ids = _draw(sampling, key, sizes)
    elif sampling.scheme == "fixed":
        ids = jnp.asarray(sampling.given)
    else:
        table = jnp.asarray(sampling.given)
        ids = table[round_number % table.shape[0]]
    present = ids >= 0
    safe = jnp.maximum(ids, 0)
    rows = Ranges(train.start[safe], train.count[safe])
    return Cohort(safe, jnp.where(present, weights[safe], 0), rows, pool)


def _draw(sampling: Sampling, key: Key, sizes: Array) -> Array:
    """Draw ``[K]`` different ids of those that may be drawn."""
    among = jnp.arange(len(sizes), dtype=jnp.int32) if isinstance(sampling.given, tuple) else sampling.given
    if sampling.scheme == "uniform":
        place = jax.random.permutation(key, len(among))[: sampling.size]
    else:
        # Gumbel top-k is sequential drawing without replacement (Kool et al. 2019).
        place = jax.lax.top_k(jnp.log(sizes[among]) + jax.random.gumbel(key, among.shape), sampling.size)[1]
    return among[place]


def _checked_size(size: int, num_clients: int) -> int:
    if not 1 <= size <= num_clients:
        raise ValueError(f"cohort: expected 1 to {num_clients} clients, the population, got {size}")
    return int(size)


def _checked_ids(ids: np.ndarray, num_clients: int, lowest: int = -1) -> np.ndarray:
    if ids.ndim != 2 or ids.size == 0 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"cohort: expected integer ids [rounds, slots], got shape {ids.shape} of {ids.dtype}")
    if ids.min() < lowest or ids.max() >= num_clients:
        raise ValueError(f"cohort: expected ids 0 to {num_clients - 1}, got {ids.min()} to {ids.max()}")
    for row in ids:
        real = row[row >= 0]
        if len(np.unique(real)) != len(real):
            raise ValueError(f"cohort: expected different clients in a round, got {row.tolist()}")
    return ids
