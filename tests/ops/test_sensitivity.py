"""PLayer-FL's score by hand, what it must not be, and the rule that turns scores into a cut."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_layers.ops import federation_sensitivity, layer_map, layer_sums, prefix_mask, transition_point

PARAMS = [
    {"w": jnp.asarray([[1.0, 2.0], [3.0, 4.0]]), "b": jnp.asarray([10.0, 1.0])},
    {"w": jnp.asarray([[2.0], [1.0]]), "b": jnp.asarray([7.0])},
    {"scale": jnp.asarray([2.0, 3.0]), "shift": jnp.asarray([1.0, 1.0])},
]
GRADS = [
    {"w": jnp.asarray([[1.0, -1.0], [0.5, 2.0]]), "b": jnp.asarray([10.0, 3.0])},
    {"w": jnp.asarray([[-3.0], [4.0]]), "b": jnp.asarray([5.0])},
    {"scale": jnp.asarray([1.0, 1.0]), "shift": jnp.asarray([2.0, 0.0])},
]
LAYERS = layer_map(PARAMS)
# (1² + 2² + 1.5² + 8²) / 4, (6² + 4²) / 2, (2² + 3² + 2² + 0²) / 4
SCORES = [17.8125, 26.0, 4.25]


def test_scores_by_hand():
    np.testing.assert_allclose(federation_sensitivity(PARAMS, GRADS, LAYERS), SCORES, rtol=1e-6)


def test_biases_have_no_say():
    other = [{**PARAMS[0], "b": jnp.asarray([jnp.nan, -5.0])}, *PARAMS[1:]]
    np.testing.assert_allclose(federation_sensitivity(other, GRADS, LAYERS), SCORES, rtol=1e-6)


WRONG = {
    "no 1/n_k": lambda w, g: ((w * g) ** 2).sum(),
    "g^2 alone": lambda w, g: (g**2).mean(),
    "w^2 alone": lambda w, g: (w**2).mean(),
    "|wg|": lambda w, g: np.abs(w * g).mean(),
    "square of the sum": lambda w, g: (w * g).sum() ** 2 / w.size,
    "root": lambda w, g: np.sqrt(((w * g) ** 2).mean()),
}


@pytest.mark.parametrize("name", WRONG)
def test_formulas_that_it_must_not_be(name):
    pick = lambda tree: [np.concatenate([np.ravel(v) for k, v in x.items() if k != "b"]) for x in tree]  # noqa: E731
    wrong = np.array([WRONG[name](w, g) for w, g in zip(pick(PARAMS), pick(GRADS), strict=True)])
    assert not np.isclose(federation_sensitivity(PARAMS, GRADS, LAYERS), wrong, rtol=0.01).any()


def test_it_is_not_cumulative_and_does_not_count_biases():
    found = np.asarray(federation_sensitivity(PARAMS, GRADS, LAYERS))
    assert not np.isclose(found[1:], np.cumsum(SCORES)[1:], rtol=0.05).any()
    all_leaves = [71.25 + 100**2 + 3**2, 52.0 + 35**2]
    assert not np.isclose(found[:2], np.array(all_leaves) / [6, 3], rtol=0.05).any()


def test_an_embedding_is_scored_on_the_rows_of_the_batch():
    params = {"token": jnp.asarray([[1.0, 2.0], [9.0, 9.0], [3.0, 4.0], [5.0, 6.0]]), "position": jnp.ones((3, 2))}
    grads = {"token": jnp.asarray([[1.0, 0.0], [7.0, 7.0], [-1.0, 2.0], [3.0, 0.0]]), "position": jnp.ones((3, 2))}
    ids = jnp.asarray([[0, 2], [2, 3]])  # two texts of two tokens; token 1 does not occur
    table = layer_map({"token": params["token"]}, ["token"])
    # texts averaged: weights (2, 3) and (4, 5), gradients (0, 1) and (1, 1); products 0, 3, 4, 5
    found = federation_sensitivity({"token": params["token"]}, {"token": grads["token"]}, table, rows={"token": ids})
    np.testing.assert_allclose(found, [50 / 4], rtol=1e-6)
    group = layer_map(params, [("token", "position")])
    for combine, expected in (("elements", (50 + 6) / (4 + 6)), ("matrices", (50 / 4 + 1) / 2)):
        found = federation_sensitivity(params, grads, group, rows={"token": ids}, combine=combine)
        np.testing.assert_allclose(found, [expected], rtol=1e-6)


def test_matrices_are_averaged_without_weights():
    params = {"a": jnp.full((4, 2), 3.0), "b": jnp.ones((1, 2))}
    grads = jax.tree.map(jnp.ones_like, params)
    layers = layer_map(params, [("a", "b")])
    np.testing.assert_allclose(federation_sensitivity(params, grads, layers), [(8 * 9 + 2) / 10], rtol=1e-6)
    found = federation_sensitivity(params, grads, layers, combine="matrices")
    np.testing.assert_allclose(found, [(9 + 1) / 2], rtol=1e-6)


def test_half_precision_is_summed_in_single():
    params = [{"w": jnp.full((64, 64), 0.1, jnp.bfloat16)}]
    found = federation_sensitivity(params, params, layer_map(params))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, [float(jnp.bfloat16(0.1)) ** 4], rtol=1e-5)


def test_a_vmapped_score_equals_a_loop():
    scales = jnp.asarray([0.5, 1.0, 3.0])
    stacked = jax.tree.map(lambda g: jnp.stack([g * s for s in scales]), GRADS)
    found = jax.jit(jax.vmap(lambda g: federation_sensitivity(PARAMS, g, LAYERS)))(stacked)
    np.testing.assert_allclose(found, np.outer(scales**2, SCORES), rtol=1e-6)


def test_errors_name_argument_and_path():
    with pytest.raises(ValueError, match="combine: expected 'elements' or 'matrices', found 'sum'"):
        federation_sensitivity(PARAMS, GRADS, LAYERS, combine="sum")
    with pytest.raises(ValueError, match="rows: expected paths of leaves, found '0/kernel'"):
        federation_sensitivity(PARAMS, GRADS, LAYERS, rows={"0/kernel": jnp.zeros((1, 1), jnp.int32)})
    with pytest.raises(ValueError, match="grads: expected a leaf at '0/b'"):
        federation_sensitivity(PARAMS, [{"w": GRADS[0]["w"]}, *GRADS[1:]], LAYERS)


@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_weight_times_gradient_sums_to_one_number_in_a_relu_net_without_biases(bias, x64):
    """Why cuts follow weight counts: see ``cut_controls``. With biases the identity is gone."""
    widths = (5, 8, 6, 7, 3)
    rng = np.random.default_rng(0)
    params = [{"w": jnp.asarray(rng.normal(size=s)), "b": jnp.full(s[1], bias)} for s in itertools.pairwise(widths)]
    x, y = jnp.asarray(rng.normal(size=(9, 5))), jnp.asarray(rng.integers(0, 3, 9))

    def loss(params):
        h = x
        for i, layer in enumerate(params):
            h = h @ layer["w"] + layer["b"][None]
            h = jax.nn.relu(h) if i < len(params) - 1 else h
        return optax.softmax_cross_entropy_with_integer_labels(h, y).mean()

    products = jax.tree.map(jnp.multiply, params, jax.grad(loss)(params))
    weights_only = [{"w": p["w"], "b": jnp.zeros_like(p["b"])} for p in products]
    sums = np.asarray(layer_sums(weights_only, layer_map(params)))
    assert abs(sums[0]) > 0.1
    assert np.allclose(sums, sums[0], rtol=1e-10) == (bias == 0)


CUTS = [
    ([1.0, 1.0, 1.0], 1.5, 3),  # no jump: plain averaging
    ([1.0, 1.5, 1.0], 1.5, 3),  # exactly the threshold is no jump
    ([1.0, 1.51, 1.0], 1.5, 1),
    ([1.0, 1.0, 2.0, 1.0], 1.5, 2),
    ([4.0, 1.0, 3.0, 9.0], 1.5, 2),  # the first jump, not the largest and not a value over the first
    ([1.0, 0.5, 0.1], 0.4, 1),  # a threshold below 1
    ([0.0, 0.0, 0.0], 1.5, 3),
    ([0.0, 1e-9, 1.0], 1.5, 1),
    ([1.0, 0.0, 1e-9], 1.5, 2),
    ([1.0, np.nan, 5.0], 1.5, 3),
    ([np.nan, 5.0, 50.0], 1.5, 2),
    ([7.0], 1.5, 1),
    ([1.0, 0.76, 1.70, 6.47], 1.5, 2),  # Heart's published ratios .76, 2.24, 3.8
    ([1.0, 0.76, 1.70, 6.47], 2.5, 3),
]


@pytest.mark.parametrize(("scores", "threshold", "cut"), CUTS)
def test_the_cut_is_before_the_first_jump(scores, threshold, cut):
    found = transition_point(jnp.asarray(scores), threshold)
    assert (int(found), found.dtype, found.shape) == (cut, jnp.int32, ())


@pytest.mark.parametrize(
    ("scores", "cut"), [([1.0, 2.0, 1.0], 0), ([1.0, 1.0, 2.0], 2), ([1.0, 1.0, 1.0], 3), ([1.0], 1)]
)
def test_a_first_jump_may_mean_that_nothing_is_shared(scores, cut):
    assert int(transition_point(jnp.asarray(scores), 1.5, local_on_first_jump=True)) == cut


def test_cumulative_scores_jump_later():
    heart = jnp.asarray([1.0, 0.76, 1.71, 6.53])  # F = 1, 1.76, 3.47, 10; ratios 1.76, 1.97, 2.88
    assert [int(transition_point(heart, t, cumulative=True)) for t in (1.7, 1.9, 2.0, 3.0)] == [1, 2, 3, 4]


def test_traced_thresholds_share_one_program():
    chex.clear_trace_counter()
    scores = jnp.asarray([4.0, 1.0, 3.0, 90.0])

    @jax.jit
    @chex.assert_max_traces(n=1)
    def cuts(thresholds):
        return jax.vmap(lambda t: transition_point(scores, t))(thresholds)

    assert cuts(jnp.asarray([0.2, 1.5, 10.0, 100.0])).tolist() == [1, 2, 3, 4]
    assert cuts(jnp.asarray([100.0, 2.9, 3.1, 0.1])).tolist() == [4, 2, 3, 1]


def test_prefix_mask_by_number_and_traced(x64):
    table = [[j < cut for j in range(3)] for cut in range(5)]
    assert [prefix_mask(cut, 3).tolist() for cut in range(5)] == table
    for dtype in (jnp.int32, jnp.int64):
        found = jax.jit(jax.vmap(lambda cut: prefix_mask(cut, 3)))(jnp.arange(5, dtype=dtype))
        assert found.tolist() == table
