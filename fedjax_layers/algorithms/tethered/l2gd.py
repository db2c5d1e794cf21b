"""L2GD, and AL2GD for known clusters: every client keeps a model that is pulled to the mean of the clients' models."""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import Ge, Le, Lt

from fedjax_layers.algorithms.factory import factory
from fedjax_layers.algorithms.tethered.coupling import make_coupling
from fedjax_layers.algorithms.tethered.l2gd_round import coupled_algorithm
from fedjax_layers.clients import Trainer
from fedjax_layers.options import Mark
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import (
    Algorithm,
)


@factory()
def l2gd(
    trainer: Trainer,
    *,
    probability: Annotated[Traced[float], Ge(0), Lt(1)] = 0.2,
    step_size: Annotated[Traced[float], Ge(0)] = 0.03,
    pull: Annotated[Traced[float], Ge(0), Mark.PER_CLIENT] = 1.0,
) -> Algorithm:
    """Minimise ``sum_c [f_c(theta_c) + pull/2 * ||theta_c - mean theta||^2]`` by local steps or a step to the mean.

    It is :func:`al2gd` with a single cluster and one coin, whose step sizes, absent clients and reports apply here too.
    In the paper's letters, s is alpha/n and the pull is lambda.

    Args:
      trainer: how each client trains in a round of local steps.
      probability: probability that a round averages instead of training; 0 is local training.
      step_size: step size s of the averaging. PerMFL's code has 0.03.
      pull: strength of the pull to the mean, per unit of squared distance; also one for each client ``[C]``. 0 is local
        training, of which a share of the rounds is skipped and the steps are larger.

    Returns:
      The algorithm; it offers every client's model, and as the global one the mean when it was last taken.

    Raises:
      ValueError: a number out of range.

    Warns:
      UserWarning: an averaging step goes beyond the mean.

    Source: Hanzely and Richtárik 2020, Algorithm 1.
    """
    coupling = make_coupling(trainer, probability=probability, step_size=step_size, pull=pull)
    return coupled_algorithm(trainer, coupling)._replace(teams=None)


@factory()
def al2gd(
    trainer: Trainer,
    *,
    team_of: Annotated[Any, Mark.FIELD] = None,
    num_teams: Annotated[int, Ge(1), Mark.FROM_DATA] = 4,
    probability: Annotated[Traced[float], Ge(0), Lt(1)] = 0.2,
    step_size: Annotated[Traced[float], Ge(0)] = 0.03,
    pull: Annotated[Traced[float], Ge(0), Mark.PER_CLIENT] = 1.0,
    cluster_pull: Annotated[Traced[float], Ge(0), Mark.PER_CLIENT] = 1.0,
    cluster_probability: Annotated[Traced[float], Ge(0), Lt(1)] = 0.0,
    tau: Annotated[Traced[float], Ge(0), Le(1)] = 1.0,
) -> Algorithm:
    """Run L2GD for known clusters: each client's model is pulled to its cluster's, and that to the network's.

    It minimises ``sum_c f_c(theta_c) + sum_j [sum_{c in j} g_c/2 ||theta_c - w_j||^2 + l_j/2 ||w_j - w||^2]`` with
    pulls ``g_c`` and cluster pulls ``l_j``. If all w are minimised out, cluster j's model is ``w_j = a_j m + (1 - a_j)
    m_j`` for ``a_j = l_j / (l_j + sum_j g_c)``, the cluster's mean ``m_j`` weighted by ``g_c``, and the network mean
    ``m`` weighted by ``a_j g_c``. A round flips one coin: with ``probability`` p all clients mix, ``theta_c <- (1 - s
    g_c / p) theta_c + (s g_c / p) w_j``; otherwise they train, with steps ``1 / (1 - p)`` as large.

    With ``cluster_probability`` q there are two coins, so that clusters average on their own. The network's step then
    makes only a share tau of the pull to ``m_j``; in rounds without it, a cluster's own coin makes the rest, a step of
    ``s g_c (1 - tau)(1 - a_j) / ((1 - p) q)`` towards ``m_j``, and the other clusters train, with steps ``1 / ((1 -
    p)(1 - q))`` as large. Either way the expected step is s times the gradient of the objective.

    The size s of a local step is the learning rate of the trainer's optimiser, whose updates are then scaled.
    ``step_size`` is that of averaging, and follows the trainer's ``learning_rate_factor``. The papers have plain SGD,
    one local step and equal rates; PerMFL's tables take L local steps. Clients that are absent from a round are left
    out of its objective, that is of means, weights and ``a_j``, so that a network step with one coin keeps the mean of
    those present. A client that never took part gets the mean of its cluster's other models, to which it would be
    pulled. A round of averaging reports loss 0, as it has no local steps, and ``trained`` scores of the models before
    averaging. The code behind PerMFL's AL2GD loses the second half of both averaging steps, so that models shrink to 0;
    this is not repeated here.

    Args:
      trainer: how each client trains in a round of local steps.
      team_of: ``[C]`` integers, each client's cluster; ``None`` makes consecutive ones of equal size up to one.
      num_teams: number of clusters.
      probability: probability of the network's coin.
      step_size: step size s of the averaging. PerMFL's code has 0.03.
      pull: strength of the pull between a client and its cluster, per unit of squared distance; also one for each
        client ``[C]``.
      cluster_pull: strength of the pull between clusters and network; also one for each cluster. With 0 clusters are on
        their own, and the global model stays where it is.
      cluster_probability: probability of the clusters' coins; 0 is the synchronous form with one coin.
      tau: share of the network step in the pull to cluster means; below 1 it needs the clusters' coins.

    Returns:
      The algorithm; it offers every client's model, the clusters' and the global one, both as last computed.

    Raises:
      ValueError: a number out of range, ``tau`` below 1 without cluster coins, or clusters that
        :func:`fedjax_layers.algorithms.tiers.tree.make_tiers` refuses.

    Warns:
      UserWarning: an averaging step goes beyond the mean.

    Source: Lyu, Hanzely and Kolar, arXiv 2204.13619.
    """
    coupling = make_coupling(
        trainer,
        team_of,
        num_teams,
        probability=probability,
        step_size=step_size,
        pull=pull,
        cluster_pull=cluster_pull,
        cluster_probability=cluster_probability,
        tau=tau,
    )
    return coupled_algorithm(trainer, coupling)
