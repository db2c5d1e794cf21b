"""pFedHN (Shamsian et al. 2021): one hypernetwork on the server emits every client's parameters."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from annotated_types import Ge, Gt
from flax import struct

from fedjax_layers.algorithms.factory import factory
from fedjax_layers.algorithms.novel import with_mean
from fedjax_layers.algorithms.sharing.round import round_info, server_key
from fedjax_layers.clients import LocalOptions, LocalResult, Trainer, train_cohort
from fedjax_layers.clients.running_statistics import refuse_statistics
from fedjax_layers.clients.stacked import where_rows
from fedjax_layers.clients.store import put_clients, sequential, take_clients, take_note
from fedjax_layers.ops.optimizer_update import refuse_objective, reseed
from fedjax_layers.options.traced import Traced
from fedjax_layers.types import Algorithm, Array, Cohort, Key, Params, Personal, RoundInfo, RoundMemory, per_client
from fedjax_layers.types.round_memory import tree_bytes


@struct.dataclass
class PFedHNState:
    """State between rounds.

    Attributes:
      round: ``[]`` int32, the number of rounds with at least one client.
      net: the hypernetwork: ``embedding`` ``[C, E]``, ``trunk`` (a list of kernel and bias), and ``heads``, two trees
        like the model: ``kernel`` with leaves ``[H, ...]`` and ``bias`` with leaves ``[...]``.
      net_opt: state of the hypernetwork's optimiser.
      client_opt: clients' optimiser states ``[C, ...]``, or ``()``.
      seen: ``[C]`` bool, who has taken part.
    """

    round: Array
    net: Any
    net_opt: Any
    client_opt: Any = per_client()
    seen: Array = per_client()


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of the hypernetwork: C clients, length E of embeddings, widths of the trunk, scale of head kernels."""

    clients: int
    embedding: int
    hidden: tuple[int, ...]
    head_scale: float | Array


@factory(aggregates=False)
def pfedhn(
    trainer: Trainer,
    *,
    hyper_learning_rate: Annotated[Traced[float], Ge(0)] = 0.01,
    hyper_momentum: Annotated[Traced[float], Ge(0)] = 0.9,
    hyper_weight_decay: Annotated[Traced[float], Ge(0)] = 0.001,
    hyper_clip: Annotated[Traced[float] | None, Gt(0)] = 50.0,
    hyper_optimizer: optax.GradientTransformation | None = None,
    hyper_embedding: Annotated[int | None, Ge(1)] = None,
    hyper_hidden: Annotated[tuple[int, ...], Ge(1)] = (100, 100, 100),
    head_scale: Annotated[Traced[float], Ge(0)] = 0.0,
    order: Literal["together", "sequential"] = "together",
) -> Algorithm:
    """Emit ``theta_i = h(v_i; phi)``, train it to ``theta~_i``, and pull ``theta_i - theta~_i`` back through h.

    h is an embedding table, a trunk of ReLU layers, and for each tensor of the model a linear head. All are drawn like
    torch's defaults: normal vectors, and kernels and biases uniform within ``1/sqrt(fan_in)``. Heads differ: their
    biases are the common start of all models, and their kernels are that draw times ``head_scale``. At the default 0
    every model begins as the common start, as in every other algorithm here, and embeddings and trunk get a gradient
    once the heads have moved. The original has scale 1 and no common start; here at 1 the emitted models scatter around
    the start.

    The server descends: ``Delta_i = theta_i - theta~_i`` stands for the gradient by theta_i. Each client's gradient by
    (v, phi) is clipped on its own, then the mean over the present clients is one step of the optimiser. As in the
    published code, momentum and weight decay move all of (v, phi), absent clients' vectors included, so that the models
    of absent clients change too. A round without clients changes nothing.

    The personal model is ``h(v_i)``, from which the client would start the next round; ``trained`` scores are of
    ``theta~_i``. The whole model is sent both ways; hypernetwork and vectors never leave the server. A client that
    never took part gets the model of the mean of the others' vectors. The paper instead fits a new vector to its
    examples while the network stays fixed. That needs training; here the adapted score trains the model itself.

    Args:
      trainer: how each client trains; published 50 steps of SGD, 0.005, momentum 0.9, weight decay 5e-5, batches of 64.
      hyper_learning_rate: learning rate of the hypernetwork on the server. This and the next three are those of the
        authors' code. This and the next two may be traced.
      hyper_momentum: momentum of the hypernetwork's SGD.
      hyper_weight_decay: weight decay of the hypernetwork, added to the clipped gradient.
      hyper_clip: largest norm of one client's gradient by the hypernetwork; larger ones are scaled down to it. May be
        traced. ``None`` clips nothing.
      hyper_optimizer: another optimiser of the hypernetwork; the three numbers above are not used then.
      hyper_embedding: length E of a client's vector; without it ``1 + C // 4``. That is the authors' rule.
      hyper_hidden: widths of the hypernetwork's hidden layers; its last is H. The authors' code has three of 100.
      head_scale: scale of the output layers' weights at the start. May be traced.
      order: whether all models of a round are emitted ``"together"`` and one step is taken, or clients are handled in a
        ``"sequential"`` order, with a step after each, as in the paper. The next one's model then comes from the
        hypernetwork after that step.

    Returns:
      The algorithm; it offers personal models only. Every round reports ``hyper_gradient``, the mean norm of the
      present clients' gradients by (v, phi) before clipping.

    Raises:
      ValueError: a size below 1, a number out of range, an unknown order, or a model with batch normalisation, whose
        running statistics no gradient could teach.

    Source: Shamsian et al. 2021, Algorithm 1 and equation 3; numbers from the published code.
    """
    width = 1 + trainer.num_clients // 4 if hyper_embedding is None else hyper_embedding
    sizes = Sizes(trainer.num_clients, width, hyper_hidden, head_scale)
    numbers = {"hyper_learning_rate": hyper_learning_rate, "hyper_momentum": hyper_momentum}
    refuse_statistics(trainer.task, "pfedhn")
    if not hyper_hidden:
        raise ValueError(f"hyper_hidden: expected one or more widths, got {hyper_hidden}")
    shapes = jax.eval_shape(trainer.task.init, jax.random.key(0))
    dtype = jnp.result_type(*jax.tree.leaves(shapes))
    rate, momentum, decay = (jnp.asarray(x, dtype) for x in (*numbers.values(), hyper_weight_decay))
    optimizer = hyper_optimizer or optax.chain(optax.add_decayed_weights(decay), optax.sgd(rate, momentum=momentum))
    limit = None if hyper_clip is None else jnp.asarray(hyper_clip, dtype)
    everything = jnp.ones(trainer.task.layers.num_layers, bool)

    def init(key: Key, params: Params) -> PFedHNState:
        net = make_net(key, sizes, params, dtype)
        refuse_objective("hyper_optimizer", "the hypernetwork", hyper_optimizer, net)
        seen = jnp.zeros(trainer.num_clients, bool)
        return PFedHNState(jnp.int32(0), net, optimizer.init(net), trainer.init_optimizer(params), seen)

    def visit(key: Key, state: PFedHNState, cohort: Cohort) -> tuple[PFedHNState, tuple[LocalResult, Array]]:
        present = cohort.weight > 0
        start = emit(state.net, cohort.ids, present, shapes)
        options = LocalOptions(scale=trainer.scale_of(state.round))
        opt_state = take_clients(state.client_opt, cohort)
        result = train_cohort(trainer, key, cohort, own=start, opt_state=opt_state, options=options)
        update = jax.tree.map(lambda s, t: s.astype(dtype) - t.astype(dtype), start, result.sent)
        cohort = trainer.heard(cohort, result.loss)
        present = cohort.weight > 0
        update = where_rows(present, update, jax.tree.map(jnp.zeros_like, update))
        grads, norms = hyper_gradient(state.net, cohort.ids, present, update, limit)
        net_opt = reseed(state.net_opt, server_key(key, cohort))
        updates, net_opt = optimizer.update(grads, net_opt, state.net)
        new, old = (optax.apply_updates(state.net, updates), net_opt), (state.net, state.net_opt)
        net, net_opt = jax.tree.map(lambda a, b: jnp.where(present.any(), a, b), new, old)
        client_opt = put_clients(state.client_opt, cohort, result.opt_state)
        seen = take_note(state.seen, cohort)
        return PFedHNState(state.round, net, net_opt, client_opt, seen), (result, norms)

    def round_(key: Key, state: PFedHNState, cohort: Cohort) -> tuple[PFedHNState, RoundInfo]:
        state, (result, norms) = (
            visit(key, state, cohort) if order == "together" else sequential(visit, key, state, cohort)
        )
        cohort = trainer.heard(cohort, result.loss)
        present = cohort.weight > 0
        norm = norms.sum() / jnp.maximum(present.sum(), 1).astype(norms.dtype)
        state = dataclasses.replace(state, round=state.round + present.any())
        return state, round_info(trainer, result, cohort, everything, hyper_gradient=norm)

    def personal(state: PFedHNState) -> Personal:
        net = with_vectors(state).net
        shared = {name: net[name] for name in ("trunk", "heads")}
        return Personal(net["embedding"], shared, lambda vector, shared, _: model_of(shared, vector, shapes))

    def with_vectors(state: PFedHNState) -> PFedHNState:
        vectors = with_mean(state.net["embedding"], state.seen)
        return dataclasses.replace(state, net=state.net | {"embedding": vectors})

    def welcome(state: PFedHNState, shared: Any, ids: Array) -> PFedHNState:
        del shared, ids
        return with_vectors(state)

    # The network has its gradient, step and momentum; each slot its start, its trained model, and their products.
    net = jax.eval_shape(lambda key, start: make_net(key, sizes, start, dtype), jax.random.key(0), shapes)
    memory = RoundMemory(slot=4.5 if order == "together" else 0.0, server_bytes=3 * tree_bytes(net))
    beyond = "the server's hypernetwork holds every client's vector"
    return Algorithm(init, round_, personal, welcome=welcome, memory=memory, beyond_cohort=beyond)


def make_net(key: Key, sizes: Sizes, params: Params, dtype: Any) -> Any:
    """Make the hypernetwork before the first round; its head biases are ``params``."""
    vector_key, trunk_key, head_key = jax.random.split(key, 3)
    widths = (sizes.embedding, *sizes.hidden)
    trunk = []
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        kernel_key, bias_key = jax.random.split(jax.random.fold_in(trunk_key, i))
        kernel = _uniform(kernel_key, (fan_in, fan_out), fan_in, dtype)
        trunk.append({"kernel": kernel, "bias": _uniform(bias_key, (fan_out,), fan_in, dtype)})
    leaves, treedef = jax.tree.flatten(params)
    scale = jnp.asarray(sizes.head_scale, dtype)
    kernels = [
        scale * _uniform(jax.random.fold_in(head_key, i), (widths[-1], *x.shape), widths[-1], dtype)
        for i, x in enumerate(leaves)
    ]
    return {
        "embedding": jax.random.normal(vector_key, (sizes.clients, sizes.embedding), dtype),
        "trunk": trunk,
        "heads": {
            "kernel": jax.tree.unflatten(treedef, kernels),
            "bias": jax.tree.map(lambda x: x.astype(dtype), params),
        },
    }


def emit(net: Any, ids: Array, present: Array, shapes: Params) -> Params:
    """Emit the models ``[K, ...]`` of clients ``ids [K]``; where not ``present [K]``, the model of a zero vector."""
    return jax.vmap(lambda vector: model_of(net, vector, shapes))(_vectors(net, ids, present))


def model_of(net: Any, vector: Array, shapes: Params) -> Params:
    """Compute the model that trunk and heads emit for one vector ``[E]``."""
    x = trunk_output(net["trunk"], vector)

    def head(kernel: Array, bias: Array, like: Any) -> Array:
        return (jnp.tensordot(x, kernel, 1, precision="highest") + bias).astype(like.dtype)

    return jax.tree.map(head, net["heads"]["kernel"], net["heads"]["bias"], shapes)


def trunk_output(trunk: Any, x: Array) -> Array:
    """Pass vectors ``[..., E]`` through the ReLU layers, ``[..., H]``."""
    for layer in trunk:
        x = jax.nn.relu(jnp.dot(x, layer["kernel"], precision="highest") + layer["bias"])
    return x


def hyper_gradient(net: Any, ids: Array, present: Array, update: Params, limit: Array | None) -> tuple[Any, Array]:
    """Compute the mean over present clients of ``J_i^T update_i``, with J_i the network's derivative of model i.

    Each client's term is first clipped to a norm of ``limit``. A head is linear, so a client's gradient by its kernel
    is an outer product, whose norm needs neither the product nor K copies of the heads.

    Args:
      net: the hypernetwork.
      ids: ``[K]``, the clients.
      present: ``[K]`` bool, False for padding.
      update: stacked ``[K, ...]``, zeros for padding.
      limit: ``[]``, the largest norm; ``None`` for no clipping.

    Returns:
      A tree like ``net``, and the norms ``[K]`` before clipping.
    """
    vectors = _vectors(net, ids, present)
    x = trunk_output(net["trunk"], vectors)
    flat = [u.reshape(len(u), -1) for u in jax.tree.leaves(update)]
    kernels = [k.reshape(len(k), -1) for k in jax.tree.leaves(net["heads"]["kernel"])]
    slopes = sum(jnp.dot(u, k.T, precision="highest") for u, k in zip(flat, kernels, strict=True))  # [K, H]
    by_trunk, by_vector = jax.vmap(lambda v, s: jax.vjp(trunk_output, net["trunk"], v)[1](s))(vectors, slopes)
    norms = jnp.sqrt(_squares((by_trunk, by_vector)) + (1 + jnp.square(x).sum(1)) * _squares(update))
    share = jnp.ones_like(norms)
    if limit is not None:
        share = jnp.where(norms > limit, limit / jnp.where(norms > limit, norms, jnp.ones_like(norms)), share)
    share = share / jnp.maximum(present.sum(), 1).astype(share.dtype)

    def mean(rows: Array) -> Array:
        return jnp.tensordot(share, rows, 1, precision="highest")

    def outer(rows: Array) -> Array:
        return jnp.tensordot((x * share[:, None]).T, rows, 1, precision="highest")

    target = jnp.where(present, ids, len(net["embedding"]))  # padding gets an index past the end, which is dropped
    grads = {
        "embedding": jnp.zeros_like(net["embedding"]).at[target].add(by_vector * share[:, None], mode="drop"),
        "trunk": jax.tree.map(mean, by_trunk),
        "heads": {"kernel": jax.tree.map(outer, update), "bias": jax.tree.map(mean, update)},
    }
    return grads, jnp.where(present, norms, 0)


def _vectors(net: Any, ids: Array, present: Array) -> Array:
    """Look up embeddings ``[K, E]``; zeros for padding, where a NaN would spoil the common gradient."""
    rows = net["embedding"][ids]
    return where_rows(present, rows, jnp.zeros_like(rows))


def _squares(tree: Any) -> Array:
    """Compute the squared norm of each row ``[K]`` over all leaves ``[K, ...]``."""
    return jnp.stack([jnp.square(x).reshape(len(x), -1).sum(1) for x in jax.tree.leaves(tree)]).sum(0)


def _uniform(key: Key, shape: tuple[int, ...], fan_in: int, dtype: Any) -> Array:
    """Draw uniformly within ``1/sqrt(fan_in)``, as torch draws kernels and biases of a linear layer."""
    bound = fan_in**-0.5
    return jax.random.uniform(key, shape, dtype, -bound, bound)
