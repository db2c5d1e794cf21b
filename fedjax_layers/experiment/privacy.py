"""What a run with differential privacy promises: epsilon and delta by an accountant, and the refusal of other runs."""

from __future__ import annotations

import logging
import math
from typing import Any

import jax
import jax.numpy as jnp

from fedjax_layers.algorithms import registry
from fedjax_layers.data import ClientData
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.options import renamed
from fedjax_layers.types import Algorithm, Cohort, Pool, Ranges, Task


def refuse_without_privacy(
    config: RunConfig, task: Task, algorithm: Algorithm, clients: ClientData, slots: int
) -> None:
    """Raise ``ValueError`` where a run asks for a privacy that it would not have, before anything is computed.

    ``slots`` is K, the clients of a round.
    """
    if config.dp_noise is None:
        return
    if not registry[config.algorithm].averages:
        raise ValueError(f"dp_noise: expected none for {config.algorithm}, whose clients send nothing")
    if config.weighting != "uniform":
        raise ValueError("dp_noise: expected --weighting uniform, as all clients must count alike, got examples")
    if config.cohort is not None and config.sampling != "uniform":
        raise ValueError(f"dp_noise: expected --sampling uniform, got {config.sampling}")
    if config.nonfinite == "keep":
        raise ValueError("dp_noise: expected --nonfinite exclude or stop, as noise hides no NaN, got keep")
    epsilon_import()
    one = [jnp.zeros((1, *x.shape[1:]), x.dtype) for x in (clients.inputs, clients.labels)]
    zeros = jnp.zeros(slots, jnp.int32)
    cohort = Cohort(zeros, jnp.ones(zeros.shape), Ranges(zeros, zeros), Pool(*one))

    def round_(key: Any) -> Any:
        return algorithm.round(key, algorithm.init(key, task.init(key)), cohort)

    with renamed({"noise": "dp_noise"}):
        jax.eval_shape(round_, jax.random.key(0))  # raises for an algorithm whose clients send more than updates


def epsilon_import() -> Any:
    """Import the accountant.

    Raises:
      ValueError: the optional package is not installed.
    """
    try:
        import dp_accounting  # noqa: PLC0415  (optional)
        from dp_accounting import rdp  # noqa: PLC0415
    except ImportError as error:
        raise ValueError(
            "dp_noise: expected the package dp-accounting, as fedjax_layers[privacy] installs it"
        ) from error
    return dp_accounting, rdp


def guarantee(config: RunConfig, clients: ClientData, rounds: int) -> dict[str, Any] | None:
    """Make the part ``privacy`` of ``summary.json``: epsilon and delta of the rounds done; ``None`` without privacy.

    With all clients in every round, neighbouring federations differ in one client's update, which is zero in one of
    them: its norm is at most the bound, and ``dp_noise`` is the noise multiplier. With a cohort of fixed size drawn
    without replacement they differ in one client that is replaced by another: the sum may change by twice the bound,
    so that the multiplier is half of ``dp_noise``. Epsilon is that of Rényi differential privacy, composed over rounds.

    Args:
      config: the config.
      clients: the data, for the number of clients that take part.
      rounds: number of rounds done.

    Source: Mironov 2017, arXiv 1702.07476; Wang, Balle and Kasiviswanathan 2019, arXiv 1808.00087, for sampling without
      replacement; the package dp-accounting computes both.
    """
    if config.dp_noise is None:
        return None
    accounting, rdp = epsilon_import()
    taking_part = int((~clients.unseen).sum())
    delta = taking_part**-1.1 if config.dp_delta is None else config.dp_delta
    relation = accounting.NeighboringRelation
    sampled = config.cohort is not None and config.cohort < taking_part
    told = {"delta": delta, "noise": config.dp_noise, "adjacency": "replace one" if sampled else "add or remove one"}
    if config.dp_noise == 0:
        return told | {"epsilon": None}
    event = accounting.GaussianDpEvent(config.dp_noise / 2 if sampled else config.dp_noise)
    if sampled:
        event = accounting.SampledWithoutReplacementDpEvent(taking_part, config.cohort, event)
    which = relation.REPLACE_ONE if sampled else relation.REPLACE_SPECIAL
    accountant = rdp.RdpAccountant(neighboring_relation=which)
    logging.getLogger("absl").setLevel(logging.ERROR)  # it warns of orders that it leaves out
    accountant.compose(event, rounds)
    epsilon = float(accountant.get_epsilon(delta))
    return told | {"epsilon": epsilon if math.isfinite(epsilon) else None}
