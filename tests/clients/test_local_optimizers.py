"""Any optax optimiser in local training: what it is told beside gradients, and whose random numbers it draws."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fedjax_layers as fl
from fedjax_layers.clients import keys, train_client, train_cohort
from fedjax_layers.clients.batches import batch_order, batch_rows, take_batch
from fedjax_layers.models.task import task_from_functions
from fedjax_layers.ops.optimizer_update import reseed
from fedjax_layers.ops.prox import with_proximal_term
from fedjax_layers.types import Pool
from tests import toy

SAM = functools.partial(optax.contrib.sam, optax.sgd(0.1), optax.chain(optax.contrib.normalize(), optax.sgd(0.05)))
OPTIMIZERS = {
    "polyak_sgd": optax.polyak_sgd(1.0),
    "reduce_on_plateau": optax.chain(optax.sgd(0.5), optax.contrib.reduce_on_plateau(0.5, patience=1, rtol=0.5)),
    "lbfgs": optax.lbfgs(memory_size=3),
    "backtracking": optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(5)),
    "sam, opaque": SAM(opaque_mode=True),
    "sam": SAM(),
    "schedule_free": optax.contrib.schedule_free_sgd(0.1),
    "sophia": optax.contrib.sophia(0.1),
    "momo": optax.contrib.momo(0.1),
}
SLOW = ("sam", "schedule_free", "sophia", "momo")
STEPS = 5


def linear_task(dtype):
    """Two layers without anything between them: the loss is no quadratic, and cheap."""

    def init(key):
        one, two = jax.random.split(key)
        return [{"w": jax.random.normal(one, (4, 2), dtype)}, {"w": jax.random.normal(two, (2, 3), dtype)}]

    def apply(params, inputs, key):
        del key
        return inputs.astype(dtype) @ params[0]["w"] @ params[1]["w"]

    losses = optax.softmax_cross_entropy_with_integer_labels
    return task_from_functions(init, apply, losses, None, 3)


def trainer_of(optimizer, task, **changes):
    return toy.make_trainer(task, optimizer=optimizer, **({"epochs": None, "steps": STEPS} | changes))


def setting(task, client=2):
    pool = Pool(*map(jnp.asarray, toy.make_pool()))
    return task.init(jax.random.key(1)), (jnp.int32(toy.STARTS[client]), jnp.int32(toy.COUNTS[client]), pool)


def plain_loop(optimizer, trainer, key, params, data, objective):
    """Optax as its documentation uses it, one Python step after the other, on the batches that the package draws."""
    start, count, pool = data
    order_key, step_key = jax.random.split(key)
    order = batch_order(order_key, count, trainer)

    @jax.jit
    def step(params, state, batch, batch_key):
        loss = functools.partial(objective, batch=batch, key=batch_key)
        value, grad = jax.value_and_grad(loss)(params)
        extras = {"obj_fn": loss} if optimizer is OPTIMIZERS["sophia"] else {}
        extras |= {"value": value, "grad": grad, "value_fn": loss}
        if optimizer is OPTIMIZERS["sam"] or optimizer is OPTIMIZERS["sam, opaque"]:
            extras = {"grad_fn": lambda p, _: jax.grad(loss)(p)}
        updates, state = optax.with_extra_args_support(optimizer).update(grad, state, params, **extras)
        return optax.apply_updates(params, updates), state

    state = reseed(optimizer.init(params), jax.random.fold_in(key, keys.OPTIMIZER))
    for i in range(int(trainer.num_steps(int(count)))):
        batch = take_batch(pool, start, *batch_rows(order, jnp.int32(i), count, trainer))
        params, state = step(params, state, batch, jax.random.fold_in(step_key, i))
    return params


def agree(found, right):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), found, right)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in OPTIMIZERS])
def test_an_optimiser_does_what_a_plain_loop_of_optax_does(x64, name):
    task, key, optimizer = linear_task(jnp.float64), jax.random.key(3), OPTIMIZERS[name]
    params, data = setting(task)
    trainer = trainer_of(optimizer, task)
    found = jax.jit(lambda p: train_client(trainer, key, p, (), p, data).params)(params)
    right = plain_loop(optimizer, trainer, key, params, data, task.loss)
    agree(found, right)
    assert max(float(jnp.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (found, params)), strict=True)) > 1e-3


@pytest.mark.parametrize("name", ["fedprox", "ditto"])
def test_a_line_search_knows_of_the_pull_to_the_global_model(x64, name):
    """Ditto's second model and FedProx's client minimise the loss and half of the squared distance, times 0.7."""
    task, key, client = linear_task(jnp.float64), jax.random.key(3), 2
    optimizer = OPTIMIZERS["backtracking"]
    params, data = setting(task, client)
    trainer = trainer_of(optimizer, task)
    pulled = {"fedprox": {"mu": 0.7}, "ditto": {"lam": 0.7}}[name]
    algorithm = getattr(fl.algorithms, name)(trainer, **pulled)
    state = algorithm.init(jax.random.key(0), params)
    _, info = jax.jit(algorithm.round)(key, state, toy.make_cohort([client], toy.make_pool()))

    def objective(p, batch, key):
        gaps = jax.tree.leaves(jax.tree.map(jnp.subtract, p, params))
        return task.loss(p, batch, key) + 0.35 * sum(jnp.square(gap).sum() for gap in gaps)

    right = plain_loop(optimizer, trainer, jax.random.fold_in(key, client), params, data, objective)
    agree(jax.tree.map(lambda x: x[0], info.observed), right)


def test_a_line_search_sees_no_layer_that_stands_still(x64):
    task, key, client = linear_task(jnp.float64), jax.random.key(3), 2
    optimizer = OPTIMIZERS["backtracking"]
    params, data = setting(task, client)
    trainer = trainer_of(optimizer, task)
    algorithm = fl.algorithms.fedbabu(trainer)
    state = algorithm.init(jax.random.key(0), params)
    _, info = jax.jit(algorithm.round)(key, state, toy.make_cohort([client], toy.make_pool()))

    def objective(p, batch, key):
        return task.loss([p[0], params[1]], batch, key)

    right = plain_loop(optimizer, trainer, jax.random.fold_in(key, client), params, data, objective)
    agree(jax.tree.map(lambda x: x[0], info.observed), right)


@pytest.mark.parametrize("name", ["apfl", "pfedme", "per_fedavg"])
def test_algorithms_whose_steps_descend_no_loss_refuse_optimisers_that_need_one(name):
    trainer = trainer_of(OPTIMIZERS["polyak_sgd"], toy.make_task(jnp.float32))
    with pytest.raises(ValueError, match=f"^optimizer: expected .* gradients alone for {name}, got one .*'value'$"):
        getattr(fl.algorithms, name)(trainer)


def test_servers_refuse_optimisers_that_need_a_loss():
    trainer = trainer_of(optax.sgd(0.1), toy.make_task(jnp.float32))
    params = trainer.task.init(jax.random.key(0))
    needy = optax.polyak_sgd()
    with pytest.raises(ValueError, match=r"^server_optimizer: expected .* gradients alone for the server"):
        jax.eval_shape(fl.algorithms.fedavg(trainer, server_optimizer=needy).init, jax.random.key(0), params)
    with pytest.raises(ValueError, match=r"^hyper_optimizer: expected .* gradients alone for the hypernetwork"):
        jax.eval_shape(fl.algorithms.pfedhn(trainer, hyper_optimizer=needy).init, jax.random.key(0), params)
    with pytest.raises(ValueError, match=r"^hyper_optimizer: expected .* gradients alone for mixing weights"):
        jax.eval_shape(fl.algorithms.pfedla(trainer, hyper_optimizer=needy).init, jax.random.key(0), params)


def test_an_optimiser_that_asks_for_what_nobody_has_is_refused_in_one_line():
    def update(updates, state, params=None, *, temperature):
        return jax.tree.map(lambda u: u * temperature, updates), state

    odd = optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)
    task = linear_task(jnp.float32)
    params, data = setting(task)
    with pytest.raises(ValueError, match=r"^optimizer: expected one that asks for no more than .*'temperature'"):
        train_client(trainer_of(odd, task), jax.random.key(0), params, (), params, data)


def test_the_proximal_term_is_what_a_pull_in_front_of_a_plain_optimiser_is():
    grads, params, anchor = ({"w": jnp.array(x)} for x in ([1.0, -2.0], [0.5, 3.0], [-1.0, 2.0]))
    solver = with_proximal_term(optax.sgd(0.1), 0.5)
    found, _ = solver.update(grads, solver.init(params), params, anchor=anchor)
    np.testing.assert_allclose(found["w"], [-0.175, 0.15], rtol=1e-6)


class RawState(NamedTuple):
    """A key of the old style, as ``optax.contrib.sophia`` keeps one."""

    key: jax.Array


def noise(seed=0, *, old_style=False):
    """SGD of rate 1 that adds normal noise to the gradient."""

    def update(updates, state, params=None):
        key, own = jax.random.split(state.key)
        return optax.tree.add(updates, optax.tree.random_like(own, updates)), RawState(key)

    raw = optax.GradientTransformation(lambda _: RawState(jax.random.PRNGKey(seed)), update)
    return optax.chain(raw if old_style else optax.add_noise(1.0, 0.0, jax.random.key(seed)), optax.sgd(1.0))


def flat_task():
    """A loss without slope: what moves is noise."""
    base = linear_task(jnp.float32)
    return base._replace(loss=lambda params, batch, key: 0.0 * base.loss(params, batch, key))


def changes_of(trainer, key, ids, opt_state=()):
    params = trainer.task.init(jax.random.key(1))
    cohort = toy.make_cohort(ids, toy.make_pool(dtype=np.float32))
    result = jax.jit(lambda k, o: train_cohort(trainer, k, cohort, server=params, opt_state=o))(key, opt_state)
    moved = jax.tree.map(lambda a, b: (a - b).reshape(len(ids), -1), result.params, params)
    return np.concatenate(jax.tree.leaves(moved), axis=1), result.opt_state


@pytest.mark.parametrize(("kept", "old_style"), [(False, False), (True, True)])
def test_every_client_draws_its_own_noise_in_every_round(old_style, kept):
    trainer = trainer_of(noise(old_style=old_style), flat_task(), steps=1, keep_optimizer=kept)
    one, state = changes_of(trainer, jax.random.key(0), [0, 2, 3], _rows(trainer, [0, 2, 3]))
    again, _ = changes_of(trainer, jax.random.key(0), [3, 2, 0], _rows(trainer, [3, 2, 0]))
    next_round, _ = changes_of(trainer, jax.random.key(1), [0, 2, 3], state)
    np.testing.assert_array_equal(again[::-1], one)  # the client's, not the slot's
    drawn = np.concatenate([one, next_round])
    assert len({row.tobytes() for row in drawn}) == 6
    assert np.abs(np.corrcoef(drawn) - np.eye(6)).max() < 0.9
    other_seed = dataclasses.replace(trainer, optimizer=noise(5, old_style=old_style))
    np.testing.assert_array_equal(
        changes_of(other_seed, jax.random.key(0), [0, 2, 3], _rows(trainer, [0, 2, 3]))[0], one
    )


def _rows(trainer, ids):
    states = trainer.init_optimizer(trainer.task.init(jax.random.key(1)))
    return jax.tree.map(lambda x: x[np.array(ids)], states)


def test_the_mean_of_many_clients_noise_is_small():
    """16 clients and normal noise: the mean has a standard deviation of 1/4, as NumPy's independent draws have."""
    trainer = trainer_of(noise(), flat_task(), steps=1)
    params = trainer.task.init(jax.random.key(1))
    pool = Pool(*map(jnp.asarray, toy.make_pool(dtype=np.float32)))
    data = (jnp.int32(0), jnp.int32(9), pool)
    many = jax.random.split(jax.random.key(0), 16 * 40).reshape(16, 40)
    one = jax.jit(jax.vmap(jax.vmap(lambda k: train_client(trainer, k, params, (), params, data).params[0]["w"])))
    mean = np.asarray(one(many) - params[0]["w"]).mean(0)
    np.testing.assert_allclose(mean.std(), 0.25, rtol=0.1)


@pytest.mark.parametrize("name", ["fedavg", pytest.param("pfedhn", marks=pytest.mark.slow)])
def test_a_servers_noise_is_the_rounds(name):
    task, argument = flat_task(), {"fedavg": "server_optimizer", "pfedhn": "hyper_optimizer"}[name]
    trainer = trainer_of(optax.sgd(0.0), task, steps=1)
    algorithm = getattr(fl.algorithms, name)(trainer, **{argument: noise()})
    state = algorithm.init(jax.random.key(0), task.init(jax.random.key(1)))
    cohort = toy.make_cohort([0, 2], toy.make_pool(dtype=np.float32))
    step = jax.jit(lambda k: algorithm.round(k, state, cohort)[0])
    moved = [
        np.asarray(jax.tree.leaves(getattr(step(jax.random.key(k)), "server" if name == "fedavg" else "net"))[0])
        for k in (0, 1, 0)
    ]
    assert not np.array_equal(moved[0], moved[1])
    np.testing.assert_array_equal(moved[0], moved[2])
