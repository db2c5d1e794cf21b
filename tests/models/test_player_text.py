"""PLayer-FL's network for texts: four layers, the sums of the note's section 4, and padding that counts for nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import models
from fedjax_layers.models.player_text import PlayerText

KEY = jax.random.key(0)


def test_its_layers_are_the_papers_groups():
    task = models.task(PlayerText(2, 30, width=8), (6,), 2, preprocess=models.as_stored, sample_dtype=jnp.uint8)
    assert task.layers.names == ("embedding", "attention", "dense", "classifier")
    assert task.layers.sizes == (30 * 8 + 6 * 8, 4 * 64 + 8, 2 * 8 * 32 + 32 + 8, 8 * 2 + 2)


def test_it_computes_what_the_note_says():
    module = PlayerText(3, 20, width=8, hidden=5)
    x = jnp.array([[4, 7, 9, 0, 0], [1, 2, 3, 4, 5]])
    p = module.init(KEY, x)["params"]
    p = jax.tree.map(lambda v: v + 0.1 * jax.random.normal(KEY, v.shape), p)  # biases too
    out = module.apply({"params": p}, x)
    for row, expected in zip(np.asarray(x), np.asarray(out), strict=True):
        e, a, d, c = (jax.tree.map(np.asarray, p[name]) for name in ("embedding", "attention", "dense", "classifier"))
        y = e["tokens"][row] + e["positions"]
        scores = (y @ a["query"]) @ (y @ a["key"]).T / np.sqrt(8)
        scores[:, row == 0] = -np.inf
        weights = np.exp(scores - scores.max(1, keepdims=True))
        y = y + weights / weights.sum(1, keepdims=True) @ (y @ a["value"]) @ a["out"] + a["bias"]
        y = y + np.maximum(y @ d["inner"] + d["inner_bias"], 0) @ d["outer"] + d["outer_bias"]
        np.testing.assert_allclose(y[0] @ c["kernel"] + c["bias"], expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("text", [[3, 0, 0, 0], [0, 0, 0, 0]])
def test_padding_leaves_gradients_finite(text):
    module = PlayerText(2, 10, width=4)
    x = jnp.array([text])
    variables = module.init(KEY, x)
    grads = jax.grad(lambda v: module.apply(v, x).sum())(variables)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_token_vectors_start_with_length_one():
    params = PlayerText(2, 50, width=16).init(KEY, jnp.zeros((1, 4), int))["params"]
    np.testing.assert_allclose(np.linalg.norm(params["embedding"]["tokens"], axis=1), 1, rtol=1e-6)
