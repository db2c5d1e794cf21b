"""Properties of the metrics of layers: their bounds, and what they do not depend on."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedjax_layers import ops
from tests.ops.properties import (
    LAYERS,
    K,
    L,
    assert_finite,
    dtypes,
    models,
    of,
    orders,
    rows_of,
    seeds,
    spoilt,
    stacks,
    weights,
)

factors = st.sampled_from([1e-3, 0.5, 2.0, 1e3])


def close(found, expected, **options):
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), **({"rtol": 1e-3, "atol": 1e-5} | options))


@of("gradient_variance")
@given(models(dtypes), st.booleans())
def test_a_variance_is_not_negative_and_ignores_the_sign(model, unbiased):
    found = ops.gradient_variance(model, LAYERS, unbiased=unbiased)
    assert found.shape == (L,)
    assert found.dtype == jnp.float32
    assert bool((found >= 0).all())
    assert_finite(found)
    close(ops.gradient_variance(jax.tree.map(jnp.negative, model), LAYERS, unbiased=unbiased), found, atol=0)


@of("signal_to_noise", "update_cosine")
@given(stacks(distinct=True), weights(least=2), orders, factors)
def test_agreement_ignores_order_scale_and_absent_clients(stack, weight, order, factor):
    for measure in (ops.signal_to_noise, ops.update_cosine):
        found = measure(spoilt(stack, weight), LAYERS, weight)
        assert found.shape == (L,)
        assert_finite(found)
        close(measure(rows_of(stack, order), LAYERS, weight[order]), found)
        close(measure(jax.tree.map(lambda x: x * factor, stack), LAYERS, weight), found)
        close(measure(stack, LAYERS, weight * 2), found)
    assert bool((jnp.abs(ops.update_cosine(stack, LAYERS, weight)) <= 1).all())
    assert bool((ops.signal_to_noise(stack, LAYERS, weight) >= 0).all())


@of("weight_divergence")
@given(stacks(distinct=True), models(), orders, factors)
def test_divergence_is_a_relative_distance(stack, model, order, factor):
    found = ops.weight_divergence(stack, LAYERS)
    assert found.shape == (K, L)
    assert bool((found >= 0).all())
    close(ops.weight_divergence(rows_of(stack, order), LAYERS), found[order], rtol=2e-2)
    close(ops.weight_divergence(jax.tree.map(lambda x: x * factor, stack), LAYERS), found, rtol=2e-2)
    same = jax.tree.map(lambda x: jnp.stack([x] * K), model)
    assert not ops.weight_divergence(same, LAYERS, model).any()


@of("hessian_trace", "top_eigenvalue")
@given(stacks(num=2), seeds, st.sampled_from([(1, 3), (2, 12)]))
def test_curvature_of_a_parabola_is_its_coefficient(stack, seed, numbers):
    samples, iterations = numbers  # each pair is compiled
    tame = jax.tree.map(lambda x: jnp.clip(x, -4, 4), stack)
    model, bend = rows_of(tame, 0), rows_of(tame, 1)
    loss = lambda p: sum(jax.tree.leaves(jax.tree.map(lambda b, x: jnp.sum(b * x * x) / 2, bend, p)))  # noqa: E731
    key = jax.random.key(seed)
    trace = ops.hessian_trace(loss, model, LAYERS, key, samples=samples)
    close(trace, ops.layer_sums(bend, LAYERS))
    top = ops.top_eigenvalue(loss, model, LAYERS, key, iterations=iterations)
    conv, head = jnp.max(bend["conv"]["w"]), jnp.maximum(jnp.max(bend["head"]["w"]), jnp.max(bend["head"]["b"]))
    assert bool((top <= jnp.stack([conv, head]) + 1e-4).all())
    if iterations >= max(LAYERS.sizes):
        close(top, jnp.stack([conv, head]), atol=1e-3)


@of("linear_cka", "procrustes")
@given(stacks(), stacks(), orders, factors)
def test_similarity_has_bounds_and_ignores_order_and_scale(stack, other, order, factor):
    x, y = stack["head"]["w"], other["conv"]["w"]
    for measure, most in ((ops.linear_cka, 1.0), (ops.procrustes, np.pi / 2)):
        found = measure(x, y)
        assert found.shape == ()
        assert 0 <= float(found) <= most + 1e-6
        close(measure(y, x), found, atol=2e-3)
        close(measure(x[order] * factor, y[order]), found, atol=2e-3)
