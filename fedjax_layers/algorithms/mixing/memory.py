"""The memory of a round of mixing, in which the whole cohort is stacked since every start needs all stored models."""

from __future__ import annotations

import jax

from fedjax_layers.algorithms.mixing.mix import Mix
from fedjax_layers.types.round_memory import RoundMemory, tree_bytes


def mixing_memory(mixing: Mix) -> RoundMemory:
    """Declare starts and trained models per slot, for learning rules updates and their parameters too; and a copy.

    XLA makes the copy, since updates are pulled back through the old models while the cohort's entries are replaced.
    """
    rule = jax.eval_shape(mixing.rule.init, jax.random.key(0))
    learns = bool(jax.tree.leaves(rule))
    behind = (mixing.retains and not mixing.upload_retained) or mixing.server_keeps == "added"
    return RoundMemory(
        slot=2.0 + learns + behind if mixing.order == "together" else 0.0,
        client=float(learns),
        served=2.0,
        slot_bytes=0 if mixing.rule.shared or mixing.order != "together" else tree_bytes(rule),
    )
