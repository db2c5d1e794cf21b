"""FedRoD: the balanced loss by hand, heads that add up, reductions to FedAvg, what is sent, bad input."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import algorithms, ops
from fedjax_layers.algorithms.sharing.fedrod import Heads, balanced_loss, both_gradients, log_counts, with_head
from fedjax_layers.clients import Setting
from fedjax_layers.types import Batch, Pool
from tests import toy

COHORTS = ([0, 2, 4], [3, 1], [0])


def run(pool, cohorts=COHORTS, name="fedrod", **options):
    """State and models after these rounds, and the last report."""
    algorithm = getattr(algorithms, name)(toy.make_trainer(toy.make_task()), **options)
    state = algorithm.init(jax.random.key(2), toy.make_task().init(jax.random.key(1)))
    info, step = None, jax.jit(algorithm.round)
    for t, ids in enumerate(cohorts):
        state, info = step(jax.random.key(t), state, toy.make_cohort(ids, pool, pad_to=3))
    return state, algorithm.models(state), info


def assert_same(found, expected, rtol=1e-12):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-14), found, expected)


def owner_of(count, labels):
    """A client that owns the first rows of a pool with these labels, and the pool."""
    return SimpleNamespace(start=jnp.int32(0), count=jnp.int32(count)), Pool(jnp.zeros((len(labels), 1)), labels)


def test_the_balanced_loss_by_hand(x64):
    """Two classes, logits 0, counts 3 and 1, label 1: the loss is log 4, its slope by the biases (3/4, -3/4)."""
    owner, pool = owner_of(4, jnp.asarray([0, 1, 0, 0, 1, 1], jnp.int32))
    prior = log_counts(owner, pool, 6, 2)
    np.testing.assert_allclose(prior, np.log([3, 1]), rtol=1e-12)
    task = toy.make_task()
    params = jax.tree.map(jnp.zeros_like, task.init(jax.random.key(0)))
    batch = Batch(jnp.ones((2, 4)), jnp.asarray([1, 0], jnp.int32), jnp.asarray([True, False]))
    three = jnp.append(prior, -1e9)  # of the third class this client has none
    slope = jax.grad(lambda w: balanced_loss(task, three, w, batch, None))(params)
    np.testing.assert_allclose(balanced_loss(task, three, params, batch, None), np.log(4), rtol=1e-12)
    np.testing.assert_allclose(slope[-1]["b"], [0.75, -0.75, 0], atol=1e-12)
    spoilt = batch._replace(inputs=batch.inputs.at[1].set(jnp.nan))
    assert_same(jax.grad(lambda w: balanced_loss(task, three, w, spoilt, None))(params), slope)


def test_the_own_head_alone_follows_the_plain_loss(x64):
    """Its slope is that of the loss by the last layer of the summed model; the body's is the balanced loss's."""
    task, (inputs, labels) = toy.make_task(), toy.make_pool()
    w = task.init(jax.random.key(3))
    nothing = {"w": None, "b": None}
    head = [nothing, nothing, jax.tree.map(lambda x: x / 2 + 1, w[-1])]
    batch = Batch(jnp.asarray(inputs[:5]), jnp.asarray(labels[:5]), jnp.ones(5, bool))
    prior = jnp.asarray([0.3, -1.0, 0.2])
    loss, found, _ = both_gradients(task, prior).compute(Heads(w, head), (batch,), jax.random.key(0), ())
    summed = with_head(task.layers, w, head)
    expected = jax.value_and_grad(task.loss)(summed, batch, None)
    np.testing.assert_allclose(loss, expected[0], rtol=1e-12)
    assert_same(found.head[-1], expected[1][-1])
    assert len(jax.tree.leaves(found.head)) == 2
    assert_same(found.w, jax.grad(lambda p: balanced_loss(task, prior, p, batch, None))(w))
    features = batch.inputs
    for layer in w[:-1]:
        features = jnp.tanh(features @ layer["w"] + layer["b"][None])
    both = task.apply(w, batch.inputs, None) + features @ head[-1]["w"] + head[-1]["b"][None]
    np.testing.assert_allclose(task.apply(summed, batch.inputs, None), both, rtol=1e-12)


@pytest.mark.parametrize("balance", ["weight 0", "equal counts"])
def test_without_imbalance_the_generic_model_is_fedavgs(balance, x64):
    inputs, labels = toy.make_pool()
    if balance == "equal counts":  # every client has as many of each of its classes; clients 3 and 4 have others
        labels = np.concatenate([np.arange(n) % 3 for n in (9, 0, 0, 0, 0)] + [labels[9:]]).astype(np.int32)
    cohorts = ([0], [0]) if balance == "equal counts" else COHORTS
    options = {} if balance == "equal counts" else {"class_prior": 0.0}
    found = run((inputs, labels), cohorts, **options)[1].global_model
    assert_same(found, run((inputs, labels), cohorts, "fedavg")[1].global_model, rtol=1e-9)


def test_a_head_of_zeros_is_the_generic_model_and_a_stranger_gets_it(x64):
    pool = toy.make_pool()
    _, models, info = run(pool, [[0, 2]])
    assert info.sent.tolist() == info.received.tolist() == [2, 2, 2], "all layers, and nothing of the own head"
    assert int(info.sent_scalars) == 0
    for client in (1, 3, 4):
        assert_same(jax.tree.map(lambda x, c=client: x[c], models.personal), models.global_model)
    body = jax.tree.map(lambda x: x[0], models.personal)
    assert_same(body[:-1], models.global_model[:-1])
    assert (np.abs(body[-1]["w"] - models.global_model[-1]["w"]) > 1e-3).any()
    start, _, _ = run(pool, [], head_start="zero")
    seen = dataclasses.replace(start, seen=jnp.ones(toy.CLIENTS, bool))
    algorithm = algorithms.fedrod(toy.make_trainer(toy.make_task()))
    assert_same(jax.tree.map(lambda x: x[2], algorithm.models(seen).personal), start.server)
    copies, _, _ = run(pool, [])
    assert_same(jax.tree.map(lambda x: x[1], copies.clients[-1]), copies.server[-1])


def test_what_is_wrong_is_named():
    task = toy.make_task(np.float32)
    sideways = task._replace(num_classes=5)
    with pytest.raises(
        ValueError, match="model: expected a last layer of one matrix, with or without a bias, for 5 cla"
    ):
        algorithms.fedrod(Setting(sideways, 5, 14).bind(toy.make_trainer(task)))
    one = jax.tree.map(
        jnp.zeros, {"a": {"w": (3, 4)}, "z": {"u": (4, 3), "w": (4, 3)}}, is_leaf=lambda x: isinstance(x, tuple)
    )
    double = task._replace(layers=ops.layer_map(one, ["a", "z"]))
    with pytest.raises(ValueError, match="model: expected a last layer of one matrix"):
        algorithms.fedrod(Setting(double, 5, 14).bind(toy.make_trainer(task)))
    owner, pool = owner_of(2, jnp.zeros((3, 2), jnp.int32))
    with pytest.raises(ValueError, match="labels: expected one class for each example with fedrod, got int32 of shape"):
        log_counts(owner, pool, 3, 2)
    with pytest.raises(ValueError, match="class_prior: expected"):
        algorithms.fedrod(toy.make_trainer(task), class_prior=-1.0)
    with pytest.raises(ValueError, match="head_start: expected"):
        algorithms.fedrod(toy.make_trainer(task), head_start="none")
