"""Low-rank adapters of models of all kinds: their start, products, layers, full rank, equal programs and refusals."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import fedjax_layers as fl
from fedjax_layers.engine.programs import build as programs
from fedjax_layers.types import Batch
from tests import adapter_toy, toy

LENGTH, WIDTH, CLASSES = 5, 4, 3


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool = False):
        x = nn.Conv(6, (3,))(x)
        x = nn.MultiHeadDotProductAttention(2, qkv_features=8, deterministic=not train, dropout_rate=0.1)(x)
        x = nn.remat(nn.Dense)(5)(nn.LayerNorm()(x).mean(1))
        return nn.Dense(CLASSES)(jnp.tanh(x))


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.attention = nnx.MultiHeadAttention(2, WIDTH, 8, decode=False, rngs=rngs)
        self.head = nnx.Linear(WIDTH, CLASSES, rngs=rngs)

    def __call__(self, x):
        return self.head(self.attention(x).mean(1))


class Equinox(eqx.Module):
    first: eqx.nn.Linear
    head: eqx.nn.Linear

    def __init__(self, key):
        keys = jax.random.split(key)
        self.first, self.head = eqx.nn.Linear(WIDTH, 7, key=keys[0]), eqx.nn.Linear(7, CLASSES, key=keys[1])

    def __call__(self, x):
        return self.head(jnp.tanh(self.first(x.mean(0))))


def plain_init(key):
    return [{"w": jax.random.normal(key, (WIDTH, 6))}, {"w": jax.random.normal(key, (CLASSES, 6))}]


def plain_apply(params, x, key):
    del key
    return jnp.einsum("bi,oi->bo", jnp.tanh(x.mean(1) @ params[0]["w"]), params[1]["w"])


ATTENTION = [f"MultiHeadDotProductAttention_0/{name}" for name in ("query", "key", "value", "out")]
KINDS = {
    "linen": (Linen(), [*ATTENTION, "CheckpointDense_0", "Dense_0"]),
    "nnx": (Nnx, [*(f"attention/{name}" for name in ("query", "key", "value", "out")), "head"]),
    "equinox": (Equinox, ["first", "head"]),
    "plain": ((plain_init, plain_apply), ["0", "1"]),
}


@pytest.fixture(scope="module")
def inputs():
    return jax.random.normal(jax.random.key(5), (6, LENGTH, WIDTH))


def noisy(params):
    """Adapters away from their start."""
    return jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(7), x.shape), params)


@pytest.mark.parametrize("kind", KINDS)
def test_models_of_every_kind_start_at_the_base_and_equal_their_merged_ones(kind, inputs):
    model, names = KINDS[kind]
    dense = fl.task(model, (LENGTH, WIDTH), CLASSES)
    task = fl.low_rank(dense, 2, 6.0, seed=3)
    assert task.layers.names == tuple(f"{name}/{factor}" for name in names for factor in "AB")
    assert task.layers.block_names == tuple(names)
    start, base = task.init(jax.random.key(1)), dense.init(jax.random.key(3))
    low, full = (jax.jit(lambda p, t=t: t.apply(p, inputs, None)) for t in (task, dense))
    np.testing.assert_allclose(low(start), full(base), rtol=1e-6, atol=1e-6)
    moved = noisy(start)
    np.testing.assert_allclose(low(moved), full(task.adapters.merge(moved)), rtol=1e-4, atol=1e-5)
    batch = Batch(inputs, jnp.arange(6) % CLASSES, jnp.arange(6) < 5)
    found, right = (
        jax.jit(jax.grad(loss))(moved)
        for loss in (
            lambda p: task.loss(p, batch, jax.random.key(2)),
            lambda p: dense.loss(task.adapters.merge(p), batch, jax.random.key(2)),
        )
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), found, right)


def test_an_adapter_is_the_numbers_of_the_paper():
    """W = W_0 + (alpha / rank) B A, by hand: x = (1, 2), W_0 = I, A = (3, 4), B = (5, 6), alpha = 0.5."""
    dense = fl.task((lambda key: {"w": jnp.eye(2)}, lambda p, x, key: x @ p["w"]), (2,), 2, order=("w",))
    task = fl.low_rank(dense, 1, 0.5)
    params = {"w": {"A": jnp.array([[3.0, 4.0]]), "B": jnp.array([[5.0], [6.0]])}}
    np.testing.assert_allclose(task.apply(params, jnp.array([[1.0, 2.0]]), None), [[1 + 27.5, 2 + 33.0]])
    np.testing.assert_allclose(task.adapters.merge(params)["w"].T, np.eye(2) + 0.5 * np.array([[15, 20], [18, 24]]))


def test_full_rank_gives_any_dense_model(x64):
    """Every change of a kernel is a product of full rank, here by its singular values."""
    dense = toy.make_task()
    base, other = (dense.init(jax.random.key(seed)) for seed in (1, 2))
    inputs = jax.random.normal(jax.random.key(3), (5, toy.WIDTHS[0]), jnp.float64)
    for place, rank in enumerate((4, 6, 3)):
        task = fl.low_rank(dense, rank, 2.0, targets=(str(place),), base=base, example=toy.WIDTHS[:1])
        u, s, v = np.linalg.svd(np.asarray(other[place]["w"] - base[place]["w"]).T, full_matrices=False)
        params = {f"{place}/w": {"A": v, "B": u * s * rank / 2.0}}
        merged = task.adapters.merge(params)
        np.testing.assert_allclose(merged[place]["w"], other[place]["w"], rtol=1e-12, atol=1e-12)
        want = [dict(layer) for layer in base]
        want[place]["w"] = other[place]["w"]
        np.testing.assert_allclose(task.apply(params, inputs, None), dense.apply(want, inputs, None), rtol=1e-6)


def test_only_adapters_and_layers_trained_whole_are_counted():
    task = adapter_toy.make_task(jnp.float32)
    assert task.layers.names == ("0/A", "0/B", "1/A", "1/B", "2")
    assert task.layers.blocks == (0, 0, 1, 1, 2)
    assert task.layers.block_names == ("0", "1", "2")
    assert task.layers.bytes == tuple(4 * n for n in (2 * 4, 6 * 2, 2 * 6, 7 * 2, 7 * 3 + 3))
    assert task.adapters.factors == ("A", "B", "A", "B", "", "")
    assert task.adapters.rank == adapter_toy.RANK
    start, base = task.init(jax.random.key(1)), adapter_toy.base(jnp.float32)
    np.testing.assert_allclose(start["2/w"], base[2]["w"], rtol=1e-6)
    for path in ("0/w", "1/w"):
        a, b = start[path]["A"], start[path]["B"]
        assert not b.any()
        assert 0.5 * a.shape[1] ** -0.5 < np.abs(a).max() <= a.shape[1] ** -0.5


def test_a_base_that_is_given_is_used():
    dense = toy.make_task(jnp.float32)
    base = dense.init(jax.random.key(8))
    task = fl.low_rank(dense, 2, base=toy.to_numpy(base), example=toy.WIDTHS[:1])
    merged = task.adapters.merge(task.init(jax.random.key(1)))
    jax.tree.map(np.testing.assert_array_equal, merged, base)


def test_the_base_follows_the_precision_of_the_adapters(x64):
    task = fl.low_rank(fl.task(Wide(), toy.WIDTHS[:1], toy.WIDTHS[-1]), 2)
    doubled = fl.models.in_precision(task, "float64")
    params, inputs = doubled.init(jax.random.key(1)), jnp.ones((2, toy.WIDTHS[0]), jnp.float64)
    assert doubled.apply(params, inputs, None).dtype == jnp.float64
    assert {x.dtype for x in jax.tree.leaves(doubled.adapters.merge(params))} == {jnp.dtype("float64")}


class Wide(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(toy.WIDTHS[-1])(jnp.tanh(nn.Dense(100)(x)))


def test_equal_adapters_share_a_program_and_another_base_needs_none(monkeypatch):
    """The base is an argument of the compiled programs, so that its values are no part of them."""
    compiled, known = [], programs.compiled_once

    def spy(traced, *args):
        constants = [x.nbytes for x in traced.jaxpr.consts]
        key, program = known(traced, *args)
        compiled.append((program, max(constants, default=0)))
        return key, program

    monkeypatch.setattr(programs, "compiled_once", spy)
    source, solver = toy.make_federation(toy.make_pool(dtype=np.float32)), fl.LocalSolver(optax.sgd(0.1), 4)
    found = []
    for seed in (0, 0, 1):
        task = fl.low_rank(fl.task(Wide(), toy.WIDTHS[:1], toy.WIDTHS[-1]), 2, seed=seed)
        result = fl.simulate(fl.algorithms.fedit(solver), task, source, rounds=2, eval_every=2)
        found.append(result.history.scores("served", "last")["loss"])
    each = len(compiled) // 3
    assert [p for p, _ in compiled[:each]] == [p for p, _ in compiled[each : 2 * each]]
    assert [p for p, _ in compiled[:each]] == [p for p, _ in compiled[2 * each :]]
    assert max(size for _, size in compiled) < 1000
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).min() > 1e-3


def test_the_base_is_on_all_devices_and_the_same_for_all_runs_of_a_sweep():
    mesh = jax.make_mesh((8,), ("clients",), axis_types=(jax.sharding.AxisType.Auto,))
    source = toy.make_federation(toy.make_pool(dtype=np.float32))
    task = fl.low_rank(fl.task(Wide(), toy.WIDTHS[:1], toy.WIDTHS[-1]), 2)

    def build(hyper):
        return fl.algorithms.fedit(fl.LocalSolver(optax.sgd(hyper["rate"]), 4))

    def losses(seed, **options):
        result = fl.simulate(build, task, source, rounds=2, eval_every=2, seed=seed, hyper={"rate": 0.1}, **options)
        return result.history.scores("served", "last")["loss"]

    alone = [losses(seed) for seed in (0, 1)]
    np.testing.assert_allclose(losses(0, axis=fl.ClientAxis(None, mesh)), alone[0], rtol=1e-5)
    swept = fl.sweep(build, {"rate": [0.1]}, task, source, seeds=(0, 1), rounds=2, eval_every=2)
    found = [history.scores("served", "last")["loss"] for history in swept.histories]
    np.testing.assert_allclose(found, alone, rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rank": 0}, "rank: expected an integer of at least 1, got 0"),
        ({"rank": 4}, "rank: expected at most 3 for 2/w of 7 inputs and 3 outputs, got 4"),
        ({"targets": ("4",)}, "targets: expected one of 0/w, 1/w, 2/w, got '4'"),
        ({"train": ("head",)}, "train: expected one of 0, 1, 2, got 'head'"),
        ({"train": (".",)}, "task: expected a dense or attention layer to adapt, found none in 0, 1, 2"),
        ({"base": [{"w": 0}]}, "base: expected a leaf at '0/b', found none there"),
        ({"example": None}, "example: expected the shape of a stored example for a task that does not know it"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(given, message):
    task = toy.make_task(jnp.float32)._replace(example=None)
    with pytest.raises(ValueError, match=f"^{message}") as error:
        fl.low_rank(task, **{"rank": 2, "example": toy.WIDTHS[:1]} | given)
    assert "\n" not in str(error.value)


def test_norms_and_adapters_of_adapters_are_refused():
    with pytest.raises(ValueError, match=r"^task: expected one without adapters, got one that low_rank made"):
        fl.low_rank(adapter_toy.make_task(jnp.float32), 1)

    class Norm(nn.Module):
        @nn.compact
        def __call__(self, x, train: bool = False):
            return nn.Dense(3)(nn.BatchNorm(not train)(nn.Dense(4)(x)))

    with pytest.raises(ValueError, match=r"^task: expected a model without BatchNorm"):
        fl.low_rank(fl.task(Norm(), (4,), 3), 1)


def test_embeddings_and_a_head_that_is_one_are_left_alone():
    module = fl.models.build_model(
        "transformer", 11, num_embeddings=11, length=4, layers=1, width=8, heads=2, tied=True
    )
    task = fl.task(module, (4,), 11, sample_dtype=jnp.int32, preprocess=fl.models.as_stored)
    names = ("attention/query", "attention/key", "attention/value", "attention/out", "inner", "outer")
    assert fl.low_rank(task, 2).layers.names == tuple(f"block_0/{n}/{f}" for n in names for f in "AB")
