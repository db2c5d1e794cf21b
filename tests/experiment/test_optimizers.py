"""Optimisers by name, against their equations."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_layers.experiment.config.optimizers import (
    CLIENT_OPTIMIZERS,
    SERVER_OPTIMIZERS,
    client_optimizer,
    server_optimizer,
)

GRADIENTS = (np.array([1.0, -2.0]), np.array([0.5, 3.0]), np.array([0.01, -1.0]))
START = np.array([2.0, -1.0])


def walk(optimizer):
    """Parameters after each of the gradients."""
    params, state, path = jnp.asarray(START), optimizer.init(jnp.asarray(START)), []
    for gradient in GRADIENTS:
        updates, state = optimizer.update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, updates)
        path.append(np.array(params))
    return np.array(path)


def test_sgd_by_hand(x64):
    """Decay enters the gradient, then the momentum: v = 0.9 v + g + 0.1 x, x = x - 0.2 v, as PyTorch has it."""
    x, v, expected = START, np.zeros(2), []
    for g in GRADIENTS:
        v = 0.9 * v + g + 0.1 * x
        x = x - 0.2 * v
        expected.append(x)
    np.testing.assert_allclose(walk(client_optimizer("sgd", 0.2, momentum=0.9, weight_decay=0.1)), expected)


def adam(decay_in_gradient, decoupled, maximum=False):
    x, m, v, top, path = START, np.zeros(2), np.zeros(2), np.zeros(2), []
    for t, gradient in enumerate(GRADIENTS, start=1):
        g = gradient + decay_in_gradient * x
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        corrected = v / (1 - 0.999**t)
        top = np.maximum(top, corrected)
        second = top if maximum else corrected
        x = x - 0.2 * (m / (1 - 0.9**t) / (np.sqrt(second) + 1e-8) + decoupled * x)
        path.append(x)
    return np.array(path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("adam", {"decay_in_gradient": 0.1, "decoupled": 0}),
        ("adamw", {"decay_in_gradient": 0, "decoupled": 0.1}),
        ("amsgrad", {"decay_in_gradient": 0.1, "decoupled": 0, "maximum": True}),
        ("adamw_amsgrad", {"decay_in_gradient": 0, "decoupled": 0.1, "maximum": True}),
    ],
)
def test_the_adam_family_by_hand(name, expected, x64):
    found = walk(client_optimizer(name, 0.2, momentum=0.7, weight_decay=0.1))
    np.testing.assert_allclose(found, adam(**expected), rtol=1e-9)


@pytest.mark.parametrize("name", CLIENT_OPTIMIZERS)
def test_the_numbers_may_be_traced(name, x64):
    def one(rate, momentum, decay):
        optimizer = client_optimizer(name, rate, momentum=momentum, weight_decay=decay)
        updates, _ = optimizer.update(jnp.asarray(GRADIENTS[0]), optimizer.init(jnp.asarray(START)), jnp.asarray(START))
        return updates

    expected = one(0.2, 0.9, 0.1)
    np.testing.assert_allclose(jax.jit(one)(0.2, 0.9, 0.1), expected, rtol=1e-9)


def test_server_sgd_at_rate_one_is_plain_averaging(x64):
    """The pseudo-gradient is server - mean: one step must land on the mean."""
    optimizer = server_optimizer("sgd", 1.0)
    server, mean = jnp.asarray(START), jnp.asarray([0.5, 0.25])
    updates, _ = optimizer.update(server - mean, optimizer.init(server), server)
    np.testing.assert_allclose(optax.apply_updates(server, updates), mean)


@pytest.mark.parametrize("name", ["adam", "yogi", "adagrad"])
def test_server_optimizers_first_step_has_the_published_tau(name, x64):
    """With tau = 1e-3 beside the root of the second moment a tiny pseudo-gradient moves less than the rate."""
    optimizer = server_optimizer(name, 0.1)
    tiny, large = (jnp.asarray([size, -size]) for size in (1e-5, 10.0))
    steps = [optimizer.update(g, optimizer.init(jnp.asarray(START)), jnp.asarray(START))[0] for g in (tiny, large)]
    assert np.abs(steps[0]).max() < 0.01
    assert np.sign(steps[1]).tolist() == [-1.0, 1.0]
    assert np.abs(steps[1]).min() > 0.05


@pytest.mark.parametrize(
    ("make", "name", "nearest"), [(client_optimizer, "adamm", "adam"), (server_optimizer, "yogy", "yogi")]
)
def test_an_unknown_name_suggests_the_nearest(make, name, nearest):
    with pytest.raises(ValueError, match=f"did you mean '{nearest}'"):
        make(name, 0.1)


def test_every_listed_name_is_made():
    for name in CLIENT_OPTIMIZERS:
        assert isinstance(client_optimizer(name, 0.1), optax.GradientTransformation)
    for name in SERVER_OPTIMIZERS:
        assert isinstance(server_optimizer(name, 0.1), optax.GradientTransformation)
