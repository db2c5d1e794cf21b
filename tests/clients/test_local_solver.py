"""How a client learns is said once; the task, the clients and the axis are bound by the run."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fedjax_layers as fl
from fedjax_layers.clients import Setting
from tests import toy

SOLVER = fl.LocalSolver(optax.sgd(0.1), toy.BATCH)
TASK = toy.make_task(jnp.float32)


@pytest.fixture(scope="module")
def clients():
    return toy.make_federation(toy.make_pool(dtype="float32"))


def losses(build, clients, **changes):
    result = fl.simulate(build, TASK, clients, rounds=2, eval_every=2, **changes)
    return result.history.evaluations["served/test/loss"]


def test_a_method_a_function_that_makes_it_and_a_bound_algorithm_run_alike(clients):
    method = fl.algorithms.fedper(SOLVER, personal_layers=1)
    found = losses(method, clients)
    np.testing.assert_array_equal(losses(lambda hyper: method, clients), found)
    bound = method.bind(Setting(TASK, toy.CLIENTS, int(toy.COUNTS.max())))
    np.testing.assert_array_equal(losses(lambda hyper: bound, clients), found)


def test_a_batch_that_nobody_can_fill_is_as_large_as_the_largest_client(clients):
    setting = Setting(TASK, toy.CLIENTS, int(toy.COUNTS.max()))
    large = dataclasses.replace(SOLVER, batch_size=10**6, min_batch=10**5)
    assert setting.bind(large).batch_size == setting.bind(large).min_batch == toy.COUNTS.max()
    exact = dataclasses.replace(SOLVER, batch_size=int(toy.COUNTS.max()), min_batch=int(toy.COUNTS.max()))
    found, expected = (losses(fl.algorithms.fedavg(solver), clients) for solver in (large, exact))
    np.testing.assert_array_equal(found, expected)


def test_clients_of_one_size_are_found_to_be_uniform():
    data = fl.data.load("digits", clients=4, partition="iid")
    sizes = data.sizes["train"]
    assert fl.to_device(data).uniform == bool((sizes == sizes[0]).all())
    assert not fl.to_device(fl.data.load("heart")).uniform


def test_attackers_are_wrapped_around_a_method(clients):
    def attack(trainer):
        def nothing(key, ident, start, trained):
            return jax.tree.map(lambda x: jnp.where(ident >= 0, 0, x), trained)

        return nothing

    method = fl.algorithms.attacked(fl.algorithms.fedavg(SOLVER), attack)
    np.testing.assert_allclose(losses(method, clients)[-1], np.log(TASK.num_classes), rtol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: fl.algorithms.player_fl(SOLVER, threshhold=1.5), TypeError, "threshhold"),
        (lambda: fl.algorithms.player_fl(TASK), TypeError, "solver: expected a LocalSolver, got Task"),
        (lambda: fl.algorithms.ditto(SOLVER, lam=np.ones(5)), ValueError, "lam: expected one number"),
        (lambda: dataclasses.replace(SOLVER, steps=3), ValueError, "epochs, steps: expected at most one"),
        (lambda: fl.LocalSolver(optax.sgd(0.1), 0), ValueError, "batch_size: expected an integer of at least 1, got 0"),
        (lambda: fl.LocalSolver(optax.sgd(0.1), 4, min_batch=5), ValueError, "min_batch: expected at most the batch"),
        (lambda: fl.LocalSolver(optax.sgd(0.1), 4, epochs=(1, 0)), ValueError, "epochs: expected a positive number"),
    ],
)
def test_what_is_wrong_by_itself_is_refused_at_once(wrong, error, message):
    with pytest.raises(error, match=message):
        wrong()


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (fl.algorithms.fedavg(dataclasses.replace(SOLVER, epochs=(1, 2))), ValueError, "one for each of 5 clients"),
        (lambda hyper: SOLVER, TypeError, "build: expected it to return what a factory of algorithms makes"),
        (SOLVER, TypeError, "build: expected a method, or a function that makes one, got LocalSolver"),
    ],
)
def test_what_does_not_fit_the_clients_is_refused_before_the_first_round(clients, build, error, message):
    with pytest.raises(error, match=message):
        fl.simulate(build, TASK, clients, rounds=1)
