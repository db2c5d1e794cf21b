"""Properties of the ops on one model or on layers: form, finiteness, masks, and errors that name the argument."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_layers import ops
from tests.ops import test_properties_of_layer_metrics as layer_metrics  # noqa: F401  (notes which ops it covers)
from tests.ops.properties import (
    COVERED,
    LAYERS,
    K,
    L,
    assert_bits,
    assert_close,
    assert_finite,
    assert_same_form,
    dtypes,
    masks,
    masks_of_clients,
    models,
    of,
    orders,
    rows_of,
    seeds,
    spoilt,
    stacks,
    weights,
)
from tests.ops.test_properties_of_rules import RULES

steps = st.floats(0, 1, width=32)
scores_of_layers = st.lists(st.floats(0, 1e6, width=32), min_size=L, max_size=L).map(
    lambda x: jnp.asarray(x, "float32")
)
WRONG = jax.tree.map(jnp.zeros, {"conv": {"w": (2, 3)}, "other": {"w": (3, 2)}}, is_leaf=lambda x: isinstance(x, tuple))


@of("layer_map", "regroup")
@given(st.permutations(["conv", "head"]), st.sampled_from(["tensor", "layer", "block", "model"]))
def test_every_leaf_has_one_layer_in_any_order_and_grouping(order, by):
    whole = ops.layer_map(LAYERS.treedef.unflatten([jnp.zeros(s) for s in LAYERS.leaf_shapes]), order)
    assert whole.names == tuple(order)
    found = ops.regroup(whole, by)
    assert (found.leaf_paths, found.leaf_shapes) == (whole.leaf_paths, whole.leaf_shapes)
    assert sorted(set(found.leaf_layers)) == list(range(found.num_layers))
    assert sum(found.sizes) == sum(whole.sizes)
    assert found.num_layers == {"tensor": 3, "layer": 2, "block": 2, "model": 1}[by]


@of("layer_map", "regroup")
@given(st.sampled_from(["conv", "con", "head/w", "(", "", "*"]))
def test_an_order_that_does_not_fit_is_named(pattern):
    tree = LAYERS.treedef.unflatten([jnp.zeros(s) for s in LAYERS.leaf_shapes])
    with pytest.raises(ValueError, match=r"^order: expected"):
        ops.layer_map(tree, [pattern])
    with pytest.raises(ValueError, match=r"^by: expected"):
        ops.regroup(LAYERS, pattern)


@of("select")
@given(masks_of_clients, stacks(), stacks())
def test_select_takes_each_layer_from_one_of_two(mask, on, off):
    found = ops.select(mask, LAYERS, on, spoilt(off, jnp.ones(K)))
    assert_same_form(found, on)
    for k in range(K):
        one = ops.select(mask[k], LAYERS, rows_of(on, k), rows_of(off, k))
        assert_bits(rows_of(found, k), one)
    assert_bits(ops.select(~mask, LAYERS, off, on), found)


@of("part", "fill")
@given(masks, models(dtypes), models(dtypes))
def test_a_part_that_is_filled_is_a_selection(mask, on, off):
    flags = np.asarray(mask)
    assert len(jax.tree.leaves(ops.part(on, LAYERS, flags))) == sum(flags[i] for i in LAYERS.leaf_layers)
    found = ops.fill(ops.part(on, LAYERS, flags), jax.tree.map(lambda x, y: x.astype(y.dtype), off, on))
    assert_same_form(found, on)
    assert_bits(ops.fill(ops.part(on, LAYERS, flags), on), on)


@of("layer_sums")
@given(models(dtypes))
def test_layer_sums_add_up(model):
    found = ops.layer_sums(model, LAYERS)
    assert (found.shape, found.dtype) == ((L,), jnp.float32)
    assert_finite(found)
    total = sum(float(np.asarray(x, np.float64).sum()) for x in jax.tree.leaves(model))
    size = sum(float(np.abs(np.asarray(x, np.float64)).sum()) for x in jax.tree.leaves(model))
    assert abs(float(found.sum()) - total) <= 1e-5 * size + 1e-37


@of("federation_sensitivity")
@given(models(dtypes), models(dtypes), st.sampled_from(["elements", "matrices"]))
def test_sensitivities_are_not_negative(model, grads, combine):
    tame = jax.tree.map(lambda x: jnp.clip(x, -1e4, 1e4), (model, grads))  # their fourth power is still a float32
    found = ops.federation_sensitivity(*tame, LAYERS, combine=combine)
    assert (found.shape, found.dtype) == ((L,), jnp.float32)
    assert_finite(found)
    assert bool((found >= 0).all())
    flipped = ops.federation_sensitivity(jax.tree.map(jnp.negative, tame[0]), tame[1], LAYERS, combine=combine)
    assert_bits(found, flipped)


@of("transition_point", "prefix_mask")
@given(scores_of_layers, st.floats(0, 10, width=32), st.booleans(), st.booleans())
def test_a_cut_is_a_number_of_layers(scores, threshold, cumulative, local):
    cut = ops.transition_point(scores, threshold, cumulative=cumulative, local_on_first_jump=local)
    assert cut.dtype == jnp.int32
    assert (0 if local else 1) <= int(cut) <= L
    assert int(ops.prefix_mask(cut, L).sum()) == int(cut)
    assert bool((jnp.diff(ops.prefix_mask(cut, L).astype(int)) <= 0).all())


@of("update_score", "block_score", "top_k_mask")
@given(models(dtypes), st.sampled_from(["ratio", "product", "size", "absolute"]), st.integers(0, L), st.booleans())
def test_scores_are_finite_and_the_best_are_marked(model, reading, k, matrices_only):
    found = ops.update_score(model, LAYERS, reading=reading, matrices_only=matrices_only)
    assert found.shape == (L,)
    assert_finite(found)
    if reading == "ratio":
        assert bool((found >= 1).all())
    for how in ("mean", "sum", "size"):
        assert_finite(ops.block_score(found, LAYERS, how))
    mask = ops.top_k_mask(found, k)
    assert (mask.dtype, int(mask.sum())) == (jnp.bool_, k)
    assert not (k and k < L) or float(found[mask].min()) >= float(found[~mask].max())
    spoilt_scores = jnp.where(jnp.arange(L) == 0, jnp.nan, found)
    assert not bool(ops.top_k_mask(spoilt_scores, L - 1)[0])


@of("permfl_client_step", "permfl_team_step", "permfl_server_step")
@given(models(dtypes), models(dtypes), steps, steps, steps)
def test_permfls_steps_keep_form_and_stand_still_where_all_agree(model, other, a, b, c):
    other = jax.tree.map(lambda x, y: x.astype(y.dtype), other, model)
    still = jax.tree.map(jnp.zeros_like, model)
    taken = [
        ops.permfl_client_step(model, still, model, alpha=a, lam=b),
        ops.permfl_team_step(model, model, model, eta=a, lam=b, gamma=c),
        ops.permfl_server_step(model, model, beta=a, gamma=b),
    ]
    for found in taken:
        assert_same_form(found, model)
        assert_close(found, model, model)
    moved = ops.permfl_server_step(model, other, beta=1.0, gamma=1.0)
    assert_close(moved, other, jax.tree.map(lambda x, y: jnp.abs(x) + jnp.abs(y), model, other))
    assert_finite(ops.permfl_team_step(model, other, model, eta=a, lam=b, gamma=c))


@of("proximal_pull")
@given(models(dtypes), models(), st.floats(0, 10, width=32))
def test_a_pull_adds_nothing_at_its_anchor(model, other, rate):
    other = jax.tree.map(lambda x, y: x.astype(y.dtype), other, model)
    pull = ops.proximal_pull(rate)
    state = pull.init(model)
    assert_bits(pull.update(other, state, model, anchor=model)[0], jax.tree.map(lambda x: x + 0, other))
    assert_same_form(pull.update(other, state, model, anchor=other)[0], model)
    for name, pair in (("params", (None, model)), ("anchor", (model, None))):
        with pytest.raises(ValueError, match=f"^{name}: expected"):
            pull.update(other, state, pair[0], anchor=pair[1])
    assert optax.chain(pull, optax.sgd(0.1)).init(model)


@of("poison_update")
@given(seeds, models(dtypes), st.sampled_from(["noise", "sign_flip", "scale", "offset"]), st.floats(0, 10), masks)
def test_poison_changes_its_layers_alone(seed, model, kind, strength, where):
    found = ops.poison_update(jax.random.key(seed), model, LAYERS, kind, strength, where)
    assert_same_form(found, model)
    assert_finite(found)
    assert_bits(ops.part(found, LAYERS, ~np.asarray(where)), ops.part(model, LAYERS, ~np.asarray(where)))


@of("clip_update", "add_noise", "adapted_bound")
@given(seeds, models(dtypes), st.floats(2**-10, 1024, width=32), st.booleans(), steps)
def test_a_clipped_update_is_within_its_bound(seed, model, bound, per_layer, share):
    found, within = ops.clip_update(model, LAYERS, bound, per_layer=per_layer)
    assert_same_form(found, model)
    slack = 1.02 if model["head"]["b"].dtype == jnp.bfloat16 else 1.0001
    assert sum(float((np.asarray(x, np.float64) ** 2).sum()) for x in jax.tree.leaves(found)) <= (bound * slack) ** 2
    assert (
        per_layer or not bool(within) or bound < 1 or all(map(jnp.array_equal, *map(jax.tree.leaves, (found, model))))
    )
    noisy = ops.add_noise(jax.random.key(seed), found, share)
    assert_same_form(noisy, model)
    assert_finite(noisy)
    silent = ops.add_noise(jax.random.key(seed), found, 0.0)
    assert all(map(jnp.array_equal, *map(jax.tree.leaves, (silent, found))))
    moved = ops.adapted_bound(bound, share, 0.5, 0.2)
    assert float(moved) > 0
    assert (float(moved) <= bound * 1.0001) == (share >= 0.5) or abs(share - 0.5) < 1e-3


@of("hypernetwork", "Hypernetwork", "top_weights", "SparseWeights", "mix_layers", "mix_pullback")
@given(
    seeds,
    stacks(),
    st.integers(0, K - 1),
    st.sampled_from(["softmax", "relu"]),
    st.sampled_from(["zeros", "uniform", "normal"]),
    st.integers(1, K),
    orders,
)
def test_weights_of_a_hypernetwork_mix_models(seed, stack, client, normalise, heads, m, order):
    network = ops.hypernetwork(K, L, embedding=3, hidden=(4,), normalise=normalise, heads=heads)
    assert isinstance(network, ops.Hypernetwork)
    alpha = network.apply(network.init(jax.random.key(seed)), jnp.int32(client))[None]
    assert alpha.shape == (1, L, K)
    assert bool((alpha >= 0).all())
    np.testing.assert_allclose(alpha.sum(-1), 1, rtol=1e-5)
    few = ops.top_weights(alpha, m)
    assert isinstance(few, ops.SparseWeights)
    assert few.indices.shape == few.weights.shape == (1, L, m)
    np.testing.assert_allclose(few.weights.sum(-1), 1, rtol=1e-5)
    for weight in (alpha, few):
        mixed = ops.mix_layers(stack, weight, LAYERS)
        assert_same_form(mixed, stack, front=(1,))
        assert_finite(mixed)
    assert_close(
        ops.mix_layers(stack, alpha, LAYERS), ops.mix_layers(rows_of(stack, order), alpha[..., order], LAYERS), stack
    )
    tame = jax.tree.map(lambda x: jnp.clip(x, -1e4, 1e4), stack)
    back = ops.mix_pullback(tame, tame, LAYERS)
    assert back.shape == (K, L, K)
    assert_finite(back)


@of("visit_clients", "map_clients", "ClientAxis", "Visit", "Visited", "Term", "settle")
@given(stacks(), st.lists(st.booleans(), min_size=K, max_size=K), st.integers(1, K), stacks())
def test_clients_that_are_absent_change_nothing_at_any_width(stack, present, width, store):
    present = jnp.asarray(present)

    def visit(own, row):
        total = ops.Term(row, jnp.float32(2))
        return ops.Visit(jnp.float32(1), total, jax.tree.map(jnp.add, own, row))

    rows = spoilt(stack, present.astype(jnp.float32))
    found = ops.visit_clients(visit, rows, store=store, present=present, axis=ops.ClientAxis(width))
    assert isinstance(found, ops.Visited)
    absent = jnp.flatnonzero(~present)
    assert_bits(rows_of(found.store, absent), rows_of(store, absent))
    assert_finite(found.sums)
    assert_finite(found.store)
    first = rows_of(stack, 0)
    assert_same_form(ops.settle(found.sums, present.any(), first), first)
    assert_bits(ops.settle(found.sums, jnp.bool_(False), first), first)
    one = ops.map_clients(lambda x: x["head"]["b"] * 2, stack, axis=ops.ClientAxis(width))
    assert_bits(one, stack["head"]["b"] * 2)


WRONG_CALLS = {
    "params": lambda x: ops.layer_map({}),
    "on": lambda x: ops.select(jnp.ones(L, bool), LAYERS, WRONG, x),
    "mask": lambda x: ops.select(jnp.ones(L + 1, bool), LAYERS, x, x),
    "tree": lambda x: ops.layer_sums(WRONG, LAYERS),
    "grads": lambda x: ops.federation_sensitivity(x, WRONG, LAYERS),
    "combine": lambda x: ops.federation_sensitivity(x, x, LAYERS, combine="all"),
    "delta": lambda x: ops.update_score(WRONG, LAYERS),
    "reading": lambda x: ops.update_score(x, LAYERS, reading="best"),
    "scores": lambda x: ops.block_score(jnp.ones(L + 1), LAYERS),
    "how": lambda x: ops.block_score(jnp.ones(L), LAYERS, "median"),
    "k": lambda x: ops.top_k_mask(jnp.ones(L), L + 1),
    "kind": lambda x: ops.poison_update(jax.random.key(0), x, LAYERS, "worse", 1.0),
    "update": lambda x: ops.clip_update(WRONG, LAYERS, 1.0),
    "num_clients": lambda x: ops.hypernetwork(0, L),
    "m": lambda x: ops.top_weights(jnp.ones((1, L, K)), K + 1),
    "alpha": lambda x: ops.mix_layers(jax.tree.map(lambda y: jnp.stack([y] * K), x), jnp.ones((1, L, K)), LAYERS),
    "width": lambda x: ops.ClientAxis(0),
    "rows": lambda x: ops.map_clients(lambda y: y),
    "store": lambda x: ops.visit_clients(lambda o, y: ops.Visit(), jnp.ones(K), store=jnp.ones(K + 1)),
    "num_segments": lambda x: ops.segment_mean(jnp.ones((K, 2)), jnp.zeros(K, int), 0),
    "bad": lambda x: ops.colluding_updates(jnp.ones((K, 2)), jnp.ones(K - 1, bool), jnp.ones(K), "ipm", 1.0),
    "trim": lambda x: ops.trimmed_mean(jnp.ones((K, 2)), jnp.ones(K), K),
    "by": lambda x: ops.regroup(LAYERS, "all"),
    "samples": lambda x: ops.hessian_trace(lambda p: jnp.sum(p["head"]["b"]), x, LAYERS, jax.random.key(0), samples=0),
    "loss": lambda x: ops.top_eigenvalue(lambda p: p["head"]["b"], x, LAYERS, jax.random.key(0)),
    "weights": lambda x: ops.update_cosine(jax.tree.map(lambda y: jnp.stack([y] * K), x), LAYERS, jnp.ones(K + 1)),
    "reference": lambda x: ops.weight_divergence(jax.tree.map(lambda y: jnp.stack([y] * K), x), LAYERS, WRONG),
    "y": lambda x: ops.linear_cka(jnp.ones((3, 2)), jnp.ones((4, 2))),
}


@pytest.mark.parametrize("argument", WRONG_CALLS)
@given(models())
def test_what_is_wrong_is_named(argument, model):
    with pytest.raises(ValueError, match=rf"^{re.escape(argument)}\b.*: expected") as error:
        WRONG_CALLS[argument](model)
    assert "\n" not in str(error.value)


@given(weights())
def test_every_public_op_has_a_property(weight):
    assert bool((weight > 0).any())
    assert set(ops.__all__) - COVERED - set(RULES) == set()
