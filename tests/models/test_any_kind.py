"""One call makes a task of any model: agreement of four kinds, dropout, norms, layers in call order, refusals."""

import ast
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import fedjax_layers as fl
from fedjax_layers import models
from fedjax_layers.models import Functions
from fedjax_layers.types import Batch

eqx = pytest.importorskip("equinox")
from tests.models import four_kinds  # noqa: E402

WIDTHS = four_kinds.WIDTHS


def a_batch(width=WIDTHS[0], rows=6):
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.normal(size=(rows, width)), jnp.float32)
    return Batch(inputs, jnp.arange(rows) % 3, jnp.arange(rows) < rows - 2)


@pytest.fixture(scope="module")
def tasks():
    return {kind: fl.task(model, WIDTHS[:1], WIDTHS[-1]) for kind, model in four_kinds.MODELS.items()}


def test_four_kinds_have_the_same_layers_losses_and_gradients(tasks):
    params = jax.jit(tasks["linen"].init)(jax.random.key(0))
    params = jax.tree.map(lambda w: w + 0.1, params)  # no bias is 0
    loss, gradient = jax.jit(jax.value_and_grad(tasks["linen"].loss))(params, a_batch(), None)
    for kind, task in tasks.items():
        assert task.layers.names == ("z_first", "a_last")
        own = four_kinds.weights_of(kind, params)
        found, slopes = jax.jit(jax.value_and_grad(task.loss))(own, a_batch(), None)
        np.testing.assert_allclose(found, loss, rtol=1e-6)
        for one, other in zip(
            jax.tree.leaves(four_kinds.from_kind(kind, slopes)), jax.tree.leaves(gradient), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", four_kinds.MODELS)
def test_a_key_draws_the_weights_and_a_module_that_has_some_keeps_them(kind, tasks):
    init = jax.jit(tasks[kind].init)
    one, again, other = (jax.tree.leaves(init(jax.random.key(seed))) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(one, again, strict=True))
    assert not all((a == b).all() for a, b in zip(one, other, strict=True))
    fixed = {"nnx": lambda: four_kinds.Nnx(rngs=nnx.Rngs(5)), "equinox": lambda: four_kinds.Equinox(jax.random.key(5))}
    if kind in fixed:
        task = fl.task(fixed[kind](), WIDTHS[:1], WIDTHS[-1])
        starts = [jax.tree.leaves(task.init(jax.random.key(seed))) for seed in (1, 2)]
        assert all((a == b).all() for a, b in zip(*starts, strict=True))


class LinenNorms(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.BatchNorm(not train, momentum=0.9, name="norm")(nn.Dense(5, name="zero")(x))
        x = nn.relu(x)
        x = nn.BatchNorm(not train, momentum=0.9, name="last_norm")(x)
        return nn.Dense(3, name="last")(x)


class NnxNorms(nnx.Module):
    def __init__(self, rngs):
        self.last = nnx.Linear(5, 3, rngs=rngs)
        self.last_norm = nnx.BatchNorm(5, momentum=0.9, rngs=rngs)
        self.norm = nnx.BatchNorm(5, momentum=0.9, rngs=rngs)
        self.zero = nnx.Linear(4, 5, rngs=rngs)

    def __call__(self, x):
        return self.last(self.last_norm(nnx.relu(self.norm(self.zero(x)))))


def test_statistics_of_nnx_norms_leave_padding_out_exactly_as_those_of_linen():
    linen, other = (fl.task(model, (4,), 3) for model in (LinenNorms(), NnxNorms))
    assert other.layers == linen.layers
    assert other.batch_norm[:2] == linen.batch_norm[:2]
    params = jax.jit(linen.init)(jax.random.key(0))
    batch = a_batch()
    dirty = batch._replace(inputs=batch.inputs.at[-1].set(jnp.nan))
    expected = jax.jit(jax.value_and_grad(linen.batch_norm.loss, has_aux=True))(params, batch, jax.random.key(1))
    found = jax.jit(jax.value_and_grad(other.batch_norm.loss, has_aux=True))(params, dirty, jax.random.key(1))
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
    assert (expected[0][1]["norm"]["mean"] != params["norm"]["mean"]).all()
    np.testing.assert_allclose(
        jax.jit(other.apply)(params, batch.inputs, None), jax.jit(linen.apply)(params, batch.inputs, None), rtol=1e-5
    )


class NnxDropout(nnx.Module):
    """Two dropouts one after the other: with the same mask, half of all would be kept, and not a quarter."""

    def __init__(self, rngs):
        self.one, self.two = nnx.Dropout(0.5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)
        self.layer = nnx.Linear(1, 1, use_bias=False, kernel_init=nnx.initializers.ones, rngs=rngs)

    def __call__(self, x):
        return self.layer(self.two(self.one(x)))


class EquinoxDropout(eqx.Module):
    drop: eqx.nn.Dropout
    scale: jax.Array

    def __init__(self, key):
        del key
        self.drop, self.scale = eqx.nn.Dropout(0.75), jnp.ones(1)

    def __call__(self, x, key):
        return self.drop(x * self.scale, key=key)


def dropping(params, x, key):
    return x * params["w"] if key is None else jax.random.bernoulli(key, 0.25, x.shape) * x * params["w"] * 4


@pytest.mark.parametrize(
    "model",
    [NnxDropout, EquinoxDropout, (lambda key: {"w": jnp.ones(1)}, dropping)],
    ids=["nnx", "equinox", "functions"],
)
def test_dropout_follows_the_key_of_each_step_and_is_off_without(model):
    task = fl.task(model, (1,), 1, kind="regression")
    params = task.init(jax.random.key(0))
    x = jnp.ones((4000, 1))
    apply = jax.jit(task.apply)
    np.testing.assert_array_equal(apply(params, x, None), x)
    one, again, other = (apply(params, x, jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    np.testing.assert_allclose((one > 0).mean(), 0.25, atol=4 * (0.25 * 0.75 / 4000) ** 0.5)


class NnxImages(nnx.Module):
    def __init__(self, rngs):
        self.convolution = nnx.Conv(1, 2, (3, 3), rngs=rngs)
        self.all = nnx.Linear(32, 3, rngs=rngs)

    def __call__(self, x):
        x = nnx.max_pool(nnx.relu(self.convolution(x)), (2, 2), strides=(2, 2))
        return self.all(x.reshape(x.shape[0], -1))


class EquinoxImages(eqx.Module):
    convolution: eqx.nn.Conv2d
    all: eqx.nn.Linear

    def __init__(self, key):
        self.convolution = eqx.nn.Conv2d(1, 2, 3, padding=1, key=key)
        self.all = eqx.nn.Linear(32, 3, key=key)

    def __call__(self, x):
        x = eqx.nn.MaxPool2d(2, 2)(jax.nn.relu(self.convolution(jnp.moveaxis(x, -1, 0))))
        return self.all(x.reshape(-1))


@pytest.mark.parametrize("model", [NnxImages, EquinoxImages])
def test_convolutions_and_pools_of_any_kind_are_replaced_on_a_cpu(model):
    task = fl.task(model, (8, 8, 1), 3)
    assert task.layers.names == ("convolution", "all")
    params = jax.eval_shape(task.init, jax.random.key(0))
    program = str(jax.make_jaxpr(task.apply)(params, jnp.ones((2, 8, 8, 1)), None))
    assert "dot_general" in program
    if jax.default_backend() == "cpu":
        assert "conv_general_dilated" not in program
        assert "reduce_window" not in program


def params_of(*shapes):
    return lambda key: {name: {"w": jnp.ones(shape)} for name, shape in shapes}


SQUARE = (("a", (4, 4)), ("b", (4, 4)), ("c", (4, 4)))


def reordered(p, x):
    """All weights are normalised at first, in the order of their names; then used the other way round."""
    p = jax.tree.map(lambda w: w / jnp.linalg.norm(w), p)
    return jax.nn.relu(jax.jit(lambda x: x @ p["c"]["w"])(x)) @ p["b"]["w"] @ p["a"]["w"]


def looped(p, x):
    """``c`` makes the state before the loop, and meets the inputs in its second turn, together with ``a``."""
    start = jnp.zeros((x.shape[0], 4)) @ p["c"]["w"]
    state, _ = jax.lax.scan(lambda h, _: (jnp.tanh(h @ p["a"]["w"] + x @ p["b"]["w"]), None), start, None, length=2)
    return state


def branched(p, x):
    x = jax.lax.cond(x.sum() > 0, lambda x: x @ p["b"]["w"], lambda x: x @ p["c"]["w"], x)
    x = jax.lax.while_loop(lambda x: x.sum() < 0, lambda x: x @ p["a"]["w"], x)
    return jax.checkpoint(jnp.tanh)(x)


@pytest.mark.parametrize(
    ("apply", "names"),
    [
        (reordered, ("c", "b", "a")),
        (looped, ("c", "a", "b")),
        (branched, ("c", "b", "a")),  # JAX lists the branch for False first
        (lambda p, x: (p["b"]["w"] @ x[..., None])[..., 0] @ (p["a"]["w"] @ p["c"]["w"]), ("b", "a", "c")),
    ],
    ids=["normalised first", "scan", "cond, while", "product of two"],
)
def test_layers_stand_where_a_parameter_meets_the_inputs(apply, names):
    assert fl.task((params_of(*SQUARE), apply), (4,), 4).layers.names == names


def test_norms_of_plain_functions_go_with_the_layer_that_they_follow_and_given_layers_decide():
    def init(key):
        return {"out": {"w": jnp.ones((4, 3))}, "first": {"w": jnp.ones((4, 4))}, "bn_1": {"s": jnp.ones(4)}}

    def apply(p, x):
        return (x @ p["first"]["w"] * p["bn_1"]["s"]) @ p["out"]["w"]

    found = fl.task((init, apply), (4,), 3).layers
    assert found.names == ("first", "out")
    assert dict(zip(found.leaf_paths, found.leaf_layers, strict=True))["bn_1/s"] == 0
    given = ("out", "bn_1", "first")
    assert fl.task((init, apply), (4,), 3, order=given).layers.names == given
    assert fl.task(Functions(init, apply, order=given), (4,), 3).layers.names == given
    with pytest.raises(ValueError, match=r"order: .*'bn_1/s'"):
        fl.task((init, apply), (4,), 3, order=["first", "out"])
    with pytest.raises(ValueError, match=r"order: .*'bn_1/s'"):
        fl.task((init, apply), (4,), 3, order=["first", "bn_1", "out", ".*/s"])


class Block(nnx.Module):
    def __init__(self, rngs):
        self.z_norm, self.a_norm = nnx.LayerNorm(8, rngs=rngs), nnx.LayerNorm(8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.a_layer = nnx.Linear(8, 8, rngs=rngs)

    def __call__(self, x):
        x = x + self.attention(self.z_norm(x))
        return x + self.a_layer(self.a_norm(x))


class Language(nnx.Module):
    """A transformer with a table of places of its own, whose output is tied to the embedding."""

    def __init__(self, rngs):
        self.words, self.places = nnx.Embed(11, 8, rngs=rngs), nnx.Param(jnp.zeros((6, 8)))
        self.blocks = nnx.List([Block(rngs) for _ in range(2)])
        self.norm = nnx.LayerNorm(8, rngs=rngs)

    def __call__(self, tokens):
        x = self.words(tokens) + self.places[...]
        for block in self.blocks:
            x = block(x)
        return self.words.attend(self.norm(x))


class Wrapped(eqx.Module):
    """Normalised weights, which are a part of the layer inside; a class token; constants of other types."""

    out: eqx.nn.Linear
    norm: eqx.nn.LayerNorm
    wrapped: eqx.nn.WeightNorm
    token: jax.Array
    whole: jax.Array

    def __init__(self, key):
        self.wrapped, self.norm = eqx.nn.WeightNorm(eqx.nn.Linear(4, 4, key=key)), eqx.nn.LayerNorm(4)
        self.token, self.out, self.whole = jnp.ones((1, 4)), eqx.nn.Linear(4, 3, key=key), jnp.arange(3)

    def __call__(self, x):
        x = jax.vmap(self.norm)(jnp.concatenate([self.token, jax.vmap(self.wrapped)(x)]))
        return self.out(x.mean(0)) * self.whole.max()


def test_layers_and_blocks_of_usual_modules():
    tokens = {"kind": "language_modelling", "preprocess": models.as_stored, "sample_dtype": jnp.int32}
    language = fl.task(Language, (6,), 11, blocks=2, **tokens).layers
    parts = [f"attention/{part}" for part in ("query", "key", "value", "out")]
    inside = [f"blocks/{i}/{part}" for i in range(2) for part in (*parts, "a_layer")]
    assert language.names == ("words", "places", *inside)
    assert language.block_names == ("words", "places", "blocks/0", "blocks/1")
    layer_of = dict(zip(language.leaf_paths, language.leaf_layers, strict=True))
    assert layer_of["blocks/0/z_norm/scale"] == 2
    assert layer_of["norm/scale"] == len(language.names) - 1
    wrapped = fl.task(Wrapped, (6, 4), 3).layers
    assert wrapped.names == ("wrapped/layer", "token", "out")
    assert dict(zip(wrapped.leaf_paths, wrapped.leaf_layers, strict=True))["wrapped/g"] == 0
    assert fl.task(lambda key: eqx.nn.MLP(4, 3, 8, 1, key=key), (4,), 3).layers.names == ("layers/0", "layers/1")


class Unused(nnx.Module):
    def __init__(self, rngs):
        self.layer, self.other = nnx.Linear(4, 3, rngs=rngs), nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        return self.layer(x)


class Counting(nnx.Module):
    def __init__(self, rngs):
        self.layer, self.calls = nnx.Linear(4, 3, rngs=rngs), nnx.Cache(jnp.zeros(()))

    def __call__(self, x):
        return self.layer(x)


class EquinoxNorm(eqx.Module):
    layer: eqx.nn.Linear
    norm: eqx.nn.BatchNorm

    def __init__(self, key):
        self.layer, self.norm = eqx.nn.Linear(4, 3, key=key), eqx.nn.BatchNorm(3, "batch", mode="batch")

    def __call__(self, x, state):
        return self.norm(self.layer(x), state)


class Keyless(eqx.Module):
    layer: eqx.nn.Linear
    drop: eqx.nn.Dropout

    def __init__(self, key):
        self.layer, self.drop = eqx.nn.Linear(4, 3, key=key), eqx.nn.Dropout(0.5)

    def __call__(self, x):
        return self.drop(self.layer(x))


def fails(rngs):
    raise RuntimeError("no luck\nat all")


MATRIX = params_of(("a", (4, 3)))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (3, "model: expected a Flax Linen, Flax NNX or Equinox module, a function of rngs"),
        (lambda x: x, "model: expected a Flax Linen, Flax NNX or Equinox module, a function of rngs"),
        (four_kinds.Linen, r"model: expected a module, got its class: write Linen\(...\)"),
        (Unused, "model: expected every parameter to be used, found that 'other/bias' never is"),
        (Counting, "model: expected no state but parameters and batch statistics, found Cache 'calls'"),
        (EquinoxNorm, "model: expected an Equinox module without state, found some in 'norm"),
        (
            Keyless,
            "model: expected one that takes inputs .* in training, got RuntimeError: Dropout requires",
        ),
        (fails, "model: expected a function of rngs that makes a module, got RuntimeError: no luck$"),
        (
            lambda rngs: 3,
            "model: expected a function of rngs that returns a flax.nnx.*Module, got one that returns i",
        ),
        ((MATRIX, lambda p: p), r"model: expected apply\(params, inputs\) or apply\(params, inputs, key\)"),
        ((MATRIX, lambda p, x: x @ p["b"]), "model: expected one that takes inputs .* in training, got KeyError: 'b'"),
        ((MATRIX, lambda p, x: (x @ p["a"]["w"]).sum(1)), r"model: expected outputs \[B, ..., 3\], got shape \(2,\)"),
        ((MATRIX, lambda p, x: (x @ p["a"]["w"], 0)), "model: expected one array of outputs, got tuple"),
        ((MATRIX, lambda p, x: x), "model: expected 3 outputs, one for each class or target, got 4"),
        (
            (lambda key: {"v": jnp.ones((4, 4)), "w": jnp.ones((4, 3))}, lambda p, x: x @ p["v"] @ p["w"]),
            r"order: expected the layers in call order where .*\(v, w lie side by side\), got none",
        ),
    ],
)
def test_models_that_are_refused(model, message):
    with pytest.raises(ValueError, match=message) as caught:
        fl.task(model, (4,), 3)
    assert "\n" not in str(caught.value)


def test_the_data_say_what_is_predicted():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(12, 4)).astype(np.float32)
    clients = np.arange(12) % 3
    flat = fl.data.from_arrays(inputs, clients, name="classes")
    data = fl.data.federate(flat, clients)
    model = (MATRIX, lambda p, x: x @ p["a"]["w"])
    assert fl.task(model, data).num_classes == 3
    with pytest.raises(
        ValueError, match=r"model: expected outputs of shape \(2, 3\) for a batch of 2, got \(2, 1, 3\)"
    ):
        fl.task((MATRIX, lambda p, x: (x @ p["a"]["w"])[:, None]), data)
    with pytest.raises(TypeError, match="examples: expected the clients' data or the shape of an example, got 4"):
        fl.task(model, 4, 3)
    with pytest.raises(ValueError, match="num_classes: expected a number beside the shape of an example, got None"):
        fl.task(model, (4,))
    with pytest.raises(ValueError, match=r"kind: expected one of .*, got 'ranking'"):
        fl.task(model, (4,), 3, kind="ranking")
    line = fl.data.federate(fl.data.from_arrays(inputs, 10 * inputs[:, 0] + 3, name="line"), clients)
    task = fl.task((params_of(("a", (4, 1))), lambda p, x: 0 * x @ p["a"]["w"]), line)
    mean, _ = line.target_units
    np.testing.assert_allclose(task.apply(task.init(jax.random.key(0)), inputs[:2], None), mean, rtol=1e-6)


def test_frameworks_that_are_not_used_are_not_imported():
    """The adapters name them inside functions alone; nothing else does."""
    for path in sorted(pathlib.Path(models.__file__).parent.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            assert not {"nnx", "flax.nnx", "equinox"} & {*names, getattr(node, "module", None)}, path
