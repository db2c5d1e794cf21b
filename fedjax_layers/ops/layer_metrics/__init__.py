"""What a layer tells: gradients, curvature, distances between clients, and how alike their representations are."""

from fedjax_layers.ops.layer_metrics.curvature import hessian_trace, top_eigenvalue
from fedjax_layers.ops.layer_metrics.gradients import gradient_variance, signal_to_noise, update_cosine
from fedjax_layers.ops.layer_metrics.similarity import linear_cka, procrustes
from fedjax_layers.ops.layer_metrics.weights import weight_divergence

__all__ = [
    "gradient_variance",
    "hessian_trace",
    "linear_cka",
    "procrustes",
    "signal_to_noise",
    "top_eigenvalue",
    "update_cosine",
    "weight_divergence",
]
