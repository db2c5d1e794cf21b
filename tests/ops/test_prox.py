"""The proximal pull against the gradient of the term that it stands for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_layers.ops import proximal_pull


def trees(dtype=jnp.float32):
    """Updates, parameters and anchor; the differences go both ways."""
    updates = {"w": jnp.asarray([[1.0, -2.0], [0.5, 0.25]], dtype), "b": jnp.asarray([3.0, -1.0], dtype)}
    params = {"w": jnp.asarray([[0.0, 2.0], [-1.5, 4.0]], dtype), "b": jnp.asarray([1.0, 1.0], dtype)}
    anchor = {"w": jnp.asarray([[1.0, -1.0], [-2.5, 4.0]], dtype), "b": jnp.asarray([-2.0, 5.0], dtype)}
    return updates, params, anchor


def test_it_adds_the_gradient_of_half_mu_times_the_squared_distance():
    updates, params, anchor = trees()

    def term(p, mu):
        return (
            mu / 2 * sum(((x - a) ** 2).sum() for x, a in zip(jax.tree.leaves(p), jax.tree.leaves(anchor), strict=True))
        )

    found, _ = proximal_pull(0.7).update(updates, optax.EmptyState(), params, anchor=anchor)
    pull = jax.tree.map(jnp.subtract, found, updates)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), pull, jax.grad(term)(params, 0.7))
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(pull)) > 2


def test_one_step_of_a_chain_by_hand():
    _, params, anchor = trees()
    grads = jax.tree.map(jnp.ones_like, params)
    solver = optax.chain(proximal_pull(0.5), optax.sgd(0.1))
    updates, _ = solver.update(grads, solver.init(params), params, anchor=anchor)
    stepped = optax.apply_updates(params, updates)
    np.testing.assert_allclose(stepped["b"], [1 - 0.1 * (1 + 0.5 * 3), 1 - 0.1 * (1 + 0.5 * -4)], rtol=1e-6)


def test_the_chain_settles_between_the_minimum_and_the_anchor():
    """For a loss of ||p - 4||^2 / 2 the solution is (4 + mu * anchor) / (1 + mu)."""
    solver = optax.chain(proximal_pull(3.0), optax.sgd(0.2))

    def step(_, p):
        return optax.apply_updates(p, solver.update(p - 4, solver.init(p), p, anchor=jnp.float32(-2))[0])

    np.testing.assert_allclose(jax.lax.fori_loop(0, 100, step, jnp.float32(0)), (4 - 6) / 4, rtol=1e-6)


def test_no_pull_at_the_anchor_or_without_a_rate():
    updates, params, anchor = trees()
    for rate, pulled_to in ((0.0, anchor), (5.0, params)):
        found, _ = proximal_pull(rate).update(updates, optax.EmptyState(), params, anchor=pulled_to)
        jax.tree.map(np.testing.assert_array_equal, found, updates)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_a_traced_rate_keeps_the_dtype_and_one_program_serves_all_rates(dtype, x64):
    updates, params, anchor = trees(dtype)

    def pull(rate):
        return proximal_pull(rate).update(updates, optax.EmptyState(), params, anchor=anchor)[0]

    together = jax.jit(jax.vmap(pull))(jnp.asarray([0.0, 0.5, 2.0], jnp.float32))
    assert {x.dtype for x in jax.tree.leaves(together)} == {jnp.dtype(dtype)}
    for i, rate in enumerate((0.0, 0.5, 2.0)):
        jax.tree.map(lambda x, y, i=i: np.testing.assert_array_equal(x[i], y), together, pull(rate))


def test_a_missing_anchor_or_missing_params_are_named():
    updates, params, anchor = trees()
    with pytest.raises(ValueError, match="anchor: expected a tree like the updates"):
        proximal_pull(1.0).update(updates, optax.EmptyState(), params)
    with pytest.raises(ValueError, match="params: expected a tree like the updates"):
        proximal_pull(1.0).update(updates, optax.EmptyState(), anchor=anchor)
