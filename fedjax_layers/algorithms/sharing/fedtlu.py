"""FedTLU (arXiv 2412.17692): the server updates the blocks with the best score and freezes the others."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge
from flax import struct

from fedjax_layers.algorithms.factory import ServerOptimizer, factory
from fedjax_layers.algorithms.novel import sharing_models, welcome_by_mean_of_layers, within_sharing
from fedjax_layers.algorithms.sharing.block_report import BLOCK_REPORT
from fedjax_layers.algorithms.sharing.round import init_sharing, local_phase, round_info, server_phase, trees_moved
from fedjax_layers.algorithms.sharing.state import SharingState
from fedjax_layers.clients import Trainer, keys
from fedjax_layers.ops import (
    block_score,
    fill,
    layer_sums,
    regroup,
    top_k_mask,
    update_score,
)
from fedjax_layers.ops.prox import with_proximal_term
from fedjax_layers.ops.update import BlockRule, Reading
from fedjax_layers.options import Mark
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm, Array, Cohort, Key, LayerMap, Params, RoundInfo, RoundMemory

Choice = Literal["score", "random", "last", "round_robin", "norm", "lowest"]
FROM_UPDATE = ("score", "norm", "lowest")  # choices that are known only after the clients have trained
Leftovers = Literal["update", "freeze", "compete"]


@struct.dataclass
class FedTLUState:
    """State between rounds.

    Attributes:
      sharing: the server's model and the optimisers' states.
      selected: bool ``[B]``, the blocks that the last round updated.
    """

    sharing: SharingState
    selected: Array


@dataclasses.dataclass(frozen=True)
class BlockChoice:
    """The settings by which the blocks of a round are chosen; see :func:`fedtlu`."""

    layers: LayerMap
    k: int | Array
    choice: Choice = "score"
    reading: Reading = "ratio"
    block_rule: BlockRule | Literal["vector"] = "mean"
    matrices_only: bool = False
    leftovers: Leftovers = "update"
    personal_layers: int = 0

    def __post_init__(self) -> None:
        most = int(self.competing.sum())
        if not isinstance(self.k, jax.core.Tracer) and not 0 <= int(self.k) <= most:
            raise ValueError(f"k: expected 0 to {most}, the blocks that compete, got {self.k}")

    @property
    def competing(self) -> np.ndarray:
        """Mark the blocks among which k are chosen, bool ``[B]``; the others are leftovers.

        A block with a personal layer does not compete.
        """
        sizes = np.array(regroup(self.layers, "block").sizes)
        common = np.ones(len(sizes), bool)
        common[np.asarray(self.layers.blocks)[~self.shared]] = False
        middle = np.median(sizes[common]) if common.any() else 0
        alike = common & (sizes >= middle / 2) & (sizes <= 2 * middle)
        return alike if self.leftovers != "compete" and alike.sum() > 1 else common

    @property
    def shared(self) -> np.ndarray:
        """Mark the layers that are not personal, bool ``[L]``."""
        return np.arange(self.layers.num_layers) < self.layers.num_layers - self.personal_layers

    def scores(self, delta: Params, clients: Params | None) -> Array:
        """Score each block ``[B]``, for choices that depend on the update."""
        blocks = regroup(self.layers, "block")
        if self.choice == "norm":
            return jnp.sqrt(layer_sums(jax.tree.map(jnp.square, delta), blocks))
        options: dict[str, Any] = {"reading": self.reading, "matrices_only": self.matrices_only}
        if self.reading == "ratio":
            options["excess"] = True
        if self.reading == "clients":
            options["clients"] = clients
        if self.block_rule == "vector":
            return update_score(delta, blocks, **options)
        return block_score(update_score(delta, self.layers, **options), self.layers, self.block_rule)

    def without_update(self, key: Key, round_: Array) -> Array:
        """Make scores ``[B]``, of which the largest are chosen, for choices that do not depend on the update."""
        num = len(self.layers.block_names)
        if self.choice == "random":
            return jax.random.uniform(key, (num,))
        if self.choice == "last":
            return jnp.arange(num, dtype=jnp.float32)
        competing = self.competing
        number = jnp.asarray(np.cumsum(competing) - 1)
        turn = round_ * jnp.asarray(self.k, jnp.int32)
        return -((number - turn) % max(int(competing.sum()), 1)).astype(jnp.float32)

    def mask(self, scores: Array) -> Array:
        """Mark the k best of the competing blocks, bool ``[B]``, and leftovers by their rule."""
        competing = jnp.asarray(self.competing)
        best = top_k_mask(jnp.where(competing, scores, -jnp.inf), self.k)
        return jnp.where(competing, best, self.leftovers == "update")


@factory(report=BLOCK_REPORT, objectives=True)
def fedtlu(
    trainer: Trainer,
    *,
    k: Traced[int] = 1,
    choice: Choice = "score",
    mu: Annotated[Traced[float], Ge(0)] = 0.0,
    reading: Reading = "ratio",
    block_rule: BlockRule | Literal["vector"] = "mean",
    matrices_only: bool = False,
    leftovers: Leftovers = "update",
    score_every: Annotated[Traced[int], Ge(1)] = 1,
    freeze_clients: bool = False,
    personal_layers: Annotated[int, Ge(0), Mark.LAYERS] = 0,
    server_optimizer: ServerOptimizer = None,
) -> Algorithm:
    """Train all layers; the server scores the mean update, applies it to the k best blocks and drops the rest.

    With ``delta = mean - server``, a block's score comes from its layers' :func:`fedjax_layers.ops.update_score`.
    Blocks that are not chosen keep the server's values exactly. With k of all blocks this is FedAvg, or FedProx with
    ``mu``. Blocks are those of the layer map: in a transformer one of its blocks of layers, elsewhere a layer.

    Args:
      trainer: how each client trains.
      k: number of blocks that are updated in a round. The paper's is not known. May be traced.
      choice: how the blocks of a round are chosen: by their ``"score"``, or as a control ``"random"`` blocks anew each
        round, the ``"last"`` ones, ``"round_robin"``, those with the largest ``"norm"`` of the update, or those of
        ``"lowest"`` score.
      mu: strength of FedProx's pull in the local loss; 0 is FedAvg.
      reading: which reading of the score the server takes; see :func:`~fedjax_layers.ops.update.update_score`.
      block_rule: how a block is scored: by the ``"mean"``, the ``"sum"`` or the ``"size"``-weighted mean of its layers,
        or as one ``"vector"``. Not known from the paper.
      matrices_only: leave vectors (biases, norms) out of the score, because their scores are larger by their size
        alone.
      leftovers: blocks of another size than the common one (beyond a factor 2 of the median; embeddings, last norm,
        head): always ``"update"``, always ``"freeze"``, or ``"compete"`` like all others, as they do in a network
        without two blocks of a size. Not known from the paper.
      score_every: rounds between choices; the same blocks are updated in between.
      freeze_clients: let clients train only the blocks that will be updated, where these are known before training.
        That is in all rounds with choices that do not look at the update, else in the rounds between two choices.
        Uploads shrink with it.
      personal_layers: number of layers, counted from the output, that stay with each client as in FedPer; blocks are
        then chosen among those below. No paper has this. A block of which a layer is personal does not compete.
      server_optimizer: as in :func:`fedavg`, of the chosen blocks.

    Returns:
      The algorithm; it offers the global model, or personal models where layers are personal. Every round reports
      ``block_scores`` ``[B]`` (NaN where nothing was scored) and ``selected`` bool ``[B]``.

    Raises:
      ValueError: k below 0 or above the blocks that compete, ``score_every`` below 1, or an unknown choice.

    Source: FedTLU, section III.
    """
    layers = trainer.task.layers
    blocks = BlockChoice(layers, k, choice, reading, block_rule, matrices_only, leftovers, personal_layers)
    below = blocks.shared if personal_layers else None
    if not isinstance(score_every, jax.core.Tracer) and int(score_every) < 1:
        raise ValueError(f"score_every: expected at least 1, got {score_every}")
    if isinstance(mu, jax.core.Tracer) or float(mu) != 0:
        trainer = dataclasses.replace(trainer, optimizer=with_proximal_term(trainer.optimizer, mu))
    looks = choice in FROM_UPDATE
    of_layer = jnp.asarray(layers.blocks)

    def init(key: Key, params: Params) -> FedTLUState:
        del key
        personal = False if below is None else ~below
        sharing = init_sharing(trainer, params, personal=personal, server_optimizer=server_optimizer)
        return FedTLUState(sharing, jnp.ones(len(layers.block_names), bool))

    def round_(key: Key, state: FedTLUState, cohort: Cohort) -> tuple[FedTLUState, RoundInfo]:
        old = state.sharing
        due = old.round % score_every == 0
        known = state.selected
        if not looks:
            chance = jax.random.fold_in(key, keys.BLOCKS)
            known = jnp.where(due, blocks.mask(blocks.without_update(chance, old.round)), known)
        trainable = (known | (due & looks))[of_layer] | ~blocks.shared if freeze_clients else None
        updates = lambda _, result: jax.tree.map(jnp.subtract, result.sent, old.server)  # noqa: E731
        all_updates = updates if looks and reading == "clients" else None  # only this reading needs all updates at once
        phase = local_phase(trainer, key, old, cohort, below, trainable=trainable, look=all_updates)
        scores, selected = jnp.full(known.shape, jnp.nan), known
        if looks:
            delta = jax.tree.map(jnp.subtract, fill(phase.mean, old.server), old.server)
            found = blocks.scores(delta, phase.passed.out)
            scores = jnp.where(due, found, scores)
            selected = jnp.where(due, blocks.mask(-found if choice == "lowest" else found), known)
        shared = selected[of_layer] & blocks.shared
        new = server_phase(trainer, key, old, phase, shared, server_optimizer)
        info = round_info(trainer, phase.passed, phase.cohort, shared, block_scores=scores, selected=selected)
        sent = blocks.shared if trainable is None else trainable & blocks.shared
        info = dataclasses.replace(info, sent=trees_moved(trainer, phase.cohort, sent))
        return FedTLUState(new, selected), info

    # The reading "clients" needs the updates of all clients at once.
    memory = RoundMemory(slot=1.0 if looks and reading == "clients" else 0.0)
    if below is None:
        return Algorithm(init, round_, global_model=lambda state: state.sharing.server, memory=memory)
    private = trainer.privacy is not None
    personal = lambda state: sharing_models(layers, state.sharing, below, private=private)  # noqa: E731
    welcome = None if private else within_sharing(welcome_by_mean_of_layers)
    return Algorithm(init, round_, personal, welcome=welcome, memory=memory)


@factory(report=BLOCK_REPORT, objectives=True)
def random_layers(
    trainer: Trainer,
    *,
    k: Traced[int] = 1,
    mu: Annotated[Traced[float], Ge(0)] = 0.0,
    leftovers: Leftovers = "update",
    freeze_clients: bool = False,
    server_optimizer: ServerOptimizer = None,
) -> Algorithm:
    """Run :func:`fedtlu` with k blocks chosen at random, anew each round, which is a baseline of the paper.

    Args:
      trainer: how each client trains.
      k: number of blocks that are updated in a round. May be traced.
      mu: strength of FedProx's pull in the local loss; 0 is FedAvg.
      leftovers: whether blocks of another size than the common one are always updated (``"update"``), never
        (``"freeze"``), or ``"compete"`` like all others; see :func:`fedtlu`.
      freeze_clients: let clients train only the chosen blocks, which also reduces uploads.
      server_optimizer: as in :func:`fedtlu`.

    Source: FedTLU's baselines; frozen on the server as FedTLU is, so that the choice alone differs.
    """
    options: dict[str, Any] = {"leftovers": leftovers, "freeze_clients": freeze_clients}
    return fedtlu(trainer, k=k, choice="random", mu=mu, server_optimizer=server_optimizer, **options)


@factory(report=BLOCK_REPORT, objectives=True)
def last_layers(
    trainer: Trainer,
    *,
    k: Traced[int] = 1,
    mu: Annotated[Traced[float], Ge(0)] = 0.0,
    leftovers: Leftovers = "update",
    freeze_clients: bool = False,
    server_optimizer: ServerOptimizer = None,
) -> Algorithm:
    """Run :func:`fedtlu` with the k blocks nearest to the output in every round, which is a baseline of the paper.

    Args:
      trainer: how each client trains.
      k: number of blocks that are updated in a round. May be traced.
      mu: strength of FedProx's pull in the local loss; 0 is FedAvg.
      leftovers: whether blocks of another size than the common one are always updated (``"update"``), never
        (``"freeze"``), or ``"compete"`` like all others; see :func:`fedtlu`.
      freeze_clients: let clients train only the chosen blocks, which also reduces uploads.
      server_optimizer: as in :func:`fedtlu`.

    Source: FedTLU's baselines; frozen on the server as FedTLU is, so that the choice alone differs.
    """
    options: dict[str, Any] = {"leftovers": leftovers, "freeze_clients": freeze_clients}
    return fedtlu(trainer, k=k, choice="last", mu=mu, server_optimizer=server_optimizer, **options)
