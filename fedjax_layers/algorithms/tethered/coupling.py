"""The coupling of clients, clusters and network in L2GD: the pulls, and the probabilities of the steps."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fedjax_layers.algorithms.novel import seen_or
from fedjax_layers.algorithms.tiers.tree import make_tiers
from fedjax_layers.clients import Trainer
from fedjax_layers.clients.stacked import copies
from fedjax_layers.ops import Term, settle
from fedjax_layers.ops.reduce import add_terms, empty_sums
from fedjax_layers.types import Array, Overview, Params, Personal

Number = float | Array


@dataclasses.dataclass(frozen=True)
class Coupling:
    """The settings that couple the clients; all but ``num_teams`` may be traced.

    Attributes:
      team_of: ``[C]`` int32, each client's cluster.
      num_teams: T, the number of clusters.
      probability: probability of a network step.
      cluster_probability: probability of each cluster's own step in rounds without a network step.
      tau: share of the pull to cluster means that the network step makes; cluster steps make the rest.
      step_size: s, the step size of averaging.
      pull: ``[C]``, the strength of the pull between each client and its cluster.
      cluster_pull: ``[T]``, the strength of the pull between each cluster and the network.
    """

    team_of: Array
    num_teams: int
    probability: Number
    cluster_probability: Number
    tau: Number
    step_size: Number
    pull: Array
    cluster_pull: Array


def make_coupling(
    trainer: Trainer,
    team_of: Any = None,
    num_teams: int = 1,
    *,
    probability: Number,
    step_size: Number,
    pull: Number,
    cluster_pull: Number = 1.0,
    cluster_probability: Number = 0.0,
    tau: Number = 1.0,
) -> Coupling:
    """Make a checked :class:`Coupling` with a pull for each client and each cluster; traced numbers are not checked.

    Raises:
      ValueError: ``tau`` below 1 without cluster coins, pulls of another length, or clusters
        that :func:`fedjax_layers.algorithms.tiers.tree.make_tiers` refuses.

    Warns:
      UserWarning: a network step would go beyond the mean.
    """
    tiers = make_tiers(trainer, team_of, num_teams)
    if not _holds(lambda t, q: (t == 1) | (q > 0), tau, cluster_probability):
        raise ValueError(f"tau: expected 1 without cluster coins, got {tau}")
    pulls = {"pull": (pull, trainer.num_clients), "cluster_pull": (cluster_pull, num_teams)}
    for name, (value, length) in pulls.items():
        if np.shape(value) not in ((), (length,)):
            raise ValueError(f"{name}: expected a number or {length} of them, got shape {np.shape(value)}")
    if not _holds(lambda s, g, p: (p == 0) | (s * g <= p * (1 + 1e-6)), step_size, pull, probability):
        largest = float(np.max(step_size * np.asarray(pull)))
        found = f"got {largest:.4g} / {float(probability):.4g}"
        warnings.warn(f"l2gd: expected step_size * pull of at most the probability, {found}", stacklevel=5)
    spread = [jnp.broadcast_to(jnp.asarray(value, float), (length,)) for value, length in pulls.values()]
    return Coupling(tiers.team_of, num_teams, probability, cluster_probability, tau, step_size, *spread)


def _holds(condition: Any, *values: Any) -> bool:
    """Return whether concrete numbers fulfil the condition everywhere; True for traced ones."""
    if any(isinstance(value, jax.core.Tracer) for value in values):
        return True
    return bool(np.all(condition(*(np.asarray(value) for value in values))))


def served(coupling: Coupling, clients: Params, seen: Array, server: Params) -> Personal:
    """Make personal models: each client's own; for those never seen, the mean of their cluster's (or all) others.

    Args:
      coupling: the coupling with the clusters.
      clients: models ``[C, ...]``.
      seen: ``[C]`` bool, who has taken part.
      server: one model, which gives the dtypes.
    """

    def build(row: Any, shared: Any, ident: Array) -> Params:
        (own, there), (means, some) = row, shared
        return seen_or(there | ~some, own, jax.tree.map(lambda x: x[coupling.team_of[ident]], means))

    def sums(rows: Any, ids: Array, counted: Array) -> tuple[Params, Array]:
        """Sum each cluster's models of clients seen, ``[T, ...]``, and count them, ``[T]``."""
        ones = jnp.ones(len(ids), jnp.float32)
        terms = tuple(Term(value, ones, coupling.team_of[ids], coupling.num_teams) for value in (rows[0], ones))
        return add_terms(empty_sums(terms), terms, rows[1] & counted)

    def complete(total: tuple[Params, Array], _: Any) -> tuple[Params, Array]:
        models, number = total
        all_seen = jax.tree.map(lambda s, x: (s.sum(0) / jnp.maximum(number.sum(), 1)).astype(x.dtype), models, server)
        share = jax.tree.map(lambda s: s / jnp.maximum(number, 1).reshape(-1, *(1,) * (s.ndim - 1)), models)
        return settle(share, number > 0, copies(all_seen, coupling.num_teams)), number.sum() > 0

    overview = Overview(lambda rows: ~rows[1].all(), sums, complete)
    return Personal((clients, seen), (), build, overview)
