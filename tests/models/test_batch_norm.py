"""Batch normalisation in tasks: running averages, padding, evaluation, clients of their own, refusals."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fedjax_layers as fl
from fedjax_layers.clients import LocalSolver, Setting, train_client, train_cohort
from fedjax_layers.models import build_model, softmax_losses
from fedjax_layers.models.task import task_from_functions
from fedjax_layers.types import Batch, Pool
from tests import batch_norm_toy, toy
from tests.reference import batch_norm

STATISTICS = ("mean", "var")


def start_of(task, seed=1):
    return task.init(jax.random.key(seed))


def a_batch(rows=6, masked=(1, 4), seed=0):
    rng = np.random.default_rng(seed)
    inputs = jnp.asarray(rng.normal(size=(rows, toy.WIDTHS[0])) * 2 + 1)
    mask = np.ones(rows, bool)
    mask[list(masked)] = False
    return Batch(inputs, jnp.asarray(rng.integers(0, toy.WIDTHS[-1], rows)), jnp.asarray(mask))


def test_statistics_are_leaves_of_the_layer_that_the_norm_follows():
    task = batch_norm_toy.make_task()
    paths = np.array(task.layers.leaf_paths)
    statistics, affine = (paths[list(flags)].tolist() for flags in (task.batch_norm.statistics, task.batch_norm.affine))
    assert statistics == [f"BatchNorm_{i}/{leaf}" for i in (0, 1) for leaf in STATISTICS]
    assert affine == [f"BatchNorm_{i}/{leaf}" for i in (0, 1) for leaf in ("bias", "scale")]
    assert task.layers.names == ("Dense_0", "Dense_1", "Dense_2")
    assert task.layers.sizes == (30 + 4 * 6, 49 + 4 * 7, 24)
    assert task.layers.scored_sizes == (24, 42, 21), "norms enter no layer's score"
    plain = fl.task(build_model("mlp", 3), (4,), 3)
    assert plain.batch_norm is None


@pytest.mark.usefixtures("x64")
def test_statistics_after_some_steps_are_the_exponential_average_of_the_batches():
    """At rate 0 the weights stand still, so that every batch's statistics can be computed beforehand."""
    task = batch_norm_toy.make_task()
    params, pool = start_of(task), toy.make_pool()
    trainer = toy.make_trainer(task, optimizer=optax.sgd(0.0), epochs=2, min_batch=1)
    key, client = jax.random.key(4), 0  # nine examples: batches of 4, 4 and 1, twice
    result = train_cohort(trainer, key, toy.make_cohort([client], pool), server=params)
    expected = {name: dict(leaves) for name, leaves in toy.to_numpy(params).items()}
    batches = toy.drawn_batches(trainer, key, client)
    assert [len(rows) for rows in batches] == [4, 4, 1, 4, 4, 1]
    for rows in batches:
        _, _, seen = batch_norm.forward(toy.to_numpy(params), pool[0][rows], batch_norm_toy.EPSILON)
        for i, pair in enumerate(seen):
            for leaf, value in zip(STATISTICS, pair, strict=True):
                old = expected[f"BatchNorm_{i}"][leaf]
                expected[f"BatchNorm_{i}"][leaf] = batch_norm_toy.MOMENTUM * old + (1 - batch_norm_toy.MOMENTUM) * value
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x[0], y, rtol=1e-12, atol=1e-14), result.params, expected)


@pytest.mark.parametrize("model", ["dense", pytest.param("bn_cnn", marks=pytest.mark.slow)])
def test_padding_rows_are_inert_whatever_they_hold(model):
    """In loss, gradient and statistics; and what is left is what the real rows alone give."""
    if model == "dense":
        task, batch = batch_norm_toy.make_task(jnp.float32), a_batch()
    else:
        task = fl.task(build_model("bn_cnn", 3, width=0.05, dense_norm=True), (8, 8), 3)
        batch = a_batch()._replace(inputs=jax.random.normal(jax.random.key(0), (6, 8, 8)))
    step = jax.jit(jax.value_and_grad(task.batch_norm.loss, has_aux=True))
    params, key = jax.jit(task.init)(jax.random.key(1)), jax.random.key(2)
    clean = step(params, batch, key)
    padding = (~batch.mask).reshape(-1, *(1,) * (batch.inputs.ndim - 1))
    for junk in (jnp.nan, jnp.inf, 1e6):
        dirty = batch._replace(
            inputs=jnp.where(padding, junk, batch.inputs), labels=jnp.where(batch.mask, batch.labels, 99)
        )
        jax.tree.map(np.testing.assert_array_equal, step(params, dirty, key), clean)
    real = jax.tree.map(lambda x: x[batch.mask], batch)
    alone = step(params, real, key)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), clean, alone)
    counted = task.batch_norm.loss(params, batch._replace(mask=jnp.ones(6, bool)), key)[1]
    assert float(jnp.abs(counted["BatchNorm_0"]["mean"] - clean[0][1]["BatchNorm_0"]["mean"]).max()) > 1e-3


@pytest.mark.usefixtures("x64")
def test_a_batch_without_a_row_moves_nothing():
    task = batch_norm_toy.make_task()
    params = start_of(task)
    batch = a_batch(masked=range(6))
    batch = batch._replace(inputs=jnp.full_like(batch.inputs, jnp.nan))
    (loss, seen), grads = jax.value_and_grad(task.batch_norm.loss, has_aux=True)(params, batch, jax.random.key(0))
    assert loss == 0
    jax.tree.map(np.testing.assert_array_equal, seen, params)
    jax.tree.map(lambda g: np.testing.assert_array_equal(g, 0), grads)


@pytest.mark.usefixtures("x64")
def test_training_normalises_by_the_batch_and_evaluation_by_the_running_statistics():
    task, batch = batch_norm_toy.make_task(), a_batch(masked=())
    params, key = start_of(task), jax.random.key(0)
    numbers = [{"mean": np.linspace(-1, 1, n), "var": np.linspace(0.5, 3, n)} for n in toy.WIDTHS[1:-1]]
    params = params | {f"BatchNorm_{i}": params[f"BatchNorm_{i}"] | pair for i, pair in enumerate(numbers)}
    by_hand = {
        running: batch_norm.forward(toy.to_numpy(params), batch.inputs, batch_norm_toy.EPSILON, running=running)[0]
        for running in (True, False)
    }
    np.testing.assert_allclose(task.apply(params, batch.inputs, None), by_hand[True], rtol=1e-10)
    np.testing.assert_allclose(task.apply(params, batch.inputs, key), by_hand[False], rtol=1e-10)
    np.testing.assert_allclose(task.apply(params, batch.inputs[:2], None), by_hand[True][:2], rtol=1e-10)
    for running, given in ((True, None), (False, key)):
        expected = softmax_losses(by_hand[running], batch.labels).mean()
        np.testing.assert_allclose(task.loss(params, batch, given), expected, rtol=1e-10)
    assert np.abs(by_hand[True] - by_hand[False]).max() > 0.1


@pytest.mark.usefixtures("x64")
def test_gradients_of_statistics_are_zero_in_training():
    task = batch_norm_toy.make_task()
    grads = jax.grad(task.loss)(start_of(task), a_batch(), jax.random.key(0))
    for i in (0, 1):
        for leaf in STATISTICS:
            np.testing.assert_array_equal(grads[f"BatchNorm_{i}"][leaf], 0)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_vectorised_clients_keep_their_own_statistics():
    task, pool = batch_norm_toy.make_task(), toy.make_pool()
    trainer, params = toy.make_trainer(task), start_of(task)
    ids = [0, 2, 3]
    together = train_cohort(trainer, jax.random.key(3), toy.make_cohort(ids, pool), server=params)
    means = np.asarray(together.params["BatchNorm_0"]["mean"])
    assert min(np.abs(means[i] - means[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 1e-2
    for slot, c in enumerate(ids):
        data = (jnp.int32(toy.STARTS[c]), jnp.int32(toy.COUNTS[c]), Pool(*map(jnp.asarray, pool)))
        key = jax.random.fold_in(jax.random.key(3), c)
        alone = train_client(trainer, key, params, (), params, data)
        for a, b in zip(jax.tree.leaves(together.params), jax.tree.leaves(alone.params), strict=True):
            np.testing.assert_allclose(a[slot], b, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_kept_optimiser_states_know_nothing_of_statistics():
    task = batch_norm_toy.make_task()
    trainer = toy.make_trainer(task, optimizer=optax.adamw(0.1, weight_decay=0.1), keep_optimizer=True)
    params = start_of(task)
    state = jax.tree.map(lambda x: x[:1], trainer.init_optimizer(params))
    result = train_cohort(
        trainer, jax.random.key(0), toy.make_cohort([0], toy.make_pool()), server=params, opt_state=state
    )
    moments = result.opt_state[0]
    for tree in (moments.mu, moments.nu):
        for leaf in STATISTICS:
            np.testing.assert_array_equal(tree["BatchNorm_0"][leaf], 0)
        assert bool((tree["BatchNorm_0"]["scale"] != 0).all())


@pytest.mark.slow
def test_the_digit_network_layer_by_layer():
    """conv, norm, ReLU, pool twice; conv, norm, ReLU; dense, norm, ReLU twice; dense; padding of two."""
    module = build_model("bn_cnn", 5, width=0.05, dense_norm=True, conv="native")
    x = jax.random.normal(jax.random.key(2), (3, 12, 12, 1))
    variables = jax.jit(module.init)(jax.random.key(0), x)
    params = variables["params"]
    found, _ = module.apply(variables, x, deterministic=False, mutable=["batch_stats"])

    def normalised(y):
        axes = tuple(range(y.ndim - 1))
        return (y - y.mean(axes)) / np.sqrt(y.var(axes) + 1e-5)

    y = x
    for i in range(3):
        kernel = params[f"Conv_{i}"]["kernel"]
        numbers = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(y, kernel, (1, 1), ((2, 2), (2, 2)), dimension_numbers=numbers)
        y = jnp.maximum(normalised(y), 0)
        if i < 2:
            n = y.shape[1] // 2
            y = y.reshape(3, n, 2, n, 2, -1).max((2, 4))
    y = y.reshape(3, -1)
    for i in range(2):
        y = jnp.maximum(normalised(y @ params[f"Dense_{i}"]["kernel"]), 0)
    np.testing.assert_allclose(found, y @ params["Dense_2"]["kernel"], rtol=1e-3, atol=1e-4)
    assert sorted(build_model("bn_cnn", 5, width=0.05).init(jax.random.key(0), x)["batch_stats"]) == [
        f"BatchNorm_{i}" for i in range(3)
    ]


@pytest.mark.slow
def test_the_digit_network_learns_and_its_running_statistics_serve():
    rng = np.random.default_rng(0)
    labels = jnp.asarray(np.arange(48) % 3)
    inputs = jnp.asarray(rng.normal(size=(48, 8, 8)) + 3 * np.eye(3)[labels].repeat(22, 1)[:, :64].reshape(48, 8, 8))
    task = fl.task(build_model("bn_cnn", 3, width=0.05), (8, 8), 3)
    trainer = Setting(task, 1, 48).bind(LocalSolver(optax.sgd(0.05), 16, epochs=20))
    params = jax.jit(task.init)(jax.random.key(0))
    data = (jnp.int32(0), jnp.int32(48), Pool(inputs, labels))
    trained = jax.jit(lambda p: train_client(trainer, jax.random.key(1), p, (), p, data).params)(params)
    accuracy = (task.apply(trained, inputs, None).argmax(-1) == labels).mean()
    assert accuracy > 0.95


class Frozen(nn.Module):
    """A norm that nothing switches."""

    @nn.compact
    def __call__(self, x):
        return nn.BatchNorm(use_running_average=True)(nn.Dense(3)(x))


class Bare(nn.Module):
    """A norm with neither scale nor bias."""

    @nn.compact
    def __call__(self, x, train: bool = False):
        return nn.BatchNorm(not train, use_scale=False, use_bias=False)(nn.Dense(3)(x))


class Foreign(nn.Module):
    """Statistics that no norm of Flax keeps."""

    @nn.compact
    def __call__(self, x, train: bool = False):
        del train
        self.variable("batch_stats", "mean", jnp.zeros, 3)
        return nn.Dense(3)(x)


class Cached(nn.Module):
    """State of another kind."""

    @nn.compact
    def __call__(self, x):
        self.variable("cache", "last", jnp.zeros, 3)
        return nn.Dense(3)(x)


class Folded(nn.Module):
    """A norm that sees other rows than the batch's."""

    @nn.compact
    def __call__(self, x, train: bool = False):
        x = nn.Dense(3)(x)
        return nn.BatchNorm(not train)(x.reshape(-1, 1, 3)[: x.shape[0] // 2]).reshape(-1, 3)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Frozen(), "expected an argument deterministic, train or training beside BatchNorm"),
        (Bare(), "expected a scale or a bias in every BatchNorm, found neither in 'BatchNorm_0'"),
        (Foreign(), "expected batch statistics of flax.linen.BatchNorm alone"),
        (Cached(), "expected no state but batch statistics, found cache"),
    ],
)
def test_modules_that_are_refused(module, message):
    with pytest.raises(ValueError, match=f"^model: {message}") as caught:
        fl.task(module, (4,), 3)
    assert "\n" not in str(caught.value)


def test_a_norm_off_the_batch_axis_is_refused_before_it_is_trained():
    with pytest.raises(ValueError, match=r"^model: expected 2 rows as the batch in 'BatchNorm_0', found \(1, 1, 3\)"):
        fl.task(Folded(), (4,), 3)


def test_tasks_of_plain_functions_say_which_leaves_are_statistics():
    def apply(params, x, key):
        del key
        return (x - params[0]["seen"]) @ params[0]["w"]

    def train(params, x, mask, key):
        del key
        mean = jnp.where(mask[:, None], x, 0).sum(0) / mask.sum()
        return (x - mean) @ params[0]["w"], [params[0] | {"seen": (params[0]["seen"] + mean) / 2}]

    def init(key):
        return [{"w": jax.random.normal(key, (4, 3)), "seen": jnp.zeros(4)}]

    arguments = (init, apply, softmax_losses, None, 3)
    task = task_from_functions(*arguments, train=train, statistics=("0/seen",))
    assert task.batch_norm.statistics == (True, False)
    assert task.batch_norm.affine == (False, False)
    batch = a_batch()
    _, seen = task.batch_norm.loss(init(jax.random.key(0)), batch, jax.random.key(0))
    np.testing.assert_allclose(seen[0]["seen"], batch.inputs[batch.mask].mean(0) / 2, rtol=1e-6)
    with pytest.raises(ValueError, match="statistics: expected '0/x' to match a leaf, found none"):
        task_from_functions(*arguments, train=train, statistics=("0/x",))
    with pytest.raises(ValueError, match="train, statistics: expected both or neither"):
        task_from_functions(*arguments, train=train)
