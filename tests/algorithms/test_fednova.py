"""FedNova: normalisers by the paper's formulas, a round by hand, reductions to FedAvg; refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_layers import algorithms, ops
from fedjax_layers.algorithms.sharing.fednova import way
from fedjax_layers.clients import LocalSolver, Setting
from fedjax_layers.ops.prox import with_proximal_term
from fedjax_layers.types import Cohort, Observer, Pool, Ranges, Task
from tests import batch_norm_toy, toy
from tests.rounds import rounds_of

ROUNDS = ([0, 2, 4], [3, 1], [2, 3, 0])
EQUAL = {"epochs": None, "steps": 3}


def close(a, b, rtol=1e-10):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-12), a, b)


def momentum(rho, steps):
    return (steps - rho * (1 - rho**steps) / (1 - rho)) / (1 - rho)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_normalisers_by_the_papers_formulas(steps, x64):
    assert float(way(optax.sgd(0.1), steps)) == pytest.approx(steps, rel=1e-12)
    assert float(way(optax.sgd(0.3, momentum=0.9), steps)) == pytest.approx(momentum(0.9, steps), rel=1e-12)
    shrunk = (1 - (1 - 0.1 * 2.0) ** steps) / (0.1 * 2.0)
    assert float(way(with_proximal_term(optax.sgd(0.1), 2.0), steps)) == pytest.approx(shrunk, rel=1e-12)


def test_normalisers_by_hand(x64):
    """Checks of the note: rho 0.9 and two steps; a pull with eta * mu = 1/2 and two steps."""
    assert float(way(optax.sgd(0.2, momentum=0.9), 2)) == pytest.approx(2.9)
    assert float(way(with_proximal_term(optax.sgd(0.25), 2.0), 2)) == pytest.approx(1.5)
    assert float(way(optax.sgd(0.2), 0)) == 0
    assert float(way(optax.sgd(0.0), 3)) == 3, "a learning rate of 0 divides by nothing"
    halving = optax.sgd(lambda count: 0.5 ** count.astype(float))
    assert float(way(halving, 3)) == pytest.approx(1.75)
    assert float(way(with_proximal_term(optax.sgd(1.0), 0.5), 2, jnp.asarray(0.5))) == pytest.approx(1.75)


def linear(**options):
    """Two clients with constant gradients 1 and 3 and one and three steps of 0.1."""
    params = {"x": jnp.zeros(())}

    def loss(params, batch, key):
        del key
        return (1 + 2 * batch.inputs[0, 0]) * params["x"]

    task = Task(lambda _: params, None, None, loss, ops.layer_map(params), 1)
    solver = LocalSolver(optax.sgd(0.1), batch_size=1, steps=(1, 3))
    algorithm = algorithms.fednova(Setting(task, 2, 1).bind(solver), **options)
    ids = jnp.arange(2)
    pool = Pool(jnp.array([[0.0], [1.0]]), jnp.zeros(2, jnp.int32))
    cohort = Cohort(ids, jnp.ones(2), Ranges(ids, jnp.ones_like(ids)), pool, Observer(toy.trained_model))
    return jax.jit(algorithm.round)(jax.random.key(1), algorithm.init(jax.random.key(0), params), cohort)


def test_a_round_by_hand(x64):
    """Check of the note: the ways are 0.1 and 0.9, tau_eff is 2, the step -0.4, where FedAvg's is -0.5."""
    state, info = linear()
    np.testing.assert_allclose(info.observed["x"], [-0.1, -0.9], rtol=1e-12)
    assert float(info.extra["effective_steps"]) == pytest.approx(2)
    assert float(state.server["x"]) == pytest.approx(-0.4)
    assert int(info.sent_scalars) == 2
    state, _ = linear(server_optimizer=optax.sgd(0.5))
    assert float(state.server["x"]) == pytest.approx(-0.2)


@pytest.mark.parametrize(("mu", "reference"), [(0.0, "fedavg"), (0.5, "fedprox")])
def test_with_equal_work_it_is_fedavg_or_fedprox(mu, reference, x64):
    """The solver has momentum: the normalisers cancel."""
    found, infos = rounds_of("fednova", {"mu": mu}, **EQUAL).run(ROUNDS)
    expected, _ = rounds_of(reference, {"mu": mu} if mu else {}, **EQUAL).run(ROUNDS)
    close(found[-1].server, expected[-1].server)
    assert infos[0].sent.tolist() == infos[0].received.tolist() == [3] * 3


def test_effective_steps_count_steps_and_not_ways(x64):
    _, infos = rounds_of("fednova", {"effective_steps": "steps"}, **EQUAL).run(ROUNDS[:1])
    assert float(infos[0].extra["effective_steps"]) == pytest.approx(3)
    _, infos = rounds_of("fednova", **EQUAL).run(ROUNDS[:1])
    assert float(infos[0].extra["effective_steps"]) == pytest.approx(momentum(0.9, 3))


def test_with_one_step_it_is_fedavg(x64):
    changes = {"epochs": None, "steps": 1}
    found, expected = (rounds_of(name, **changes).run(ROUNDS)[0][-1].server for name in ("fednova", "fedavg"))
    close(found, expected)


def test_a_client_that_fails_counts_in_no_mean(x64):
    inputs, labels = toy.make_pool()
    spoilt = inputs.copy()
    spoilt[toy.STARTS[2]] = np.nan
    rounds = rounds_of("fednova")
    (_, found), infos = rounds.run([[0, 2, 4]], pool=(spoilt, labels))
    (_, expected), others = rounds.run([[0, 4]])
    close(found.server, expected.server)
    np.testing.assert_allclose(infos[0].extra["effective_steps"], others[0].extra["effective_steps"], rtol=1e-12)


def test_running_statistics_are_averaged_as_in_fedavg(x64):
    task = batch_norm_toy.make_task()
    (_, found), _ = rounds_of("fednova", norms=True).run(ROUNDS[:1])
    (_, expected), _ = rounds_of("fedavg", norms=True).run(ROUNDS[:1])
    flags = task.batch_norm.statistics
    pairs = zip(flags, *map(jax.tree.leaves, (found.server, expected.server)), strict=True)
    equal = [(flag, np.allclose(a, b, rtol=1e-9, atol=1e-12)) for flag, a, b in pairs]
    assert all(same for flag, same in equal if flag)
    assert not all(same for flag, same in equal if not flag)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"optimizer": optax.adam(0.1)}, {}, r"optimizer: expected one with a fixed step \(SGD\) for fednova, got"),
        ({}, {"normaliser": "adam"}, "normaliser: expected one of solver, steps, got 'adam'"),
        ({}, {"effective_steps": "all"}, "effective_steps: expected one of normalisers, steps, got 'all'"),
    ],
)
def test_bad_input(changes, options, message):
    with pytest.raises(ValueError, match=message):
        algorithms.fednova(toy.make_trainer(toy.make_task(jnp.float32), **changes), **options)


def test_an_optimiser_for_some_layers_alone_is_refused():
    mask = [{"w": True, "b": False}] * 3
    trainer = toy.make_trainer(toy.make_task(jnp.float32), optimizer=optax.masked(optax.sgd(0.1), mask))
    with pytest.raises(ValueError, match="optimizer: expected one that treats all layers alike for fednova, got"):
        algorithms.fednova(trainer)
    algorithms.fednova(trainer, normaliser="steps")
