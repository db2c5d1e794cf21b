"""Poisoned updates against their definitions; what they do to FedTLU's score; bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import ops

RNG = np.random.default_rng(0)
DELTA = {"a": {"b": RNG.normal(size=5), "w": RNG.normal(size=(40, 30))}, "n": {"w": 3 * RNG.normal(size=(20, 10))}}
LAYERS = ops.layer_map(DELTA, ["a", "n"])
KEY = jax.random.key(1)


def poison(kind, strength, where=None):
    return jax.tree.map(
        np.asarray, ops.poison_update(KEY, jax.tree.map(jnp.asarray, DELTA), LAYERS, kind, strength, where)
    )


def rms(layer):
    flat = np.concatenate([np.ravel(x) for x in DELTA[layer].values()])
    return np.linalg.norm(flat) / np.sqrt(flat.size)


def test_each_kind_is_its_definition(x64):
    for layer, tensors in DELTA.items():
        for name, d in tensors.items():
            for kind, expected in (("sign_flip", -2 * d), ("scale", 2 * d), ("offset", d + 2 * rms(layer))):
                np.testing.assert_allclose(poison(kind, 2.0)[layer][name], expected, rtol=1e-12)


def test_noise_is_as_large_as_asked_and_different_in_each_array(x64):
    noise = {layer: poison("noise", 0.5)[layer]["w"] - DELTA[layer]["w"] for layer in DELTA}
    for layer, x in noise.items():
        assert x.std() == pytest.approx(0.5 * rms(layer), rel=5 / np.sqrt(2 * x.size))
        assert abs(x.mean()) < 5 * x.std() / np.sqrt(x.size)
    assert abs(np.corrcoef(noise["a"].ravel()[:200], noise["n"].ravel())[0, 1]) < 0.3


def test_only_the_layers_of_the_mask_are_hit(x64):
    for kind in ("noise", "sign_flip", "scale", "offset"):
        found = poison(kind, 3.0, np.array([False, True]))
        np.testing.assert_array_equal(found["a"]["w"], DELTA["a"]["w"])
        assert (found["n"]["w"] != DELTA["n"]["w"]).all()


def test_what_poison_does_to_the_score(x64):
    """Note, section 5: noise lowers the score, sign and length do not change it, a constant shift raises it."""

    def score(delta):
        return np.asarray(ops.update_score(jax.tree.map(lambda x: jnp.asarray(x) + 0.5, delta), LAYERS))

    shifted = jax.tree.map(lambda x: jnp.asarray(x) + 0.5, DELTA)
    clean = score(DELTA)

    def after(kind, strength):
        return np.asarray(ops.update_score(ops.poison_update(KEY, shifted, LAYERS, kind, strength), LAYERS))

    assert (after("noise", 2.0) < clean).all()
    np.testing.assert_allclose(after("sign_flip", 1.0), clean, rtol=1e-10)
    np.testing.assert_allclose(after("scale", 10.0), clean, rtol=1e-10)
    assert (after("offset", 1.0) > clean).all()


def test_nothing_stays_nothing_whatever_is_done_to_it():
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape), DELTA)
    for kind in ("noise", "sign_flip", "scale", "offset"):
        assert all(
            (np.asarray(x) == 0).all() for x in jax.tree.leaves(ops.poison_update(KEY, nothing, LAYERS, kind, 2.0))
        )


def test_it_maps_over_clients_with_a_traced_strength(x64):
    stacked = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), DELTA)
    found = jax.jit(jax.vmap(lambda d, s: ops.poison_update(KEY, d, LAYERS, "scale", s)))(
        stacked, jnp.asarray([3.0, 1.0])
    )
    np.testing.assert_allclose(found["n"]["w"], [3 * DELTA["n"]["w"], 2 * DELTA["n"]["w"]])


def test_bad_input():
    with pytest.raises(ValueError, match="kind: expected one of noise, sign_flip, scale, offset, got 'gauss'"):
        poison("gauss", 1.0)
    with pytest.raises(ValueError, match=r"where: expected shape \(2\), found \(3,\)"):
        poison("scale", 1.0, np.ones(3, bool))
    with pytest.raises(ValueError, match="delta: expected a leaf at 'n/w'"):
        ops.poison_update(KEY, {"a": DELTA["a"]}, LAYERS, "scale", 1.0)
