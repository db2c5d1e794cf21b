"""Scorers, which turn a model's outputs into scores: one for each kind of task, pure functions on arrays.

A scorer (:class:`fedjax_layers.types.Scorer`) is a frozen dataclass, equal to any other with the same fields, so that
equal tasks share their compiled programs.
"""

from fedjax_layers.ops.metrics.classes import ClassScorer, confusion_matrix, scores_from_confusion
from fedjax_layers.ops.metrics.ranks import class_log_odds, rank_scores
from fedjax_layers.ops.metrics.survival import SurvivalScorer, concordance
from fedjax_layers.ops.metrics.targets import TargetScorer
from fedjax_layers.ops.metrics.tokens import TokenScorer, scores_from_hits

__all__ = [
    "ClassScorer",
    "SurvivalScorer",
    "TargetScorer",
    "TokenScorer",
    "class_log_odds",
    "concordance",
    "confusion_matrix",
    "rank_scores",
    "scores_from_confusion",
    "scores_from_hits",
]
