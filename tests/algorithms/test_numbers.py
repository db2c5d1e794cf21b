"""Arrays where a number is meant: refused by name, or each client's own."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_layers import algorithms
from fedjax_layers.options import Mark, options_of
from tests import toy
from tests.rounds import task_of

OPTIONS = [
    (name, option.name)
    for name, factory in algorithms.registry.items()
    for option in options_of(factory).values()
    if option.is_number and not option.has(Mark.PER_CLIENT)
]
PER_CLIENT = {
    (name, option.name)
    for name, factory in algorithms.registry.items()
    for option in options_of(factory).values()
    if option.has(Mark.PER_CLIENT)
}
CLASSES, WIDTH = toy.WIDTHS[-1], toy.WIDTHS[1]  # lengths of axes that an array could go along unnoticed


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_an_array_is_refused_in_one_line_that_names_the_option(name, option):
    for clients in (CLASSES, WIDTH):
        trainer = toy.make_trainer(task_of(name, jnp.float32), num_clients=clients)
        for values in (np.full(clients, 0.5), jnp.full(clients, 0.5), [0.5] * clients):
            with pytest.raises(ValueError, match=rf"^{option}: expected one number for all .* \({clients},\)$"):
                algorithms.registry[name](trainer, **{option: values})


def test_a_traced_array_is_refused_as_well():
    trainer = toy.make_trainer(toy.make_task(jnp.float32))

    def build(mu):
        algorithms.fedprox(trainer, mu=mu)
        return mu

    with pytest.raises(ValueError, match=r"^mu: expected one number for all clients"):
        jax.jit(build)(jnp.ones(toy.CLIENTS))
    jax.jit(build)(1.0)
    jax.vmap(build)(jnp.ones(3))  # settings of a sweep


def test_every_option_that_takes_a_number_is_looked_at():
    found = {name for name, _ in OPTIONS}
    assert {"fedprox", "ditto", "pfedme", "permfl", "demlearn", "pfedhn", "pfedla", "fedfomo", "player_fl"} <= found
    assert ("player_fl", "threshold") in OPTIONS
    assert ("pfedla", "hyper_hidden") not in OPTIONS  # several numbers, by its own meaning
    assert ("fedrep", "head_epochs") not in OPTIONS  # one for each client, see test_local_work
    assert {("apfl", "personal_weight"), ("l2gd", "pull"), ("al2gd", "pull"), ("al2gd", "cluster_pull")} == PER_CLIENT


def test_each_client_of_apfl_has_its_own_share():
    shares = np.array([0.1, 0.9, 0.3, 0.6, 0.5])
    trainer, pool = toy.make_trainer(toy.make_task(jnp.float32)), toy.make_pool(dtype=np.float32)
    params = trainer.task.init(jax.random.key(0))

    @jax.jit
    def round_of(personal_weight):
        algorithm = algorithms.apfl(trainer, personal_weight=personal_weight)
        cohort = toy.make_cohort(range(toy.CLIENTS), pool)
        state, _ = algorithm.round(jax.random.key(1), algorithm.init(jax.random.key(0), params), cohort)
        return state.personal_weight, state.sharing.clients

    together = round_of(shares)
    one_share = jax.jit(lambda m: round_of(jnp.full(toy.CLIENTS, m)))
    for client, share in enumerate(shares):
        alone = one_share(share)
        jax.tree.map(
            lambda a, b, c=client: np.testing.assert_allclose(a[c], b[c], rtol=1e-5, atol=1e-6), together, alone
        )
    with pytest.raises(ValueError, match=r"personal_weight: expected a number or 5 of them, got shape \(3,\)"):
        algorithms.apfl(trainer, personal_weight=np.ones(3))


@pytest.mark.parametrize("name", ["l2gd", "al2gd"])
def test_each_client_of_l2gd_has_its_own_pull(name):
    """A round that mixes: a client without pull stays where it is, the others meet at their mean."""
    pulls = np.array([0.0, 0.5, 0.5, 0.0, 0.5])
    trainer = toy.make_trainer(toy.make_task(jnp.float32), optimizer=optax.sgd(0.0))
    options = {"num_teams": 1, "cluster_pull": np.array([1e6])} if name == "al2gd" else {}
    algorithm = algorithms.registry[name](trainer, probability=0.999, step_size=0.999, pull=2 * pulls, **options)
    params = trainer.task.init(jax.random.key(0))
    state = algorithm.init(jax.random.key(0), params)
    noise = jax.tree.map(lambda x: x + jax.random.normal(jax.random.key(3), x.shape), state.clients)
    state = dataclasses.replace(state, clients=noise)
    cohort = toy.make_cohort(range(toy.CLIENTS), toy.make_pool(dtype=np.float32))
    after, _ = jax.jit(algorithm.round)(jax.random.key(1), state, cohort)
    for before, now in zip(jax.tree.leaves(noise), jax.tree.leaves(after.clients), strict=True):
        mean = np.asarray(before)[pulls > 0].mean(0)
        for client, pull in enumerate(pulls):
            right = before[client] if pull == 0 else mean
            np.testing.assert_allclose(now[client], right, rtol=1e-3, atol=1e-3)


def test_in_python_as_on_the_command_line_layers_are_whole_and_no_more_than_there_are():
    trainer = toy.make_trainer(toy.make_task(jnp.float32))
    with pytest.raises(ValueError, match=r"^personal_layers: expected at most the model's 3 layers, got 7$"):
        algorithms.fedper(trainer, personal_layers=7)
    with pytest.raises(ValueError, match=r"^repeat_every: expected a whole number, got 1\.5$"):
        algorithms.player_fl(trainer, repeat_every=1.5)
