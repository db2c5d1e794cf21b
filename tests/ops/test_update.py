"""FedTLU's score: the identity, what it does not depend on, digits in float32, blocks, the k best, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import ops
from tests.reference.fedtlu import score


def one_layer(values):
    tree = {"w": jnp.asarray(values)}
    return tree, ops.layer_map(tree)


def scored(values, **options):
    return np.asarray(ops.update_score(*one_layer(values), **options))[0]


@pytest.mark.parametrize("reading", ["ratio", "product", "size", "absolute"])
@pytest.mark.parametrize("offset", [0.0, 0.3, -5.0])
def test_agrees_with_the_formula(reading, offset, x64):
    values = np.random.default_rng(0).normal(offset, 1, (7, 5))
    np.testing.assert_allclose(scored(values, reading=reading), score(values.ravel(), reading), rtol=1e-12)


def test_the_identity_and_what_the_score_does_not_depend_on(x64):
    values = np.random.default_rng(1).normal(0.2, 1, 60)
    found = scored(values)
    np.testing.assert_allclose(found, np.sqrt(1 + (values.mean() / values.std()) ** 2), rtol=1e-12)
    for same in (-3e-5 * values, 1e6 * values, values[::-1].copy()):
        np.testing.assert_allclose(scored(same), found, rtol=1e-12)
    assert scored(values - values.mean()) == pytest.approx(1, abs=1e-12)
    assert scored(values + 1) > found
    np.testing.assert_allclose(scored(values, excess=True), found - 1, rtol=1e-10)


def test_a_softmax_classifiers_last_layer_scores_lowest_since_its_gradient_sums_to_zero(x64):
    rng = np.random.default_rng(4)
    params = {"body": jnp.asarray(rng.normal(size=(5, 4))), "head": jnp.asarray(rng.normal(size=(4, 3)))}
    inputs, labels = jnp.asarray(rng.normal(size=(20, 5))), rng.integers(0, 3, 20)

    def loss(p):
        return -jax.nn.log_softmax(jnp.tanh(inputs @ p["body"]) @ p["head"])[np.arange(20), labels].mean()

    layers = ops.layer_map(params, order=["body", "head"])
    body, head = ops.update_score(jax.grad(loss)(params), layers, excess=True)
    assert head == pytest.approx(0, abs=1e-14)
    assert body > 1e-4


def test_a_layer_is_all_of_its_arrays(x64):
    rng = np.random.default_rng(2)
    tree = {"a": {"b": rng.normal(3, 1, 4), "w": rng.normal(0, 2, (3, 4))}, "n": {"b": rng.normal(1, 1, 6)}}
    layers = ops.layer_map(tree, ["a", "n"])
    whole = [np.concatenate([tree["a"]["b"], tree["a"]["w"].ravel()]), tree["n"]["b"]]
    np.testing.assert_allclose(ops.update_score(tree, layers), [score(x) for x in whole], rtol=1e-12)
    matrices = ops.update_score(tree, layers, matrices_only=True)
    np.testing.assert_allclose(matrices, [score(tree["a"]["w"].ravel()), score(tree["n"]["b"])], rtol=1e-12)


def test_the_score_against_the_spread_between_clients(x64):
    clients = np.random.default_rng(3).normal(0.5, 1, (6, 4, 3))
    tree, layers = one_layer(clients.mean(0))
    found = ops.update_score(tree, layers, reading="clients", clients={"w": jnp.asarray(clients)})[0]
    np.testing.assert_allclose(found, np.linalg.norm(clients.mean(0)) / np.sqrt(clients.var(0).sum()), rtol=1e-12)


@pytest.mark.parametrize("shape", [(7_077_888,), (768, 3072), (50_000,)])
def test_float32_ranks_layers_of_millions_of_entries(shape):
    """Two layers of noise whose means differ by a tenth: the score's excess is 1e-7 and less."""
    rng = np.random.default_rng(4)
    size = int(np.prod(shape))
    noise = rng.standard_normal(size)
    noise -= noise.mean()
    weak, strong = ((noise + shift / np.sqrt(size)).astype(np.float32).reshape(shape) for shift in (1.0, 1.1))
    for values in (weak, strong):
        exact = values.astype(np.float64)
        expected = (exact.mean() / exact.std()) ** 2 / 2
        np.testing.assert_allclose(
            jax.jit(lambda v: ops.update_score(*one_layer(v), excess=True))(values)[0], expected, rtol=0.02
        )
    assert scored(weak, excess=True) < scored(strong, excess=True)


@pytest.mark.parametrize("offset", [1e-3, 1.0, 1e4])
def test_float32_keeps_the_digits_of_a_one_signed_update(offset):
    values = (offset * (1 + 1e-2 * np.random.default_rng(5).standard_normal((64, 64)))).astype(np.float32)
    np.testing.assert_allclose(scored(values), score(values.astype(np.float64).ravel()), rtol=1e-3)


def test_nothing_and_constants():
    assert scored(np.zeros((3, 3))) == 1
    assert scored(np.zeros((3, 3)), excess=True) == 0
    for reading in ("product", "size", "absolute"):
        assert scored(np.zeros(4), reading=reading) == 0
    constant = scored(np.full((3, 3), 2.0), excess=True)
    assert np.isfinite(constant)
    assert constant > 1e5


def test_blocks(x64):
    tree = [jnp.zeros(2), jnp.zeros(6), jnp.zeros(4)]
    layers = ops.layer_map(tree, blocks=[0, 0, 1])
    scores = jnp.asarray([1.0, 5.0, 2.0])
    np.testing.assert_allclose(ops.block_score(scores, layers), [3, 2])
    np.testing.assert_allclose(ops.block_score(scores, layers, "sum"), [6, 2])
    np.testing.assert_allclose(ops.block_score(scores, layers, "size"), [4, 2])


def test_the_k_best():
    scores = jnp.asarray([1.0, 3.0, jnp.nan, 3.0, -jnp.inf, 2.0])
    pick = jax.jit(ops.top_k_mask)
    assert np.flatnonzero(pick(scores, 0)).tolist() == []
    assert np.flatnonzero(pick(scores, 1)).tolist() == [1], "of equal scores the first"
    assert np.flatnonzero(pick(scores, 3)).tolist() == [1, 3, 5]
    assert pick(scores, 6).all()


def test_swapped_updates_swap_scores(x64):
    a, b = np.random.default_rng(6).normal(0.1, 1, (2, 5, 4))
    layers = ops.layer_map([a, b])
    np.testing.assert_array_equal(ops.update_score([a, b], layers), ops.update_score([b, a], layers)[::-1])


def test_the_score_maps_over_clients(x64):
    stacked = np.random.default_rng(7).normal(0.1, 1, (3, 5, 4))
    layers = one_layer(stacked[0])[1]
    together = jax.vmap(lambda d: ops.update_score(d, layers))({"w": jnp.asarray(stacked)})
    np.testing.assert_allclose(together[:, 0], [score(x.ravel()) for x in stacked], rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reading": "cosine"}, "reading: expected one of ratio, product, size, clients, absolute, got 'cosine'"),
        ({"reading": "size", "excess": True}, "excess: expected False for reading 'size', got True"),
        ({"reading": "clients"}, "clients: expected the clients' updates just for reading 'clients', got none"),
        ({"clients": {"w": np.zeros((2, 3))}}, "clients: .* got some"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        scored(np.zeros(3), **options)


def test_bad_choices():
    layers = one_layer(np.zeros(3))[1]
    with pytest.raises(ValueError, match="how: expected mean, sum or size, got 'max'"):
        ops.block_score(jnp.zeros(1), layers, "max")
    with pytest.raises(ValueError, match=r"scores: expected shape \(1\), found \(2,\)"):
        ops.block_score(jnp.zeros(2), layers)
    for k in (-1, 3):
        with pytest.raises(ValueError, match=f"k: expected 0 to 2, the scores, got {k}"):
            ops.top_k_mask(jnp.zeros(2), k)
