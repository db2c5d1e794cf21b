"""What a round of mixing holds: every start is made of the whole pool, so that all of a cohort are stacked."""

from __future__ import annotations

import jax

from fedjax_layers.algorithms.mixing.mix import Mix
from fedjax_layers.types.round_memory import RoundMemory, tree_bytes


def mixing_memory(mixing: Mix) -> RoundMemory:
    """By slot starts and trained models, of rules that learn also updates and their parameters, and a copy of the pool.

    The copy is XLA's, since updates are pulled back through the pool as it was while the cohort's entries are renewed.
    """
    rule = jax.eval_shape(mixing.rule.init, jax.random.key(0))
    learns = bool(jax.tree.leaves(rule))
    behind = (mixing.retains and not mixing.upload_retained) or mixing.pool_update == "added"
    return RoundMemory(
        slot=2.0 + learns + behind if mixing.order == "together" else 0.0,
        client=float(learns),
        served=2.0,
        slot_bytes=0 if mixing.rule.shared or mixing.order != "together" else tree_bytes(rule),
    )
