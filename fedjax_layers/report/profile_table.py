"""The table of a layer profile: a row for each layer, a column for each metric."""

from __future__ import annotations

import math

from fedjax_layers.experiment.layer_profile.metrics import METRICS
from fedjax_layers.experiment.layer_profile.profile import LayerProfile
from fedjax_layers.report.fitted_table import Column, Fitted, fitted

_TITLES = {
    "gradient_variance": "gradient",
    "signal_to_noise": "signal",
    "update_cosine": "cosine",
    "hessian_trace": "trace",
    "top_eigenvalue": "eigenvalue",
    "linear_cka": "CKA",
    "procrustes": "angle",
    "weight_divergence": "distance",
}


def profile_table(profile: LayerProfile, width: int) -> Fitted:
    """Make the table of the means over clients, with what each column is under it.

    Args:
      profile: the profile.
      width: width of the terminal in characters.
    """
    columns = [Column("layer", profile.layers, left=True)]
    for place, (name, values) in enumerate(profile.means().items()):
        cells = [_cell(float(x)) for x in values]
        legend = f"{_TITLES[name]}: {name}, {METRICS[name].label}"
        columns.append(Column(_TITLES[name], cells, len(profile.values) - place, legend=legend))
    found = fitted(columns, width)
    told = f"Means over {len(profile.clients)} clients; layers from the input to the output."
    return Fitted(found.table, [told, *found.lines])


def _cell(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}"
