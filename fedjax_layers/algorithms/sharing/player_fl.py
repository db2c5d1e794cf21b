"""PLayer-FL (arXiv 2502.08829): share the layers before the first jump of federation sensitivity."""

from __future__ import annotations

import functools
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge
from flax import struct

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.novel import sharing_models, welcome_by_mean_of_layers, within_sharing
from fedjax_layers.algorithms.sharing.cut_report import CUT_REPORT, cut_decision
from fedjax_layers.algorithms.sharing.round import init_sharing, local_phase, round_info, server_phase
from fedjax_layers.algorithms.sharing.sensitivity_cut import CutRule, agree_on_cut, score_client
from fedjax_layers.algorithms.sharing.state import SharingState
from fedjax_layers.clients import Client, LocalResult, Trainer, keys
from fedjax_layers.ops import prefix_mask
from fedjax_layers.options import Mark
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm, Array, Cohort, Key, Params, Personal, RoundInfo


@struct.dataclass
class PLayerState:
    """State between rounds.

    Attributes:
      sharing: the models and optimiser states.
      cut: ``[]`` int32, the number of layers to share; L until a client has been scored.
      shared: ``[L]`` bool, the layers that clients take from the server at the start of a round.
      scores: ``[L]``, the aggregated scores of the last estimate, 0 before it.
      estimated: ``[]`` bool, whether the cut has been estimated.
    """

    sharing: SharingState
    cut: Array
    shared: Array
    scores: Array
    estimated: Array


@factory(report=CUT_REPORT, decision=cut_decision, objectives=True)
def player_fl(
    trainer: Trainer,
    *,
    threshold: Annotated[Traced[float], Ge(0)] = 1.5,
    gradient: Literal["batch", "epoch"] = "batch",
    cumulative: bool = False,
    agreement: Literal["normalised", "mean", "majority"] = "normalised",
    local_on_first_jump: bool = False,
    combine: Literal["elements", "matrices"] = "elements",
    dropout: bool = False,
    embeddings: tuple[str, ...] = (),
    repeat_every: Annotated[Traced[int], Ge(0)] = 0,
    average_first: bool = True,
    fixed_cut: Annotated[Traced[int] | None, Ge(0), Mark.LAYERS] = None,
    cut_offset: Traced[int] = 0,
    random_prefix: bool = False,
    server_optimizer: ServerOptimizer = None,
) -> Algorithm:
    """Score layers after the first local phase, share the layers before the first jump, and keep the rest local.

    All numbers may be traced, so that another threshold, offset or fixed cut needs no new compilation.

    Args:
      trainer: how each client trains; the paper's local phase is one epoch.
      threshold: a score this many times the score of the layer before is a jump. The paper's number was not found; any
        in (1.2, 2.0) gives the published cuts.
      gradient: which gradient the score takes: that of one batch, or the sum over the epoch. This and the next six are
        fields of :class:`CutRule`.
      cumulative: compare sums of the scores up to each layer instead of the scores themselves.
      agreement: how the server makes one cut of all clients' scores.
      local_on_first_jump: share no layer where the jump comes right after layer 1.
      combine: how a layer with several arrays is scored: over all elements, or array by array.
      dropout: keep dropout on while scoring.
      embeddings: names of the embedding tables that the inputs index.
      repeat_every: rounds between estimates of the cut; 0 estimates once, as in the paper.
      average_first: average the shared layers already in the round that finds the cut; otherwise in the round after it.
        Which one the paper does was not found.
      fixed_cut: share this many layers, whatever the scores say; they are recorded all the same.
      cut_offset: a number added to the estimated cut; the paper's controls are -1 and +1. The sum is kept in 0..L.
      random_prefix: share a random number of layers instead of the estimated one, the paper's control
        "PLayer-FL-Random". It is drawn once per estimate, uniformly from 1..L-1 without the estimated cut.
      server_optimizer: as in :func:`fedavg`.

    Returns:
      The algorithm. Each round reports ``cut`` and ``scores``. A client that never took part is served the mean of the
      others' local layers above the shared ones.

    Raises:
      ValueError: an unknown choice, or both ``fixed_cut`` and ``random_prefix``.
    """
    if fixed_cut is not None and random_prefix:
        raise ValueError("fixed_cut, random_prefix: expected at most one of them, got both")
    if random_prefix and not (isinstance(cut_offset, int) and cut_offset == 0):
        raise ValueError(f"cut_offset: expected 0 beside random_prefix, got {cut_offset}")
    cut_rule = CutRule(threshold, gradient, cumulative, agreement, local_on_first_jump, combine, dropout, embeddings)
    num_layers = trainer.task.layers.num_layers
    control = functools.partial(
        _controlled, num_layers=num_layers, fixed_cut=fixed_cut, cut_offset=cut_offset, random_prefix=random_prefix
    )

    def init(key: Key, params: Params) -> PLayerState:
        del key
        dtype = jnp.promote_types(jnp.result_type(*jax.tree.leaves(params)), jnp.float32)
        return PLayerState(
            sharing=init_sharing(trainer, params, personal=True, server_optimizer=server_optimizer),
            cut=jnp.int32(num_layers),
            shared=jnp.ones(num_layers, bool),
            scores=jnp.zeros(num_layers, dtype),
            estimated=jnp.bool_(False),
        )

    def round_(key: Key, state: PLayerState, cohort: Cohort) -> tuple[PLayerState, RoundInfo]:
        due = _due(state, cohort, repeat_every)

        def look(client: Client, result: LocalResult) -> Array:
            score = lambda: score_client(trainer, key, client, result, cut_rule)  # noqa: E731
            nothing = jax.eval_shape(score)
            return jax.lax.cond(due, score, lambda: jnp.zeros(nothing.shape, nothing.dtype))

        epoch = cut_rule.gradient == "epoch"
        phase = local_phase(
            trainer, key, state.sharing, cohort, state.shared, with_gradient=epoch, look=look, judged=state.shared | due
        )

        def estimate() -> tuple[Array, Array, Array]:
            cut, mean, reported = agree_on_cut(phase.passed.out, phase.cohort.weight, cut_rule)
            cut = control(jax.random.fold_in(key, keys.RANDOM_PREFIX), cut)
            # Without scores there is no estimate, and the controls (offset, random prefix) have nothing to differ from.
            cut = jnp.where(reported | (fixed_cut is not None), cut, state.cut)
            return cut, jnp.where(reported, mean.astype(state.scores.dtype), state.scores), reported

        def keep() -> tuple[Array, Array, Array]:
            return state.cut, state.scores, jnp.bool_(False)

        cut, scores, reported = jax.lax.cond(due, estimate, keep)
        shared = prefix_mask(cut, num_layers) & (average_first | state.estimated)
        sharing = server_phase(trainer, key, state.sharing, phase, shared, server_optimizer)
        uploaded = jnp.where(due, num_layers * (phase.cohort.weight > 0).sum(), 0)
        info = round_info(trainer, phase.passed, phase.cohort, shared, cut=cut, scores=scores, sent_scalars=uploaded)
        return PLayerState(sharing, cut, shared, scores, state.estimated | reported), info

    def personal(state: PLayerState) -> Personal:
        return sharing_models(trainer.task.layers, state.sharing, state.shared)

    return Algorithm(init, round_, personal, welcome=within_sharing(welcome_by_mean_of_layers))


def _due(state: PLayerState, cohort: Cohort, repeat_every: int | Array) -> Array:
    """Return whether this round estimates: there are clients, and no estimate was made yet or another is due."""
    repeat = jnp.asarray(repeat_every, jnp.int32)
    again = (repeat > 0) & (state.sharing.round % jnp.maximum(repeat, 1) == 0)
    return (~state.estimated | again) & (cohort.weight > 0).any()


def _controlled(
    key: Key,
    cut: Array,
    *,
    num_layers: int,
    fixed_cut: int | Array | None,
    cut_offset: int | Array,
    random_prefix: bool,
) -> Array:
    """Compute the cut that is used, in 0..L, from the estimated ``cut``."""
    if fixed_cut is not None:
        cut = jnp.asarray(fixed_cut, jnp.int32)
    elif random_prefix:
        cut = _other_prefix(key, cut, num_layers)
    else:
        cut = cut + cut_offset
    return jnp.clip(cut, 0, num_layers).astype(jnp.int32)


def _other_prefix(key: Key, cut: Array, num_layers: int) -> Array:
    """Draw a prefix of 1..L-1 layers other than ``cut``; ``cut`` itself where there is no other."""
    lengths = jnp.arange(1, max(num_layers, 2))
    allowed = lengths != cut
    drawn = lengths[jax.random.categorical(key, jnp.where(allowed, 0.0, -jnp.inf))]
    return jnp.where(allowed.any(), drawn, cut).astype(jnp.int32)
