"""Pure functions on pytrees of stacked clients; each can be used alone, jitted and vmapped.

Importing this package loads JAX, chex and optax, but neither Flax nor anything that reads files or draws pictures.
"""

from fedjax_layers.ops.average import masked_mean, weighted_mean
from fedjax_layers.ops.clients import ClientAxis, Visit, Visited, map_clients, visit_clients
from fedjax_layers.ops.collusion import colluding_updates
from fedjax_layers.ops.hyper import Hypernetwork, hypernetwork
from fedjax_layers.ops.layer_metrics import (
    gradient_variance,
    hessian_trace,
    linear_cka,
    procrustes,
    signal_to_noise,
    top_eigenvalue,
    update_cosine,
    weight_divergence,
)
from fedjax_layers.ops.layers import fill, layer_map, layer_sums, part, regroup, select
from fedjax_layers.ops.mix import SparseWeights, mix_layers, mix_pullback, top_weights
from fedjax_layers.ops.permfl import permfl_client_step, permfl_server_step, permfl_team_step
from fedjax_layers.ops.poison import poison_update
from fedjax_layers.ops.privacy import adapted_bound, add_noise, clip_update
from fedjax_layers.ops.prox import proximal_pull
from fedjax_layers.ops.reduce import Term, settle
from fedjax_layers.ops.robust import (
    Rule,
    bulyan,
    centred_clipping,
    coordinate_median,
    geometric_median,
    krum,
    make_rule,
    multi_krum,
    norm_clipping,
    trimmed_mean,
)
from fedjax_layers.ops.segment import segment_mean
from fedjax_layers.ops.sensitivity import federation_sensitivity, prefix_mask, transition_point
from fedjax_layers.ops.update import block_score, top_k_mask, update_score

__all__ = [
    "ClientAxis",
    "Hypernetwork",
    "Rule",
    "SparseWeights",
    "Term",
    "Visit",
    "Visited",
    "adapted_bound",
    "add_noise",
    "block_score",
    "bulyan",
    "centred_clipping",
    "clip_update",
    "colluding_updates",
    "coordinate_median",
    "federation_sensitivity",
    "fill",
    "geometric_median",
    "gradient_variance",
    "hessian_trace",
    "hypernetwork",
    "krum",
    "layer_map",
    "layer_sums",
    "linear_cka",
    "make_rule",
    "map_clients",
    "masked_mean",
    "mix_layers",
    "mix_pullback",
    "multi_krum",
    "norm_clipping",
    "part",
    "permfl_client_step",
    "permfl_server_step",
    "permfl_team_step",
    "poison_update",
    "prefix_mask",
    "procrustes",
    "proximal_pull",
    "regroup",
    "segment_mean",
    "select",
    "settle",
    "signal_to_noise",
    "top_eigenvalue",
    "top_k_mask",
    "top_weights",
    "transition_point",
    "trimmed_mean",
    "update_cosine",
    "update_score",
    "visit_clients",
    "weight_divergence",
    "weighted_mean",
]
