"""FedProto by hand, its reductions, and the features that tasks of real models have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fedjax_layers as fl
from fedjax_layers import algorithms
from fedjax_layers.algorithms.tethered.fedproto import client_term, next_prototypes, pull
from fedjax_layers.types import Batch
from tests import toy
from tests.rounds import rounds_of

COHORTS = ([0, 2, 4], [3, 1], [2, 3, 0])


@pytest.mark.parametrize(("average", "expected"), [("plain", (2.5, 0)), ("count", (2, 0))])
def test_the_servers_means_by_hand(average, expected):
    """Features (0,0), (2,0) at one client and (4,0) at another, of class 0; class 1 is nobody's."""
    one = client_term(jnp.array([[2.0, 0], [0, 0]]), jnp.array([2, 0]), average)
    two = client_term(jnp.array([[4.0, 0], [0, 0]]), jnp.array([1, 0]), average)
    sums = jax.tree.map(jnp.add, one, two)
    found, owned = next_prototypes(jnp.full((2, 2), 7.0), jnp.array([False, True]), sums)
    np.testing.assert_array_equal(found, [expected, (7, 7)])
    np.testing.assert_array_equal(owned, [True, True])
    np.testing.assert_array_equal(sums[2], [2, 0])


def test_the_pull_by_hand():
    """Feature (1,1), prototype (3,1): 2. A row whose class has none costs 0 and counts; padding does not."""
    task = toy.make_task(jnp.float32)._replace(features=lambda params, x, key: x + 0 * params)
    batch = Batch(jnp.array([[1.0, 1], [1, 1], [np.nan, 1]]), jnp.array([0, 1, 0]), jnp.array([True, True, False]))
    prototypes = jnp.array([[3.0, 1], [0, 0]])
    cost = lambda owned: pull(task, jnp.float32(0), batch, None, prototypes, jnp.array(owned))  # noqa: E731
    assert cost([True, False]) == 1
    assert cost([True, True]) == 1.5
    alone = batch._replace(mask=jnp.array([True, False, False]))
    assert pull(task, jnp.float32(0), alone, None, prototypes, jnp.array([True, False])) == 2


def test_without_a_pull_it_is_local_training(x64):
    found = rounds_of("fedproto", {"lam": 0.0})
    expected = rounds_of("local")
    (*_, one), (*_, other) = found.run(COHORTS)[0], expected.run(COHORTS)[0]
    jax.tree.map(np.testing.assert_array_equal, found.models(one).personal, expected.models(other).personal)


def test_what_is_sent_are_means_and_counts(x64):
    rounds = rounds_of("fedproto", {"lam": 0.6})
    _, infos = rounds.run([[0, 2, 4], []])
    labels = toy.make_pool()[1]
    own = [set(labels[toy.STARTS[c] : toy.STARTS[c] + toy.COUNTS[c]]) for c in (0, 2, 4)]
    assert infos[0].sent_scalars == sum(map(len, own)) * (toy.WIDTHS[-2] + 1)
    assert infos[1].sent_scalars == 0
    assert infos[0].extra["classes"] == len(set.union(*own))
    assert not infos[0].sent.any()


def test_features_of_a_model_are_what_its_last_layer_gets():
    task = fl.task(fl.models.build_model("mlp", 3, hidden=(5, 4)), (6,), 3)
    params, x = task.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (7, 6))
    h = task.features(params, x, None)
    last = [leaf for leaf, layer in zip(jax.tree.leaves(params), task.layers.leaf_layers, strict=True) if layer == 2]
    bias, kernel = sorted(last, key=lambda leaf: leaf.ndim)
    np.testing.assert_allclose(h @ kernel + bias, task.apply(params, x, None), rtol=1e-5, atol=1e-6)
    slopes = jax.grad(lambda own: task.features(own, x, None).sum())(params)
    assert [bool(jnp.any(g != 0)) for g in jax.tree.leaves(slopes)] == [i < 2 for i in task.layers.leaf_layers]


def test_tasks_that_do_not_fit_are_refused(x64):
    trainer = toy.make_trainer(toy.make_task()._replace(features=None))
    with pytest.raises(ValueError, match="task: expected one with features"):
        algorithms.fedproto(trainer)
    with pytest.raises(ValueError, match="task: expected one class for each example with fedproto"):
        algorithms.fedproto(toy.make_trainer(toy.make_task()._replace(num_classes=1)))
