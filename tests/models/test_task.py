import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fedjax_layers as fl
from fedjax_layers.data import Preprocess
from fedjax_layers.models import (
    MLP,
    as_stored,
    build_model,
    focal_losses,
    softmax_losses,
)
from fedjax_layers.models.task import task_from_functions
from fedjax_layers.types import Batch


def numpy_softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def numpy_focal(z, labels, gamma, alpha):
    """One example, one class at a time, from the formula."""
    p = numpy_softmax(z)
    out = []
    for b, y in enumerate(labels):
        ce = -np.log(p[b, y])
        terms = []
        for k in range(z.shape[1]):
            q, a = (p[b, k], alpha[k]) if k == y else (1 - p[b, k], 1 - alpha[k])
            terms.append(a * (1 - q) ** gamma * ce)
        out.append(10 * np.mean(terms))
    return np.array(out)


LOGITS = np.random.default_rng(0).normal(size=(6, 5)) * 2
LABELS = np.array([0, 4, 2, 2, 1, 3])


@pytest.mark.parametrize("gamma", [0, 1.0, 2.5, 3])
@pytest.mark.usefixtures("x64")
def test_focal_by_hand(gamma):
    alpha = (0.1294, 0.1811, 0.2233, 0.2236, 0.2426)
    got = focal_losses(gamma, alpha)(jnp.asarray(LOGITS), jnp.asarray(LABELS))
    np.testing.assert_allclose(got, numpy_focal(LOGITS, LABELS, gamma, alpha), rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_focal_without_alpha_weights_nothing():
    got = focal_losses(1.0)(jnp.asarray(LOGITS), jnp.asarray(LABELS))
    halves = numpy_focal(LOGITS, LABELS, 1.0, (0.5,) * 5)
    np.testing.assert_allclose(got, 2 * halves, rtol=1e-12)


def test_focal_gradient_is_finite_where_the_prediction_is_certain():
    for gamma in (0, 1.0, 3.0):
        grad = jax.grad(lambda z, g=gamma: focal_losses(g)(z, jnp.array([0, 1])).sum())(
            jnp.array([[500.0, 0.0], [500.0, 0.0]])
        )
        assert jnp.isfinite(grad).all()


@pytest.mark.usefixtures("x64")
def test_softmax_by_hand():
    got = softmax_losses(jnp.asarray(LOGITS), jnp.asarray(LABELS))
    np.testing.assert_allclose(got, -np.log(numpy_softmax(LOGITS)[np.arange(6), LABELS]), rtol=1e-12)
    sequence = softmax_losses(jnp.asarray(LOGITS).reshape(2, 3, 5), jnp.asarray(LABELS).reshape(2, 3))
    np.testing.assert_allclose(sequence, got.reshape(2, 3).mean(1), rtol=1e-12)


@pytest.fixture
def task():
    return fl.task(MLP(3, hidden=(7,)), (4,), 3)


@pytest.fixture
def batch():
    rng = np.random.default_rng(1)
    return Batch(
        jnp.asarray(rng.normal(size=(5, 4)), jnp.float32),
        jnp.array([0, 1, 2, 1, 0]),
        jnp.array([True, True, False, True, False]),
    )


def test_loss_is_the_mean_over_real_rows(task, batch):
    params = task.init(jax.random.key(0))
    rows = np.array([0, 1, 3])
    expected = task.losses(task.apply(params, batch.inputs[rows], None), batch.labels[rows]).mean()
    np.testing.assert_allclose(task.loss(params, batch, None), expected, rtol=1e-6)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_padding_rows_are_inert_whatever_they_hold(model):
    task = fl.task(build_model(model, 3), (4, 4), 3, loss="focal", gamma=3.0)
    params = jax.jit(task.init)(jax.random.key(0))
    gradient = jax.jit(jax.value_and_grad(task.loss))
    inputs = jax.random.normal(jax.random.key(1), (4, 4, 4))
    mask, labels = jnp.array([True, False, True, False]), jnp.array([0, 1, 2, 0])
    clean = Batch(inputs, labels, mask)
    dirty = Batch(inputs.at[1].set(jnp.nan).at[3].set(jnp.inf), labels.at[1].set(-1).at[3].set(99), mask)
    for expected, got in zip(
        jax.tree.leaves(gradient(params, clean, None)),
        jax.tree.leaves(gradient(params, dirty, None)),
        strict=True,
    ):
        np.testing.assert_array_equal(got, expected)


def test_empty_batch_has_zero_loss_and_gradient(task, batch):
    params = task.init(jax.random.key(0))
    empty = batch._replace(mask=jnp.zeros(5, bool), inputs=jnp.full_like(batch.inputs, jnp.nan))
    value, grads = jax.value_and_grad(task.loss)(params, empty, None)
    assert value == 0
    assert all((g == 0).all() for g in jax.tree.leaves(grads))


@pytest.mark.parametrize(("name", "options"), [("cnn", {"dropout": (0.0, 0.5)}), ("player_cifar_cnn", {"width": 0.05})])
def test_dropout_follows_the_key(name, options):
    task = fl.task(build_model(name, 4, **options), (16, 16, 3), 4)
    params = jax.jit(task.init)(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (2, 16, 16, 3))
    apply = jax.jit(task.apply)
    off = apply(params, x, None)
    np.testing.assert_array_equal(off, apply(params, x, None))
    on = [apply(params, x, jax.random.key(i)) for i in (2, 3)]
    assert (on[0] != off).any()
    assert (on[0] != on[1]).any()
    np.testing.assert_array_equal(on[0], apply(params, x, jax.random.key(2)))


class Trained(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        return nn.Dense(2)(nn.Dropout(0.5, deterministic=not train)(x))


def test_modules_with_a_train_argument():
    task = fl.task(Trained(), (50,), 2)
    params = task.init(jax.random.key(0))
    x = jnp.ones((1, 50))
    np.testing.assert_allclose(task.apply(params, x, None), x @ params["Dense_0"]["kernel"], rtol=1e-5)
    assert (task.apply(params, x, jax.random.key(1)) != task.apply(params, x, None)).any()


def test_inputs_are_normalised_inside_apply_from_their_stored_dtype():
    module = MLP(3, hidden=(7,))
    raw = jnp.asarray(np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)), jnp.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
    task = fl.task(module, (4, 4, 3), 3, preprocess=Preprocess(1 / 255, mean, std))
    params = task.init(jax.random.key(0))
    expected = (np.asarray(raw, np.float32) / 255 - np.array(mean, np.float32)) / np.array(std, np.float32)
    np.testing.assert_allclose(
        task.apply(params, raw, None),
        module.apply({"params": params}, jnp.asarray(expected)),
        rtol=2e-5,
        atol=1e-5,
    )


@pytest.mark.usefixtures("x64")
def test_double_precision_follows_the_parameters():
    task = fl.task(MLP(3), (4,), 3, preprocess=Preprocess(1 / 3, 0.1, 0.7))
    params = task.init(jax.random.key(0))
    x = jnp.ones((2, 4), jnp.uint8)
    assert task.apply(params, x, None).dtype == jnp.float32
    wide = jax.tree.map(lambda p: p.astype(jnp.float64), params)
    assert task.apply(wide, x, None).dtype == jnp.float64
    assert task.loss(wide, Batch(x, jnp.zeros(2, jnp.int32), jnp.ones(2, bool)), None).dtype == jnp.float64


class Tokens(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        return nn.Dense(5)(nn.Embed(11, 4)(tokens))


def test_token_sequences():
    task = fl.task(Tokens(), (6,), 5, preprocess=as_stored, sample_dtype=jnp.int32)
    params = task.init(jax.random.key(0))
    tokens = jnp.zeros((2, 6), jnp.int32)
    outputs = task.apply(params, tokens, None)
    assert outputs.shape == (2, 6, 5)
    assert task.losses(outputs, tokens).shape == (2,)
    assert task.layers.names == ("Embed_0", "Dense_0")


def test_blocks_by_depth_and_by_pattern():
    by_depth = fl.task(nn.Sequential([nn.Dense(4), MLP(3)]), (4,), 3, blocks=1).layers
    assert by_depth.blocks == (0, 1, 1, 1)
    by_pattern = fl.task(MLP(3), (4,), 3, blocks=("Dense_[01]", "Dense_2")).layers
    assert by_pattern.blocks == (0, 0, 1)


def test_functions_of_ones_own():
    task = task_from_functions(
        lambda key: [jax.random.normal(key, (4, 3)), jnp.zeros((3, 2))],
        lambda params, x, key: x @ params[0] @ params[1],
        softmax_losses,
        None,
        2,
    )
    assert task.layers.num_layers == 2
    batch = Batch(jnp.full((2, 4), jnp.nan), jnp.zeros(2, jnp.int32), jnp.zeros(2, bool))
    assert task.loss(task.init(jax.random.key(0)), batch, None) == 0
    again = task_from_functions(task.init, task.apply, task.losses, task.layers, 2)
    assert again.layers is task.layers


def test_vmapped_over_clients_equals_a_loop():
    task = fl.task(build_model("cnn", 4, conv="patches"), (8, 8), 4)
    params = jax.jit(jax.vmap(task.init))(jax.random.split(jax.random.key(0), 3))
    rng = np.random.default_rng(0)
    batches = Batch(
        jnp.asarray(rng.integers(0, 17, (3, 5, 8, 8)), jnp.uint8),
        jnp.asarray(rng.integers(0, 4, (3, 5))),
        jnp.asarray(rng.random((3, 5)) < 0.7),
    )
    stacked = jax.jit(jax.vmap(jax.grad(task.loss), (0, 0, None)))(params, batches, None)
    gradient = jax.jit(jax.grad(task.loss))
    for i in range(3):
        one = gradient(*jax.tree.map(lambda x, i=i: x[i], (params, batches)), None)
        for got, expected in zip(jax.tree.leaves(stacked), jax.tree.leaves(one), strict=True):
            np.testing.assert_allclose(got[i], expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("module", "changes", "message"),
    [
        (MLP(4), {}, "model: expected 3 outputs, one for each class or target, got 4"),
        (
            MLP(3),
            {"loss": "hinge"},
            "loss: expected 'softmax' or 'focal' for classification, or a function, got 'h",
        ),
        (MLP(3), {"loss": "focal", "alpha": (0.1,)}, "alpha: expected 3 entries, got 1"),
        (MLP(3), {"loss": "focal", "alpha": (0.1, 0.2, 2)}, r"alpha: expected numbers in \[0, 1\]"),
        (MLP(3), {"loss": "focal", "gamma": 0.5}, "gamma: expected 0 or at least 1, got 0.5"),
    ],
)
def test_refusals(module, changes, message):
    with pytest.raises(ValueError, match=message):
        fl.task(module, (4,), 3, **changes)


@dataclasses.dataclass(frozen=True)
class Recorded:
    """Like a data set's own preprocessing: called with the raw inputs and a dtype."""

    scale: float

    def __call__(self, raw, dtype="float32"):
        return raw.astype(dtype) * np.asarray(self.scale, dtype)


def test_any_callable_preprocesses():
    task = fl.task(build_model("logistic_regression", 2), (3,), 2, preprocess=Recorded(0.5))
    params = task.init(jax.random.key(0))
    x = jnp.array([[2, 4, 6]], jnp.uint8)
    expected = jnp.array([[1.0, 2.0, 3.0]]) @ params["RowDense_0"]["kernel"].T
    np.testing.assert_allclose(task.apply(params, x, None), expected, rtol=1e-5)
