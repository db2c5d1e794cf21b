"""Robust rules in place of the mean over clients, which bad clients that are few enough cannot move far.

All take ``rows`` with leaves ``[K, ...]`` and ``weight [K]``. A slot of weight 0 is absent: its row does not matter,
NaN included. Rows of present slots must be finite; where no slot is present the result means nothing.
"""

from fedjax_layers.ops.robust.centre import centred_clipping, geometric_median, norm_clipping
from fedjax_layers.ops.robust.krum import bulyan, krum, multi_krum
from fedjax_layers.ops.robust.order import coordinate_median, trimmed_mean
from fedjax_layers.ops.robust.rule import RULES, Rule, make_rule, most_bad

__all__ = [
    "RULES",
    "Rule",
    "bulyan",
    "centred_clipping",
    "coordinate_median",
    "geometric_median",
    "krum",
    "make_rule",
    "most_bad",
    "multi_krum",
    "norm_clipping",
    "trimmed_mean",
]
