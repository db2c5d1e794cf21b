"""Differential privacy: the server's step against NumPy, the sensitivity of what it learns, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fedjax_layers as fl
from fedjax_layers import algorithms
from fedjax_layers.clients import Setting
from tests import batch_norm_toy, toy
from tests.registry import NEEDED
from tests.rounds import task_of

PRIVATE = {  # clients send updates alone; every other algorithm must refuse
    *("local", "fedavg", "fedprox", "local_adaptation", "fedper", "lg_fedavg", "fixed_sharing", "fedrep", "fedbabu"),
    *("fedpart", "fedala", "per_fedavg", "pfedme", "ditto", "fedtlu", "random_layers", "last_layers"),
    *("fedit", "ffa_lora", "fedsa_lora", "fedrod"),
}
SOLVER = fl.LocalSolver(optax.sgd(0.2), toy.BATCH)


def make(name, privacy, dtype=jnp.float64, **options):
    task = task_of(name, dtype)
    setting = Setting(task, toy.CLIENTS, int(toy.COUNTS.max()))
    method = algorithms.registry[name](SOLVER, **NEEDED.get(name, {}) | options)
    return task, (method if privacy is None else algorithms.private(method, privacy)).bind(setting)


def step(name, privacy, *, cohort=None, rounds=1, **options):
    """The server's start and model after some rounds, and the last state."""
    task, algorithm = make(name, privacy, **options)
    cohort = toy.make_cohort([0, 1, 3], toy.make_pool(), pad_to=4) if cohort is None else cohort
    start = task.init(jax.random.key(0))
    state = algorithm.init(jax.random.key(1), start)
    for t in range(rounds):
        state, _ = jax.jit(algorithm.round)(jax.random.fold_in(jax.random.key(2), t), state, cohort)
    return start, state


def flat(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def server_of(state):
    return getattr(state, "sharing", state).server


def updates(cohort, task, algorithm, start):
    """Each client's update by itself, [K, P]."""
    found = []
    for k in range(len(cohort.ids)):
        alone = toy.make_cohort([int(cohort.ids[k])], toy.make_pool())
        state, _ = jax.jit(algorithm.round)(
            jax.random.fold_in(jax.random.key(2), 0), algorithm.init(jax.random.key(1), start), alone
        )
        found.append(flat(state.server) - flat(start))
    return np.array(found)


def test_without_noise_it_is_the_mean_of_clipped_updates_over_all_slots(x64):
    cohort = toy.make_cohort([0, 1, 3], toy.make_pool(), weights=[1, 1, 1])
    task, plain = make("fedavg", None)
    start, state = step("fedavg", fl.Privacy(0.0, 0.05), cohort=cohort)
    each = updates(cohort, task, plain, start)
    factor = np.minimum(1, 0.05 / np.linalg.norm(each, axis=1))
    assert (factor < 1).any()
    np.testing.assert_allclose(flat(state.server) - flat(start), (factor[:, None] * each).sum(0) / 3, rtol=1e-9)


def test_one_client_changes_the_mean_by_no_more_than_the_bound_over_the_slots(x64):
    with_all = toy.make_cohort([0, 1, 3], toy.make_pool(), pad_to=4)
    for gone in range(3):
        without = toy.make_cohort([i for i in (0, 1, 3) if i != (0, 1, 3)[gone]], toy.make_pool(), pad_to=4)
        for name in ("fedavg", "fedper", "fedrep"):
            _, a = step(name, fl.Privacy(0.0, 0.05), cohort=with_all)
            _, b = step(name, fl.Privacy(0.0, 0.05), cohort=without)
            assert np.linalg.norm(flat(server_of(a)) - flat(server_of(b))) <= 0.05 / 4 * (1 + 1e-9), name


def test_the_noise_has_the_deviation_that_was_asked_for(x64):
    quiet, loud = (flat(step("fedavg", fl.Privacy(z, 0.05), rounds=1)[1].server) for z in (0.0, 3.0))
    noise = (loud - quiet) * 4 / 0.05
    assert abs(noise.std() / 3 - 1) < 4 / np.sqrt(2 * noise.size)
    assert abs(noise.mean()) < 4 * 3 / np.sqrt(noise.size)


def test_layers_that_stay_with_their_client_get_no_noise_and_count_in_no_norm(x64):
    start, state = step("fedper", fl.Privacy(5.0, 0.05), personal_layers=1)
    moved = [np.abs(flat(a) - flat(b)).max() for a, b in zip(state.server, start, strict=True)]
    assert moved[0] > 0
    assert moved[2] == 0


def test_the_bound_follows_the_quantile(x64):
    _, state = step("fedavg", fl.Privacy(0.0, 1e-3, quantile=0.5, clip_rate=0.5, count_noise=1e-6), rounds=40)
    assert 1e-2 < float(state.clip) < 1


def test_one_client_changes_the_count_behind_the_bound_by_a_half_whether_its_update_is_short_or_long(x64):
    here, nobody = (toy.make_cohort(ids, toy.make_pool(), pad_to=2) for ids in ([3], []))

    def moved(clip, cohort):
        privacy = fl.Privacy(0.0, clip, quantile=0.5, clip_rate=1.0, count_noise=1e-9)
        return np.log(float(step("fedavg", privacy, cohort=cohort)[1].clip) / clip)

    for clip, sign in ((1e-3, 1), (1e3, -1)):
        assert moved(clip, nobody) == pytest.approx(0, abs=1e-6)
        assert moved(clip, here) == pytest.approx(sign * 0.5 / 2, abs=1e-6)


def test_a_server_optimizer_steps_even_if_nobody_was_heard_as_this_would_tell_who_was(x64):
    nobody = toy.make_cohort([], toy.make_pool(), pad_to=2)
    start, state = step("fedavg", fl.Privacy(1.0, 0.05), cohort=nobody, server_optimizer=optax.adam(0.1))
    assert int(state.server_opt[0].count) == 1
    assert np.abs(flat(state.server) - flat(start)).min() > 0


@pytest.mark.parametrize(("name", "option"), [("fedper", "personal_layers"), ("fedrep", "head_layers")])
def test_a_client_that_never_took_part_is_not_served_the_layers_of_others(name, option, x64):
    task, algorithm = make(name, fl.Privacy(0.0, 0.05), **{option: 1})
    start = task.init(jax.random.key(0))
    state = algorithm.init(jax.random.key(1), start)
    state, _ = jax.jit(algorithm.round)(jax.random.key(2), state, toy.make_cohort([0, 1], toy.make_pool()))
    served = algorithm.personal(state).stacked()
    last = jax.tree.map(lambda x: x[3], served)[-1]
    assert np.abs(flat(jax.tree.map(lambda x: x[0], served)[-1]) - flat(start[-1])).max() > 0
    np.testing.assert_array_equal(flat(last), flat(start[-1]))
    assert algorithm.welcome is None


def test_noise_on_the_count_is_taken_from_the_budget():
    privacy = fl.Privacy(1.0, 1.0, quantile=0.5, count_noise=1.0)
    assert privacy.update_noise(10) ** -2 + (2 * 1.0) ** -2 == pytest.approx(1.0)
    with pytest.raises(ValueError, match="noise: expected less than 1, twice the noise on the count"):
        fl.Privacy(1.5, 1.0, quantile=0.5, count_noise=0.5).update_noise(10)
    few = fl.Privacy(1.5, 1.0, quantile=0.5)
    assert few.count_deviation(100) == 5
    assert few.update_noise(2) == pytest.approx(1.5 / 0.75**0.5)


@pytest.mark.parametrize("name", sorted(algorithms.registry))
def test_an_algorithm_whose_clients_send_more_is_refused(name):
    if name == "fedbn":  # its model has batch normalisation, which is refused
        bound = Setting(batch_norm_toy.make_task(jnp.float32), toy.CLIENTS, int(toy.COUNTS.max()))
        private = algorithms.private(algorithms.fedbn(SOLVER), fl.Privacy(1.0, 1.0)).bind(bound)
        with pytest.raises(ValueError, match="differential privacy"):
            jax.eval_shape(lambda key: private.init(key, bound.task.init(key)), jax.random.key(0))
        return
    cohort = toy.make_cohort([0, 1, 3], toy.make_pool(dtype=np.float32))

    def run(key):
        task, algorithm = make(name, fl.Privacy(1.0, 1.0), jnp.float32)
        return algorithm.round(key, algorithm.init(key, task.init(key)), cohort)

    if name in PRIVATE:
        jax.eval_shape(run, jax.random.key(0))
        return
    with pytest.raises(ValueError, match=r"privacy: expected (an algorithm|none)"):
        jax.eval_shape(run, jax.random.key(0))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"noise": -1.0}, "noise: expected a finite number of at least 0, got -1.0"),
        ({"clip": 0.0}, "clip: expected a finite number above 0, got 0.0"),
        ({"quantile": 1.5}, "quantile: expected a number up to 1 of at least 0, got 1.5"),
        ({"quantile": 0.5, "per_layer": True}, "quantile: expected none with per_layer"),
    ],
)
def test_numbers_out_of_range_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        fl.Privacy(**{"noise": 1.0, "clip": 1.0} | fields)
