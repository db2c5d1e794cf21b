"""The models of a round kept as rows and made into one by a rule, where a pass would otherwise sum them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from fedjax_layers.ops import Term
from fedjax_layers.ops.reduce import is_term
from fedjax_layers.ops.robust import Rule
from fedjax_layers.types import Array, Params


def split_terms(terms: Any, rule: Rule | None) -> tuple[Any, Any]:
    """Split one client's terms into those that are summed and those that a rule gets; ``None`` in the others' places.

    A rule gets the terms with a weight, which are models times their share in a mean; without a rule it gets none.
    """

    def apart(judged: bool) -> Any:
        def one(term: Term) -> Term | None:
            weighted = rule is not None and term.weight is not None and bool(jax.tree.leaves(term.value))
            return term if weighted == judged else None

        return jax.tree.map(one, terms, is_leaf=is_term)

    return apart(False), apart(True)


def join_sums(sums: Any, rows: Any, rule: Rule | None, counted: Array, centre: Any) -> Any:
    """Return the sums of a pass, with the rule's model in place of each sum of weighted terms.

    Args:
      sums: as from the pass, ``None`` in place of terms that are kept as rows.
      rows: terms with leaves ``[K, ...]``, ``None`` in the other places.
      rule: the rule.
      counted: ``[K]`` bool; the rows of other slots do not matter.
      centre: the model that was sent to the clients; stacked ``[T, ...]`` beside terms with T segments.
    """
    if rule is None:
        return sums
    one = lambda row, total: total if row is None else reduce_rows(rule, row, counted, centre)  # noqa: E731
    return jax.tree.map(one, rows, sums, is_leaf=lambda x: x is None or is_term(x))


def reduce_rows(rule: Rule, term: Term, counted: Array, centre: Any) -> Params:
    """Make one model of a term's rows, or one for each segment ``[T, ...]`` of the rows of that segment alone.

    Args:
      rule: the rule.
      term: a term with leaves ``[K, ...]``.
      counted: as in :func:`join_sums`.
      centre: as in :func:`join_sums`; it may have leaves that the term lacks.
    """
    weight = jnp.where(counted, term.weight, 0)  # type: ignore[arg-type]  # a term without a weight is summed
    centre = _of_same_leaves(centre, term.value)
    if not term.segments:
        return rule.reduce(term.value, weight, centre)

    def of_segment(number: Array) -> Params:
        own = jax.tree.map(lambda c: c[number], centre)
        return rule.reduce(term.value, jnp.where(term.segment == number, weight, 0), own)

    return jax.lax.map(of_segment, jnp.arange(term.segments))  # one after the other, each on all rows


def _of_same_leaves(centre: Any, value: Params) -> Any:
    """Return the leaves of the model that was sent which a term has, too."""
    try:
        return jax.tree.map(lambda x, c: None if x is None else c, value, centre, is_leaf=lambda x: x is None)
    except ValueError:
        found = jax.tree.structure(centre)
        raise ValueError(
            f"shared: expected the model that is sent, beside a rule of aggregation, got {found}"
        ) from None
