"""PLayer-FL (arXiv 2502.08829): share the layers before the first jump of federation sensitivity."""

from __future__ import annotations

import functools
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt
from flax import struct

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.novel import sharing_models, welcome_by_mean_of_layers, within_sharing
from fedjax_layers.algorithms.sharing.cut_report import CUT_REPORT, cut_decision
from fedjax_layers.algorithms.sharing.round import init_sharing, local_phase, round_info, server_phase
from fedjax_layers.algorithms.sharing.sensitivity_cut import CutRule, agree_on_cut, layers_shared, score_client
from fedjax_layers.algorithms.sharing.state import Phase, SharingState
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
      lowest: ``[]``, the lowest mean training loss of a round since the last estimate.
      risen: ``[]`` bool, whether the last round's loss asks for another estimate.
    """

    sharing: SharingState
    cut: Array
    shared: Array
    scores: Array
    estimated: Array
    lowest: Array
    risen: Array


@factory(report=CUT_REPORT, decision=cut_decision, objectives=True)
def player_fl(
    trainer: Trainer,
    *,
    threshold: Annotated[Traced[float], Ge(0)] = 1.5,
    gradient: Literal["batch", "epoch"] = "batch",
    cumulative: bool = False,
    agreement: Literal["normalised", "mean", "majority", "pooled"] = "normalised",
    local_on_first_jump: bool = False,
    combine: Literal["elements", "matrices"] = "elements",
    dropout: bool = False,
    embeddings: tuple[str, ...] = (),
    vectors: bool = False,
    shrinkage: Annotated[Traced[float], Ge(0)] = 0.0,
    shared_layers: Literal["prefix", "below"] = "prefix",
    repeat_every: Annotated[Traced[int], Ge(0)] = 0,
    repeat_on_rise: Annotated[Traced[float] | None, Gt(0)] = None,
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
      vectors: whether biases and norm parameters count in a layer's score, which the paper leaves out.
      shrinkage: number of examples with which the cohort's mean score counts in each client's own before it votes. It
        is for clients with few examples, and needs ``agreement="majority"``; the paper has no such case.
      shared_layers: which layers are shared: the ``"prefix"`` before the jump, as in the paper, or all layers
        ``"below"`` the threshold, wherever they are, with scores relative to that of layer 1.
      repeat_every: rounds between estimates of the cut; 0 estimates once, as in the paper.
      repeat_on_rise: estimate again where the cohort's mean training loss has risen by this share above its lowest
        since the last estimate, as it does when the data change; without it never. The paper's data do not change.
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
      ValueError: an unknown choice, both ``fixed_cut`` and ``random_prefix``, or one of these or ``cut_offset`` beside
        ``shared_layers="below"``.
    """
    if fixed_cut is not None and random_prefix:
        raise ValueError("fixed_cut, random_prefix: expected at most one of them, got both")
    if random_prefix and not _is_zero(cut_offset):
        raise ValueError(f"cut_offset: expected 0 beside random_prefix, got {cut_offset}")
    how: dict[str, Any] = {"vectors": vectors, "shrinkage": shrinkage, "shared_layers": shared_layers}
    cut_rule = CutRule(
        threshold, gradient, cumulative, agreement, local_on_first_jump, combine, dropout, embeddings, **how
    )
    if shared_layers == "below" and (fixed_cut is not None or random_prefix or not _is_zero(cut_offset)):
        raise ValueError("shared_layers: expected 'prefix' beside fixed_cut, random_prefix or cut_offset, got 'below'")
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
            lowest=jnp.asarray(jnp.inf, dtype),
            risen=jnp.bool_(False),
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
            cut, mean, reported = agree_on_cut(
                phase.passed.out, phase.cohort.weight, cut_rule, phase.cohort.train.count
            )
            cut = control(jax.random.fold_in(key, keys.RANDOM_PREFIX), cut)
            # Without scores there is no estimate, and the controls (offset, random prefix) have nothing to differ from.
            cut = jnp.where(reported | (fixed_cut is not None), cut, state.cut)
            return cut, jnp.where(reported, mean.astype(state.scores.dtype), state.scores), reported

        def keep() -> tuple[Array, Array, Array]:
            return state.cut, state.scores, jnp.bool_(False)

        cut, scores, reported = jax.lax.cond(due, estimate, keep)
        mask = layers_shared(scores, cut, cut_rule) if shared_layers == "below" else prefix_mask(cut, num_layers)
        shared = mask & (average_first | state.estimated)
        sharing = server_phase(trainer, key, state.sharing, phase, shared, server_optimizer)
        uploaded = jnp.where(due, num_layers * (phase.cohort.weight > 0).sum(), 0)
        info = round_info(trainer, phase.passed, phase.cohort, shared, cut=cut, scores=scores, sent_scalars=uploaded)
        lowest, risen = _watched(state, phase, due, repeat_on_rise)
        return PLayerState(sharing, cut, shared, scores, state.estimated | reported, lowest, risen), info

    def personal(state: PLayerState) -> Personal:
        return sharing_models(trainer.task.layers, state.sharing, state.shared)

    return Algorithm(init, round_, personal, welcome=within_sharing(welcome_by_mean_of_layers))


def _due(state: PLayerState, cohort: Cohort, repeat_every: int | Array) -> Array:
    """Return whether this round estimates: there are clients, and no estimate was made yet or another is due."""
    repeat = jnp.asarray(repeat_every, jnp.int32)
    again = (repeat > 0) & (state.sharing.round % jnp.maximum(repeat, 1) == 0)
    return (~state.estimated | again | state.risen) & (cohort.weight > 0).any()


def _watched(state: PLayerState, phase: Phase, due: Array, rise: float | Array | None) -> tuple[Array, Array]:
    """Return the state's next ``lowest`` and ``risen``; a round without clients changes neither."""
    if rise is None:
        return state.lowest, state.risen
    weight = phase.cohort.weight
    loss = jnp.where(weight > 0, weight * phase.passed.loss, 0).sum() / jnp.where(weight.sum() > 0, weight.sum(), 1)
    loss, some = loss.astype(state.lowest.dtype), weight.sum() > 0
    lowest = jnp.where(some, jnp.where(due, loss, jnp.minimum(loss, state.lowest)), state.lowest)
    return lowest, jnp.where(some, ~due & (loss > (1 + rise) * lowest), state.risen)


def _is_zero(offset: int | Array) -> bool:
    return isinstance(offset, int) and offset == 0


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
