"""Faults of clients: who drops out, does less work or returns NaN, and what is left of a round then."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fedjax_layers as fl
from fedjax_layers.clients import struck
from tests import toy

SOLVER = fl.LocalSolver(optax.sgd(0.1), toy.BATCH)
TASK = toy.make_task(jnp.float32)
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def clients():
    return toy.make_federation(toy.make_pool(dtype="float32"))


@pytest.fixture(scope="module")
def run(clients):
    """A run of FedPer whose faults are numbers that are traced, so that all runs of the same kinds are one program."""

    def of(rounds=2, solver=SOLVER, **faults):
        build = lambda hyper: fl.algorithms.faulty(fl.algorithms.fedper(solver), fl.Faults(**hyper))  # noqa: E731
        return fl.simulate(build, TASK, clients, rounds=rounds, eval_every=rounds, hyper=faults)

    return of


def leaves(result):
    return [np.asarray(x) for x in jax.tree.leaves(result.models)]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(leaves(a), leaves(b), strict=True))


def test_a_clients_fate_depends_on_its_id_and_the_round_alone():
    pool = toy.make_pool()
    faults = fl.Faults(drop_before=0.5, drop_during=0.5, straggle=0.5, broken=0.5)
    forward, backward = (struck(faults, KEY, toy.make_cohort(ids, pool)) for ids in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0]))
    other = struck(faults, jax.random.key(4), toy.make_cohort([0, 1, 2, 3, 4], pool))
    forward, backward, other = ((c.weight, *c.faults) for c in (forward, backward, other))
    for ahead, behind in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(ahead, behind[::-1])
    assert any(not np.array_equal(a, b) for a, b in zip(forward, other, strict=True))


def test_faults_come_as_often_as_they_are_asked_for():
    pool, hits = toy.make_pool(), []
    cohort = toy.make_cohort([0, 1, 2, 3, 4], pool)
    draw = jax.jit(lambda key, p: struck(fl.Faults(drop_during=p), key, cohort).faults.lost)
    hits = np.concatenate([draw(jax.random.key(i), 0.3) for i in range(400)])
    assert abs(hits.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / hits.size)


def test_without_any_luck_nothing_is_learnt(run):
    start = fl.simulate(
        lambda _: fl.algorithms.fedper(SOLVER), TASK, toy.make_federation(toy.make_pool(dtype="float32")),
        rounds=1, weights=None, sampling=fl.sampling.fixed(np.array([-1]), toy.CLIENTS),
    )  # fmt: skip
    for kind in ("drop_before", "drop_during", "broken"):
        result = run(**{kind: 1.0})
        for x, y in zip(leaves(result), leaves(start), strict=True):
            np.testing.assert_array_equal(x, y, err_msg=kind)
        rounds = result.history.rounds
        np.testing.assert_array_equal(rounds["participants"], [0, 0])
        assert (rounds["dropped"].sum(), rounds["nonfinite"].sum()) == ((0, 10) if kind == "broken" else (10, 0))


def test_faults_of_probability_zero_change_no_bit(run, clients):
    plain = fl.simulate(fl.algorithms.fedper(SOLVER), TASK, clients, rounds=2, eval_every=2)
    assert same(run(drop_before=0.0, drop_during=0.0, broken=0.0), plain)


def test_a_straggler_does_its_share_of_steps(run, clients):
    """Half of two epochs is one epoch: each client has as many steps then as with one."""
    two = dataclasses.replace(SOLVER, epochs=2)
    slow = run(solver=two, straggle=1.0, straggle_work=0.5)
    steps = fl.simulate(fl.algorithms.fedper(SOLVER), TASK, clients, rounds=2, eval_every=2).history.rounds["steps"]
    np.testing.assert_array_equal(slow.history.rounds["steps"], steps)
    assert not same(slow, run(solver=two, straggle=0.0, straggle_work=0.5))


def test_who_was_heard_decides_the_mean_and_the_records_say_who_was_not(run):
    result = run(rounds=6, drop_before=0.3, drop_during=0.3, broken=0.3)
    rounds = result.history.rounds
    assert (rounds["participants"] + rounds["dropped"] + rounds["nonfinite"] == toy.CLIENTS).all()
    assert rounds["dropped"].sum() > 0
    assert rounds["nonfinite"].sum() > 0
    named = (rounds["nonfinite_clients"] >= 0).sum(1)
    np.testing.assert_array_equal(named, rounds["nonfinite"])
    assert all(np.isfinite(x).all() for x in leaves(result))


@pytest.mark.parametrize("name", ["drop_before", "straggle_work", "broken"])
def test_a_number_that_is_no_probability_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}: expected a number from 0 to 1, got 1.5"):
        fl.Faults(**{name: 1.5})
