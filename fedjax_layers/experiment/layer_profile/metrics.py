"""The metrics of a layer profile: their names, what they are computed from, and the check of names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from fedjax_layers.options import unknown_name

Needs = Literal["gradients", "curvature", "models", "representations"]


class Metric(NamedTuple):
    """A metric of layers.

    Attributes:
      needs: what it is computed from; of a single model there are only gradients and curvature.
      per_client: whether there is a number for each client and layer, and not for each layer alone.
      label: what it is, in a few words, with its unit if it has one.
    """

    needs: Needs
    per_client: bool
    label: str


METRICS = {
    "gradient_variance": Metric("gradients", True, "variance of the gradient's entries"),
    "signal_to_noise": Metric("gradients", False, "signal-to-noise of gradients across clients"),
    "update_cosine": Metric("gradients", False, "mean cosine of two clients' gradients"),
    "hessian_trace": Metric("curvature", True, "trace of the Hessian"),
    "top_eigenvalue": Metric("curvature", True, "largest eigenvalue of the Hessian"),
    "linear_cka": Metric("representations", True, "linear CKA with the other clients"),
    "procrustes": Metric("representations", True, "Procrustes angle to the other clients (rad)"),
    "weight_divergence": Metric("models", True, "relative distance from the clients' mean"),
}


def chosen_metrics(asked: Sequence[str] | None, *, stacked: bool) -> tuple[str, ...]:
    """Return the metrics that are computed, in the order of :data:`METRICS`.

    Args:
      asked: names; ``None`` asks for all that the models have.
      stacked: whether each client has a model of its own.

    Raises:
      ValueError: an unknown name, none at all, or one that compares models where there is only one.
    """
    possible = [name for name, one in METRICS.items() if stacked or one.needs in ("gradients", "curvature")]
    if asked is None:
        return tuple(possible)
    if isinstance(asked, str):
        raise ValueError(f"metrics: expected a list of names, got {asked!r}")
    for name in asked:
        if name not in METRICS:
            raise unknown_name("metrics", name, METRICS)
        if name not in possible:
            raise ValueError(f"metrics: expected a model for each client for {name!r}, got one model for all")
    if not asked:
        raise ValueError("metrics: expected at least one name, got none")
    return tuple(name for name in METRICS if name in asked)
