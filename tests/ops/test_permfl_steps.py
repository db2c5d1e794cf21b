"""PerMFL's three updates: by hand, as gradients of what they descend, traced coefficients, kept dtypes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers.ops import permfl_client_step, permfl_server_step, permfl_team_step

A = {"w": jnp.asarray([1.0, -2.0]), "b": jnp.asarray(0.5)}
B = {"w": jnp.asarray([0.0, 4.0]), "b": jnp.asarray(-1.0)}
G = {"w": jnp.asarray([2.0, 3.0]), "b": jnp.asarray(1.0)}


def close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)


def test_by_hand():
    client = permfl_client_step(A, G, B, alpha=0.1, lam=0.5)
    close(client, {"w": [1 - 0.1 * (2 + 0.5 * 1), -2 - 0.1 * (3 + 0.5 * -6)], "b": 0.5 - 0.1 * (1 + 0.5 * 1.5)})
    team = permfl_team_step(A, B, G, eta=0.1, lam=0.5, gamma=2.0)
    close(team, {"w": [0.75 * 1 + 0.2 * 0 + 0.05 * 2, 0.75 * -2 + 0.2 * 4 + 0.05 * 3], "b": 0.375 - 0.2 + 0.05})
    close(permfl_server_step(A, B, beta=0.25, gamma=2.0), {"w": [0.5, 1.0], "b": -0.25})


def test_they_descend_their_objectives():
    """Each is a gradient step on a squared distance, told by autodiff."""

    def distance(a, b):
        return sum(jnp.sum((x - y) ** 2) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)) / 2

    def step(params, rate, objective):
        return jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(objective)(params))

    def loss(p):  # its gradient is G everywhere
        return sum(jnp.sum(g * x) for g, x in zip(jax.tree.leaves(G), jax.tree.leaves(p), strict=True))

    close(permfl_client_step(A, G, B, alpha=0.3, lam=0.7), step(A, 0.3, lambda p: loss(p) + 0.7 * distance(p, B)))
    both = step(A, 0.1, lambda p: 0.4 * distance(p, G) + 1.5 * distance(p, B))
    close(permfl_team_step(A, B, G, eta=0.1, lam=0.4, gamma=1.5), both)
    close(permfl_server_step(A, B, beta=0.2, gamma=1.5), step(A, 0.2, lambda p: 1.5 * distance(p, B)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_coefficients_may_be_traced_and_dtypes_stay(dtype):
    a, b, g = (jax.tree.map(lambda x: x.astype(dtype), tree) for tree in (A, B, G))

    @jax.jit
    def all_three(c):
        client = permfl_client_step(a, g, b, alpha=c, lam=c)
        return client, permfl_team_step(a, b, client, eta=c, lam=c, gamma=c), permfl_server_step(a, b, beta=c, gamma=c)

    found = all_three(jnp.float32(0.1))
    assert {x.dtype for x in jax.tree.leaves(found)} == {jnp.dtype(dtype)}
    swept = jax.vmap(all_three)(jnp.asarray([0.1, 0.2], jnp.float32))
    jax.tree.map(lambda s, f: np.testing.assert_allclose(s[0].astype(np.float32), f.astype(np.float32)), swept, found)


def test_no_pull_and_no_step_leave_things_as_they_are():
    close(permfl_team_step(A, B, G, eta=0.1, lam=0.0, gamma=0.0), A)
    close(permfl_server_step(A, B, beta=0.5, gamma=0.0), A)
    close(permfl_client_step(A, G, B, alpha=0.0, lam=3.0), A)
