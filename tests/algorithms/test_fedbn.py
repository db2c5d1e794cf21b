"""FedBN against its oracle: what stays with a client, what is averaged and reported; special cases and refusals."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_layers import algorithms
from fedjax_layers.algorithms.objectives.tether import tethered_gradient
from fedjax_layers.algorithms.sharing.fedbn import norm_layers
from fedjax_layers.clients import LocalOptions, train_cohort
from fedjax_layers.engine.checkpoint import Checkpoints
from fedjax_layers.ops import proximal_pull
from tests import batch_norm_toy, toy
from tests.reference import batch_norm
from tests.rounds import rounds_of, start_params

ROUNDS = ([0, 2, 4], [3, 1], [2, 3, 0], [1, 2])  # partial, of unequal size: padded to three slots
NORMS = ("BatchNorm_0", "BatchNorm_1")
SGD = {"lr": 0.1, "beta": 0.9, "eps": batch_norm_toy.EPSILON, "momentum": batch_norm_toy.MOMENTUM}
STAYS = {
    "FedBN": ({}, batch_norm.STATISTICS + batch_norm.AFFINE),
    "SiloBN": ({"local_affine": False}, batch_norm.STATISTICS),
    "affine": ({"local_statistics": False}, batch_norm.AFFINE),
    "FedAvg": ({"local_affine": False, "local_statistics": False}, ()),
}


def close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), toy.to_numpy(found), expected)


def row(tree, i):
    return jax.tree.map(lambda x: x[i], tree)


def run(name="fedbn", options=None, *, cohorts=ROUNDS, optimised=False, **changes):
    """States and reports of all rounds, the trainer, and what an algorithm serves."""
    rounds = rounds_of(name, options, norms=True, optimised=optimised, **changes)
    states, infos = rounds.run(cohorts)
    return list(zip(states[1:], infos, strict=True)), rounds.trainer, rounds.models


@pytest.mark.parametrize(
    ("kind", "keep"),
    [(kind, False) for kind in STAYS]
    + [pytest.param(kind, True, marks=[] if kind == "FedBN" else pytest.mark.slow) for kind in STAYS],
)
def test_agrees_with_its_oracle(kind, keep, x64):
    args, local = STAYS[kind]
    seen, trainer, models_of = run(options=args, keep_optimizer=keep)
    start = toy.to_numpy(start_params(norms=True))
    oracle = batch_norm.FedBN(start, toy.CLIENTS, *toy.make_pool(), keep=keep, local=local, **SGD)
    for t, (ids, (state, info)) in enumerate(zip(ROUNDS, seen, strict=True)):
        key = jax.random.fold_in(jax.random.key(7), t)
        results = oracle.round([(c, float(toy.COUNTS[c]), toy.drawn_batches(trainer, key, c)) for c in ids])
        for slot, (_, trained, loss) in enumerate(results):
            close(row(info.observed, slot), trained)
            np.testing.assert_allclose(info.loss[slot], loss, rtol=1e-10)
        models = models_of(state)
        assert models.global_model is None
        for client in toy.seen_after(ROUNDS, t):
            close(row(models.personal, client), oracle.start_of(client))
    assert info.sent.tolist() == info.received.tolist() == [2, 2, 2], "a layer without its norm is still sent"


def test_weight_decay_agrees_with_the_oracle(x64):
    decayed = optax.chain(optax.add_decayed_weights(0.05), optax.sgd(0.1, momentum=0.9))
    seen, trainer, _ = run(cohorts=ROUNDS[:2], optimizer=decayed)
    start = toy.to_numpy(start_params(norms=True))
    oracle = batch_norm.FedBN(start, toy.CLIENTS, *toy.make_pool(), decay=0.05, **SGD)
    for t, (ids, (_, info)) in enumerate(zip(ROUNDS, seen, strict=False)):
        key = jax.random.fold_in(jax.random.key(7), t)
        results = oracle.round([(c, float(toy.COUNTS[c]), toy.drawn_batches(trainer, key, c)) for c in ids])
        for slot, (_, trained, _) in enumerate(results):
            close(row(info.observed, slot), trained)


@pytest.mark.parametrize("link", [optax.add_decayed_weights(0.5), proximal_pull(0.5)], ids=["decay", "pull"])
def test_what_the_statistics_are_reaches_no_weight(link, x64):
    """Not even through the norm of decay or pull, to which the update is clipped."""
    task, pool = batch_norm_toy.make_task(), toy.make_pool()
    optimizer = optax.chain(link, optax.clip_by_global_norm(0.5), optax.sgd(0.1))
    algorithm = algorithms.fedbn(toy.make_trainer(task, optimizer=optimizer, epochs=2))
    start = task.init(jax.random.key(1))
    trained = []
    for factor in (1.0, 30.0):
        norms = {n: start[n] | {k: factor * start[n][k] + factor for k in batch_norm.STATISTICS} for n in NORMS}
        state = algorithm.init(jax.random.key(2), start | norms)
        trained.append(jax.jit(algorithm.round)(jax.random.key(7), state, toy.make_cohort([0, 2], pool))[1].observed)
    for name, leaves in trained[0].items():
        for leaf, x in leaves.items():
            same = bool((x == trained[1][name][leaf]).all())
            assert same == (leaf not in batch_norm.STATISTICS), (name, leaf)


@pytest.mark.slow
def test_saved_and_restored_rounds_go_on_bit_for_bit(tmp_path):
    task, pool = batch_norm_toy.make_task(jnp.float32), toy.make_pool(dtype=np.float32)
    algorithm = algorithms.fedbn(toy.make_trainer(task, keep_optimizer=True))
    step, start = jax.jit(algorithm.round), algorithm.init(jax.random.key(2), task.init(jax.random.key(1)))

    def rounds(state, which):
        for t in which:
            state, _ = step(jax.random.fold_in(jax.random.key(7), t), state, toy.make_cohort(ROUNDS[t], pool, pad_to=3))
        return state

    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(2, rounds(start, (0, 1)))
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path)
    _, state = checkpoints.restore(start)
    checkpoints.close()
    chex.assert_trees_all_equal(rounds(state, (2, 3)), rounds(start, range(4)))


def test_keeping_no_norm_is_fedavg_bit_for_bit(x64):
    options = {"local_affine": False, "local_statistics": False}
    (ours, _, models), (theirs, _, fedavg) = run(options=options, optimised=True), run("fedavg", optimised=True)
    for (state, info), (expected, expected_info) in zip(ours, theirs, strict=True):
        server = fedavg(expected).global_model
        for client in range(toy.CLIENTS):
            chex.assert_trees_all_equal(row(models(state).personal, client), server)
        chex.assert_trees_all_equal(info.sent, expected_info.sent)
    start = start_params(norms=True)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), server["BatchNorm_1"], start["BatchNorm_1"])
    assert min(moved.values()) > 1e-2, "FedAvg averages scales, offsets and statistics like weights"


def test_one_client_alone_is_local_training(x64):
    cohorts = [[2]] * 3
    ours, theirs = (run(name, cohorts=cohorts) for name in ("fedbn", "local"))
    for (state, _), (expected, _) in zip(ours[0], theirs[0], strict=True):
        close(row(ours[2](state).personal, 2), row(toy.to_numpy(theirs[2](expected).personal), 2))


@pytest.mark.slow
def test_the_switches_may_be_traced(x64):
    def final(affine, statistics):
        seen, _, models = run(options={"local_affine": affine, "local_statistics": statistics}, cohorts=ROUNDS[:2])
        return models(seen[-1][0]).personal

    flags = jnp.array([[True, True], [True, False], [False, False]])
    together = jax.vmap(lambda f: final(f[0], f[1]))(flags)
    for i, (affine, statistics) in enumerate(flags.tolist()):
        close(row(together, i), toy.to_numpy(final(affine, statistics)))


def test_a_server_optimizer_leaves_kept_norms_alone(x64):
    start = start_params(norms=True)
    seen, _, _ = run(options={"server_optimizer": optax.adam(0.1)})
    for name, leaves in seen[-1][0].server.items():
        moved = [bool((x != start[name][leaf]).any()) for leaf, x in leaves.items()]
        assert not any(moved) if name.startswith("BatchNorm") else all(moved)


def test_the_finer_map_moves_norms_into_two_layers_of_their_own():
    task = batch_norm_toy.make_task()
    finer = norm_layers(task.layers, task.batch_norm)
    layer = dict(zip(finer.leaf_paths, finer.leaf_layers, strict=True))
    assert layer["Dense_0/kernel"] == layer["Dense_0/bias"] == 0
    assert layer["Dense_2/bias"] == 2
    assert {layer[f"BatchNorm_{i}/{leaf}"] for i in (0, 1) for leaf in batch_norm.AFFINE} == {3}
    assert {layer[f"BatchNorm_{i}/{leaf}"] for i in (0, 1) for leaf in batch_norm.STATISTICS} == {4}
    assert finer.sizes == (30, 49, 24, 26, 26)
    assert sum(finer.sizes) == sum(task.layers.sizes)
    assert finer.num_blocks == 5


def test_a_model_without_norms_is_refused_in_one_line():
    with pytest.raises(
        ValueError, match=r"^task: expected a model with BatchNorm, such as bn_cnn, found none"
    ) as caught:
        algorithms.fedbn(toy.make_trainer(toy.make_task(jnp.float32)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["ditto", "pfedme", "per_fedavg", "apfl", "fedrod"])
def test_algorithms_with_steps_of_their_own_refuse_statistics_before_any_work(name):
    trainer = toy.make_trainer(batch_norm_toy.make_task(jnp.float32))
    with pytest.raises(ValueError, match=rf"^task: expected a model without batch normalisation for {name}, got one$"):
        algorithms.registry[name](trainer)


def test_steps_that_forget_the_statistics_are_refused():
    task, pool = batch_norm_toy.make_task(jnp.float32), toy.make_pool(dtype=np.float32)
    trainer, cohort = toy.make_trainer(task), toy.make_cohort([0, 1], pool)
    forgets = LocalOptions(step_gradient=tethered_gradient(task, task.init(jax.random.key(1)), 0.1))
    with pytest.raises(ValueError, match=r"^task: expected a model without batch normalisation"):
        train_cohort(trainer, jax.random.key(0), cohort, server=task.init(jax.random.key(1)), options=forgets)


def test_a_server_optimizer_does_not_step_statistics(x64):
    """Adam's step of 1 would throw a running variance below 0; they are the clients' mean instead."""
    plain, _, _ = run("fedavg", cohorts=ROUNDS[:1], optimised=True)
    adam, _, _ = run("fedavg", {"server_optimizer": optax.adam(1.0)}, cohorts=ROUNDS[:1], optimised=True)
    for norm in NORMS:
        for name in ("mean", "var"):
            np.testing.assert_array_equal(adam[-1][0].server[norm][name], plain[-1][0].server[norm][name])
        assert not np.array_equal(adam[-1][0].server[norm]["scale"], plain[-1][0].server[norm]["scale"])


@pytest.mark.slow
def test_mixing_leaves_statistics_with_their_client(x64):
    """And they say nothing about weights: with the model's weights frozen, the rule does not move."""

    def final(**changes):
        options = {"hyper_hidden": (4,), "hyper_heads": "normal", "hyper_learning_rate": 1.0}
        seen, _, models = run("pfedla", options, **changes)
        return seen[-1][0], models

    state, models = final(cohorts=ROUNDS[:2])
    served = models(state).personal
    for norm in NORMS:
        np.testing.assert_array_equal(served[norm]["var"], state.models[norm]["var"])
    assert not np.array_equal(served["Dense_0"]["kernel"], state.models["Dense_0"]["kernel"])
    still = optax.sgd(0.0)
    (before, _), (after, _) = (final(cohorts=cohorts, optimizer=still) for cohorts in (ROUNDS[:1], ROUNDS))
    jax.tree.map(np.testing.assert_array_equal, before.rules, after.rules)


@pytest.mark.parametrize("name", ["fedprox", "player_fl", "permfl"])
def test_algorithms_with_plain_steps_train_models_with_norms(name, x64):
    """Finite models, whose variances are means of variances."""
    seen, _, models_of = run(name, cohorts=ROUNDS[:2])
    models = models_of(seen[-1][0])
    for tree in (models.personal, models.global_model):
        chex.assert_tree_all_finite(tree)
        if tree is not None:
            assert float(tree["BatchNorm_0"]["var"].min()) > 0


def test_a_frozen_layer_keeps_its_statistics(x64):
    """FedBABU freezes its head, here the last two layers, whose server model must stay the start's."""
    seen, _, _ = run("fedbabu", {"head_layers": 2}, cohorts=ROUNDS[:1])
    start = start_params(norms=True)
    trained = row(seen[0][1].observed, 0)
    chex.assert_trees_all_equal(trained["BatchNorm_1"], start["BatchNorm_1"])
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), trained["BatchNorm_0"], start["BatchNorm_0"])
    assert min(moved.values()) > 1e-3


def test_a_step_of_size_zero_still_moves_the_statistics(x64):
    seen, _, _ = run(cohorts=ROUNDS[:1], learning_rate_factor=lambda t: jnp.float32(0) * t)
    start = start_params(norms=True)
    trained = row(seen[0][1].observed, 0)
    chex.assert_trees_all_equal(trained["Dense_1"], start["Dense_1"])
    assert bool((trained["BatchNorm_1"]["var"] != start["BatchNorm_1"]["var"]).all())
