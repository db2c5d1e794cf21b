"""Pairs of clients in conflict: by hand, against a loop, and who is left out."""

import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import ops
from fedjax_layers.ops.layer_metrics.conflict import conflicting_pairs, layer_products


def one_layer(rows):
    """Updates of one layer of two numbers, and its map."""
    return [{"w": jnp.asarray(rows)}], ops.layer_map([{"w": jnp.zeros(2)}])


@pytest.mark.parametrize(
    ("rows", "below", "expected"),
    [
        ([[1.0, 0], [0, 1], [-1, -1]], 0.0, 2),  # cosines 0, -.707, -.707
        ([[1.0, 0], [0, 1], [-1, -1]], 0.1, 3),
        ([[1.0, 0], [0, 1], [-1, -1]], -0.8, 0),
        ([[1.0, 0], [0, 0], [-1, -1]], 0.5, 1),  # a zero update has no direction
        ([[1e-3, 0], [1e3, 1e3], [-1e3, 0]], 0.0, 2),  # lengths do not matter
    ],
)
def test_by_hand(rows, below, expected):
    updates, layers = one_layer(rows)
    assert conflicting_pairs(updates, layers, jnp.ones(3, bool), below).tolist() == [expected]


def test_absent_clients_are_left_out_whatever_their_values_are():
    updates, layers = one_layer([[1.0, 0], [np.nan, 1], [-1, -1], [-1, 0]])
    present = jnp.array([True, False, True, True])
    assert conflicting_pairs(updates, layers, present).tolist() == [2]
    assert conflicting_pairs(updates, layers, jnp.zeros(4, bool)).tolist() == [0]


def test_agrees_with_a_loop_over_pairs():
    rng = np.random.default_rng(0)
    updates = [{"w": rng.normal(size=(6, 3, 4)), "b": rng.normal(size=(6, 4))}, {"w": rng.normal(size=(6, 2))}]
    layers = ops.layer_map([{"w": jnp.zeros((3, 4)), "b": jnp.zeros(4)}, {"w": jnp.zeros(2)}])
    updates = [{k: jnp.asarray(x, jnp.float32) for k, x in layer.items()} for layer in updates]
    flat = [np.concatenate([np.asarray(x, float).reshape(6, -1) for x in layer.values()], 1) for layer in updates]
    products = np.stack([x @ x.T for x in flat])
    np.testing.assert_allclose(layer_products(updates, layers), products, rtol=1e-4, atol=1e-5)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in flat]
    expected = [sum(u[i] @ u[j] < 0.2 for i in range(6) for j in range(i)) for u in unit]
    assert conflicting_pairs(updates, layers, jnp.ones(6, bool), 0.2).tolist() == expected


def test_bad_input():
    updates, layers = one_layer([[1.0, 0], [0, 1]])
    with pytest.raises(ValueError, match="present: expected shape"):
        conflicting_pairs(updates, layers, jnp.ones(3, bool))
