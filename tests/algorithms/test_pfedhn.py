"""pFedHN: oracle, the gradient against autodiff, FedAvg as a special case, descent, transfers, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_layers import algorithms
from fedjax_layers.algorithms.mixing.pfedhn import emit, hyper_gradient
from tests import batch_norm_toy, toy
from tests.reference.pfedhn import PFedHN
from tests.rounds import round_key, rounds_of, start_params

ROUNDS = ([0, 2, 4], [3, 1], [], [2, 3, 0], [4, 1, 2])  # partial: padded to three slots
NET = {"hyper_embedding": 4, "hyper_hidden": (6, 5), "head_scale": 1.0}


def close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), toy.to_numpy(found), expected)


def row(tree, i):
    return jax.tree.map(lambda x: np.asarray(x[i]), tree)


def gap(a, b):
    return max(jax.tree.leaves(jax.tree.map(lambda x, y: float(np.abs(x - y).max()), a, b)))


TRACED = ("hyper_learning_rate", "hyper_momentum", "hyper_weight_decay", "hyper_clip", "head_scale")


def run(name="pfedhn", rounds=ROUNDS, *, seed=2, weights=None, **args):
    """State, reports and the rounds after some rounds of the toy clients."""
    found = rounds_of(name, args, traced=TRACED)
    states, infos = found.run(rounds, seed=seed, weights=weights)
    return states[-1], infos, found


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("order", ["together", "sequential"])
def test_agrees_with_its_oracle(order, keep, x64):
    """The limit cuts some clients' gradients and not others', so that it must be applied before the mean."""
    pool = toy.make_pool()
    numbers = {"hyper_learning_rate": 0.3, "hyper_momentum": 0.6, "hyper_weight_decay": 0.02, "hyper_clip": 0.7}
    args = {"order": order} | numbers | NET
    rounds = rounds_of("pfedhn", args, traced=TRACED, **({"keep_optimizer": True} if keep else {}))
    state, trainer = rounds.start(), rounds.trainer
    given = {"rate": 0.3, "momentum": 0.6, "decay": 0.02, "clip": 0.7, "lr": 0.1, "beta": 0.9}
    oracle = PFedHN(toy.to_numpy(state.net), *pool, sequential=order == "sequential", keep=keep, **given)
    norms = []
    for t, ids in enumerate(ROUNDS):
        key = round_key(t)
        state, info = rounds.step(key, state, toy.make_cohort(ids, pool, pad_to=3))
        trained, losses = oracle.round([(c, toy.drawn_batches(trainer, key, c)) for c in ids])
        for slot, client in enumerate(ids):
            close(row(info.observed, slot), trained[client])
            np.testing.assert_allclose(info.loss[slot], losses[client], rtol=1e-10)
        np.testing.assert_allclose(info.extra["hyper_gradient"], np.mean(oracle.norms) if ids else 0, rtol=1e-10)
        close(state.net, oracle.net)
        right, personal = list(oracle.served()), rounds.models(state).personal
        for client in toy.seen_after(ROUNDS, t):
            close(row(personal, client), right[client])
        norms += oracle.norms
    assert min(norms) < 0.7 < max(norms)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [None, 1.0])
def test_the_gradient_is_autodiffs(limit, x64):
    state, _, _ = run(rounds=[[0, 1]], **NET)
    ids, present = jnp.array([3, 0, 1]), jnp.array([True, True, False])
    shapes = jax.eval_shape(toy.make_task().init, jax.random.key(0))
    size = np.array([3.0, 0.01, 0.0])  # one over the limit, one under it, padding
    leaves, treedef = jax.tree.flatten(shapes)
    drawn = [jax.random.normal(jax.random.key(i), (3, *x.shape)) for i, x in enumerate(leaves)]
    update = treedef.unflatten([x * size.reshape(3, *(1,) * (x.ndim - 1)) for x in drawn])
    expected = []
    for k in (0, 1):
        model, back = jax.vjp(lambda net, k=k: row_of(emit(net, ids, present, shapes), k), state.net)
        grads = back(row_of(update, k))[0]
        if limit is not None:
            clip = optax.clip_by_global_norm(limit)
            grads, _ = clip.update(grads, clip.init(model))
        expected.append(grads)
    found, norms = hyper_gradient(state.net, ids, present, update, None if limit is None else jnp.asarray(limit))
    close(found, jax.tree.map(lambda a, b: np.asarray(a + b) / 2, *expected))
    assert norms[1] < 1 < norms[0]
    assert norms[2] == 0


def row_of(tree, k):
    return jax.tree.map(lambda x: x[k], tree)


@pytest.mark.slow
def test_head_biases_alone_at_rate_one_are_fedavg_with_equal_weights(x64):
    """Kernels at 0 stand still: the vectors say nothing, and the biases go to the mean of the trained models."""

    def labels(net):
        frozen = jax.tree.map(lambda _: "still", net)
        moving = jax.tree.map(lambda _: "bias", net["heads"]["bias"])
        return frozen | {"heads": frozen["heads"] | {"bias": moving}}

    only_biases = optax.partition({"bias": optax.sgd(1.0), "still": optax.set_to_zero()}, labels)
    found = run(hyper_optimizer=only_biases, hyper_clip=None)
    fedavg = run("fedavg", weights=np.ones(3))
    for client in range(toy.CLIENTS):
        close(row(found[2].models(found[0]).personal, client), toy.to_numpy(fedavg[0].server))
    assert gap(fedavg[0].server, run("fedavg", [])[0].server) > 0.1


def test_every_model_begins_as_the_common_start_and_scattered_around_it_with_a_scale(x64):
    start, algorithm = start_params(), algorithms.pfedhn(toy.make_trainer(toy.make_task()))
    state = algorithm.init(jax.random.key(2), start)
    served = algorithm.models(state).personal
    assert state.net["embedding"].shape == (5, 2), "1 + 5 // 4"
    assert [x["kernel"].shape for x in state.net["trunk"]] == [(2, 100), (100, 100), (100, 100)]
    for client in range(toy.CLIENTS):
        jax.tree.map(np.testing.assert_array_equal, row(served, client), toy.to_numpy(start))
    state, _, rounds = run(rounds=[], **NET)
    served = rounds.models(state).personal
    assert gap(row(served, 0), start) > 1e-3
    assert gap(row(served, 0), row(served, 1)) > 1e-3
    bound = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(state.net["heads"]["kernel"]))
    assert 0.9 / np.sqrt(5) < bound <= 1 / np.sqrt(5)


@pytest.mark.slow
def test_one_step_lowers_the_loss_of_what_is_served(x64):
    """Descent: a small step of the server, and the mean training loss of the emitted models falls."""
    task, (inputs, labels) = toy.make_task(), toy.make_pool()
    args = {"hyper_learning_rate": 0.01, "hyper_momentum": 0.0, "hyper_weight_decay": 0.0, **NET}

    def loss(algorithm, state):
        total = 0.0
        for c, (first, count) in enumerate(zip(toy.STARTS, toy.COUNTS, strict=True)):
            outputs = task.apply(row(algorithm.models(state).personal, c), inputs[first : first + count], None)
            total += float(task.losses(outputs, labels[first : first + count]).mean())
        return total

    before = run(rounds=[], **args)
    after = run(rounds=[range(toy.CLIENTS)], **args)
    assert loss(after[2], after[0]) < loss(before[2], before[0]) - 1e-3


def test_clients_models_part_from_a_common_start(x64):
    """Zero kernels: the first step moves the heads alone, the second one the vectors as well."""
    args = {"hyper_weight_decay": 0.0, "hyper_learning_rate": 0.1}
    start, one, two = (run(rounds=[range(5)] * t, **args) for t in (0, 1, 2))
    np.testing.assert_array_equal(one[0].net["embedding"], start[0].net["embedding"])
    assert gap(two[0].net["embedding"], one[0].net["embedding"]) > 1e-6
    served = two[2].models(two[0]).personal
    assert gap(row(served, 0), row(served, 1)) > 1e-4


@pytest.mark.slow
def test_slots_in_another_order_change_nothing_together_and_something_in_sequence(x64):
    for order, same in (("together", True), ("sequential", False)):
        nets = [run(rounds=r, order=order, **NET)[0].net for r in ([[0, 2, 4]] * 2, [[4, 0, 2]] * 2)]
        assert (gap(*nets) < 1e-12) == same


@pytest.mark.parametrize("order", ["together", "sequential"])
def test_nobody_leaves_the_hypernetwork_still_whatever_its_momentum(order, x64):
    before, _, _ = run(rounds=[[0, 1]], order=order, **NET)
    after, _, _ = run(rounds=[[0, 1], []], order=order, **NET)
    jax.tree.map(np.testing.assert_array_equal, (before.net, before.net_opt), (after.net, after.net_opt))
    assert int(after.round) == 1


def test_the_whole_model_goes_both_ways(x64):
    _, infos, _ = run(**NET)
    for ids, info in zip(ROUNDS, infos, strict=True):
        assert info.sent.tolist() == info.received.tolist() == [len(ids)] * 3


def test_seeds_change_the_hypernetwork(x64):
    one, two, again = (run(rounds=[], seed=s, **NET)[0].net for s in (2, 3, 2))
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert not np.array_equal(one["embedding"], two["embedding"])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"order": "random"}, "order: expected one of together, sequential, got 'random'"),
        ({"hyper_embedding": 0}, "hyper_embedding: expected at least 1, got 0"),
        ({"hyper_hidden": ()}, r"hyper_hidden: expected one or more widths, got \(\)"),
        ({"hyper_hidden": (4, 0)}, r"hyper_hidden: expected at least 1, got \(4, 0\)"),
        ({"hyper_clip": 0.0}, "hyper_clip: expected a positive number, got 0.0"),
        ({"hyper_momentum": -0.1}, "hyper_momentum: expected at least 0, got -0.1"),
        ({"head_scale": float("nan")}, "head_scale: expected a finite number, got nan"),
    ],
)
def test_bad_input(args, message):
    trainer = toy.make_trainer(toy.make_task(jnp.float32))
    with pytest.raises(ValueError, match=message) as error:
        algorithms.pfedhn(trainer, **args)
    assert "\n" not in str(error.value)


def test_running_statistics_are_refused():
    trainer = toy.make_trainer(batch_norm_toy.make_task(jnp.float32))
    with pytest.raises(ValueError, match=r"^task: expected a model without batch normalisation for pfedhn, got one$"):
        algorithms.pfedhn(trainer)
