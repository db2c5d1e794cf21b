"""Properties of the ops that make one model of many: form, finiteness, absent rows, order, and errors that name."""

import functools

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_layers import ops
from tests.ops.properties import (
    LAYERS,
    K,
    assert_bits,
    assert_close,
    assert_finite,
    assert_same_form,
    dtypes,
    masks_of_clients,
    models,
    of,
    orders,
    rows_of,
    spoilt,
    stacks,
    weights,
)


def centre_like(stack):
    return jax.tree.map(lambda x: jnp.zeros(x.shape[1:], x.dtype), stack)


def masked(stack, weight):
    return ops.masked_mean(stack, weight, jnp.ones(LAYERS.num_layers, bool), LAYERS, centre_like(stack))


def of_one_segment(stack, weight):
    found = ops.segment_mean(stack, jnp.zeros(K, jnp.int32), 1, weight)
    return jax.tree.map(lambda x: x[0], found)


def by_rule(stack, weight):
    rule = ops.make_rule("trimmed_mean", {"bad": 1})
    assert isinstance(rule, ops.Rule)
    return rule.reduce(stack, weight, centre_like(stack))


RULES = {
    "weighted_mean": ops.weighted_mean,
    "masked_mean": masked,
    "segment_mean": of_one_segment,
    "coordinate_median": ops.coordinate_median,
    "trimmed_mean": functools.partial(ops.trimmed_mean, trim=2),
    "krum": functools.partial(ops.krum, bad=2),
    "multi_krum": functools.partial(ops.multi_krum, bad=2),
    "bulyan": functools.partial(ops.bulyan, bad=1),
    "geometric_median": ops.geometric_median,
    "norm_clipping": lambda x, w: ops.norm_clipping(x, w, centre_like(x), 1.0),
    "centred_clipping": lambda x, w: ops.centred_clipping(x, w, centre_like(x), 1.0),
    "make_rule": by_rule,
}
COMPILED = {name: jax.jit(rule) for name, rule in RULES.items()}
of("Rule", *RULES)

rules = pytest.mark.parametrize("name", RULES)


@rules
@given(stacks(dtypes), weights())
def test_a_rule_keeps_form_and_stays_finite_within_what_it_was_given(name, stack, weight):
    found = COMPILED[name](stack, weight)
    assert_same_form(found, centre_like(stack))
    assert_finite(found)
    present = rows_of(stack, jnp.flatnonzero(weight > 0))
    zero = name in ("norm_clipping", "centred_clipping")  # which stay near the centre, here 0

    def within(x, rows):
        x, rows = x.astype(jnp.float32), rows.astype(jnp.float32)
        slack = jnp.abs(rows).max() * 2e-2 + 1e-30
        low, high = rows.min(0), rows.max(0)
        low, high = (jnp.minimum(low, 0), jnp.maximum(high, 0)) if zero else (low, high)
        assert bool((x >= low - slack).all())
        assert bool((x <= high + slack).all())

    jax.tree.map(within, found, present)


@rules
@given(stacks(), weights())
def test_absent_rows_are_inert(name, stack, weight):
    assert_bits(COMPILED[name](spoilt(stack, weight), weight), COMPILED[name](spoilt(stack, weight, 3.0), weight))


@rules
@given(stacks(distinct=True), weights(), orders)
def test_the_order_of_clients_does_not_matter(name, stack, weight, order):
    """Of equally good rows, such as equal ones, the rules that choose take the first: the rows differ here."""
    found, other = COMPILED[name](stack, weight), COMPILED[name](rows_of(stack, order), weight[order])
    assert_close(found, other, stack)


@rules
@given(stacks(), st.integers(1, 4))
def test_a_weight_of_another_length_is_named(name, stack, short):
    with pytest.raises(ValueError, match=r"^(weights?|stacked at '[\w/]+'): expected shape"):
        RULES[name](stack, jnp.ones(K - short))


@rules
def test_leaves_of_unequal_length_are_named(name):
    uneven = jax.tree.unflatten(LAYERS.treedef, [jnp.ones((K + i, *s)) for i, s in enumerate(LAYERS.leaf_shapes)])
    with pytest.raises(ValueError, match=r"^(rows|stacked)( at '[\w/]+')?: expected"):
        RULES[name](uneven, jnp.ones(K))


@of("masked_mean", "select")
@given(stacks(), weights(), masks_of_clients, models())
def test_a_masked_mean_is_a_mean_of_each_layer_over_those_that_share_it(stack, weight, mask, other):
    found = ops.masked_mean(stack, weight, mask, LAYERS, other)
    for layer in range(LAYERS.num_layers):
        alone = ops.weighted_mean(stack, jnp.where(mask[:, layer], weight, 0), other)
        flags = jnp.arange(LAYERS.num_layers) == layer
        assert_bits(ops.select(flags, LAYERS, found, other), ops.select(flags, LAYERS, alone, other))


@of("segment_mean")
@given(stacks(), weights(), st.lists(st.integers(-1, 3), min_size=K, max_size=K))
def test_a_segment_mean_is_the_mean_of_its_members(stack, weight, ids):
    ids = jnp.asarray(ids, jnp.int32)
    found = ops.segment_mean(spoilt(stack, weight), ids, 3, weight)
    for segment in range(3):
        alone = ops.weighted_mean(stack, jnp.where(ids == segment, weight, 0))
        assert_close(rows_of(found, segment), alone, stack)


@of("colluding_updates")
@pytest.mark.parametrize("kind", ["alie", "ipm", "min_max", "min_sum"])
@given(stacks(dtypes), weights(), st.lists(st.booleans(), min_size=K, max_size=K))
def test_colluders_change_their_own_rows_alone(kind, stack, weight, bad):
    bad, strength = jnp.asarray(bad), 1.5 if kind in ("alie", "ipm") else None
    found = ops.colluding_updates(stack, bad, weight, kind, strength)
    assert_same_form(found, stack)
    assert_finite(found)
    others = jnp.flatnonzero(~(bad & (weight > 0)))
    assert_bits(rows_of(found, others), rows_of(stack, others))
    spoilt_rows = spoilt(stack, weight)
    there = jnp.flatnonzero(weight > 0)
    assert_bits(rows_of(ops.colluding_updates(spoilt_rows, bad, weight, kind, strength), there), rows_of(found, there))
