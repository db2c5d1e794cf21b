"""The names of a run's scores: which there are, which are better when lower, and by which one models are compared."""

from __future__ import annotations

from collections.abc import Iterable

from fedjax_layers.ops.metrics import SurvivalScorer, TargetScorer, TokenScorer
from fedjax_layers.ops.metrics.classes import BY_CLASS, COUNTED, RANKED
from fedjax_layers.options import unknown_name

EVALUATED_MODELS = ("served", "trained")  # of clients' own models
SHARED = ("global", "team")  # models of several clients: what they score comes from one round
SCORED = (*EVALUATED_MODELS, *SHARED)
SCORED_ROUNDS = ("last", "best")


METRICS = (*COUNTED, *RANKED, "loss")
"""The scores of classes, in the order in which to report them."""

LANGUAGE_METRICS = TokenScorer.names
"""The scores of a language model, of predicted tokens."""

REGRESSION_METRICS = TargetScorer.names
"""The scores of a regression."""

SURVIVAL_METRICS = SurvivalScorer.names
"""The scores of a survival model."""

HEADLINES = ("macro_f1", "perplexity", "mae", "concordance")
"""The score by which models are compared, of classes, language, regression and survival."""

LOWER_IS_BETTER = frozenset({"loss", "perplexity", "mae", "rmse"})
"""The scores of which a lower one is better; of all others a higher one is."""


_ALL = dict.fromkeys((*METRICS, *LANGUAGE_METRICS, *REGRESSION_METRICS, *SURVIVAL_METRICS))
_ORDER = [*(name for name in _ALL if name != "loss"), "loss"]


def scores_under(prefix: str, names: Iterable[str]) -> dict[str, str]:
    """The scores whose full name is ``prefix``, a slash and their own, in the order in which to report them.

    Those by class are left out: they have an axis more.

    Returns:
      Own name to full name, metrics of one's own last.
    """
    own = {full[len(prefix) + 1 :]: full for full in names if full.startswith(f"{prefix}/")}
    single = (name for name in own if "/" not in name and name not in BY_CLASS)
    plain = sorted(single, key=lambda n: (_rank(n), n))
    return {name: own[name] for name in plain}


def _rank(name: str) -> int:
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def headline(metrics: Iterable[str]) -> str:
    """The score by which models are compared: the one of :data:`HEADLINES` that is among ``metrics``.

    Raises:
      ValueError: none is.
    """
    there = set(metrics)
    for name in HEADLINES:
        if name in there:
            return name
    raise ValueError(f"metrics: expected one of {', '.join(HEADLINES)}, got {', '.join(sorted(there)) or 'none'}")


def check_words(scored_model: str, scored_round: str, split: str) -> None:
    """Refuse a word that names no model, no round or no split."""
    known = {
        "scored_model": (scored_model, SCORED),
        "scored_round": (scored_round, SCORED_ROUNDS),
        "split": (split, ("val", "test")),
    }
    for argument, (word, words) in known.items():
        if word not in words:
            raise unknown_name(argument, word, words)
