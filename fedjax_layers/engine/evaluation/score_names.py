"""The names of a run's scores, those that are better when lower, and the one by which models are compared."""

from __future__ import annotations

from collections.abc import Iterable

from fedjax_layers.ops.metrics import SurvivalScorer, TargetScorer, TokenScorer
from fedjax_layers.ops.metrics.classes import BY_CLASS, COUNTED, RANKED
from fedjax_layers.options import unknown_name

EVALUATED_MODELS = ("served", "trained")  # each client's own models
SHARED = ("global", "team")  # models shared by several clients, whose scores are all taken from one round
SCORED = (*EVALUATED_MODELS, *SHARED)
SCORED_ROUNDS = ("last", "best")


METRICS = (*COUNTED, *RANKED, "loss")
"""The scores of a classifier, in the order of reports."""

LANGUAGE_METRICS = TokenScorer.names
"""The scores of a language model."""

REGRESSION_METRICS = TargetScorer.names
"""The scores of a regression."""

SURVIVAL_METRICS = SurvivalScorer.names
"""The scores of a survival model."""

HEADLINES = ("macro_f1", "perplexity", "mae", "concordance")
"""The scores by which classifiers, language, regression and survival models are compared."""

ATTACK_SUCCESS = "attack_success"
"""Of a run with a backdoor: the share of test examples of other classes than the attackers' that are predicted as it,
with the trigger on them."""

LOWER_IS_BETTER = frozenset({"loss", "perplexity", "mae", "rmse", ATTACK_SUCCESS})
"""The scores for which lower is better; for all others higher is better."""


_ALL = dict.fromkeys((*METRICS, *LANGUAGE_METRICS, *REGRESSION_METRICS, *SURVIVAL_METRICS))
_ORDER = [*(name for name in _ALL if name != "loss"), "loss"]


def scores_under(prefix: str, names: Iterable[str]) -> dict[str, str]:
    """Find the scores whose full name is ``prefix``, a slash and their own name, in the order of reports.

    Scores by class are left out, since they have a further axis.

    Returns:
      The full name by own name, the user's own metrics last.
    """
    own = {full[len(prefix) + 1 :]: full for full in names if full.startswith(f"{prefix}/")}
    single = (name for name in own if "/" not in name and name not in BY_CLASS)
    plain = sorted(single, key=lambda n: (_rank(n), n))
    return {name: own[name] for name in plain}


def _rank(name: str) -> int:
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def headline(metrics: Iterable[str]) -> str:
    """Return the score by which models are compared, the one of :data:`HEADLINES` that is among ``metrics``.

    Raises:
      ValueError: none is among them.
    """
    there = set(metrics)
    for name in HEADLINES:
        if name in there:
            return name
    raise ValueError(f"metrics: expected one of {', '.join(HEADLINES)}, got {', '.join(sorted(there)) or 'none'}")


def check_words(scored_model: str, scored_round: str, split: str) -> None:
    """Raise ``ValueError`` for an unknown name of a model, round or split."""
    known = {
        "scored_model": (scored_model, SCORED),
        "scored_round": (scored_round, SCORED_ROUNDS),
        "split": (split, ("val", "test")),
    }
    for argument, (word, words) in known.items():
        if word not in words:
            raise unknown_name(argument, word, words)
