"""FedLP against its oracle with the coins that were drawn; numbers by hand, special cases, what is sent; bad input."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_layers import algorithms, ops
from fedjax_layers.algorithms.sharing.fedlp import drawn_layers, mean_of_sent
from fedjax_layers.algorithms.sharing.round import Phase
from fedjax_layers.clients import Passed
from tests import toy
from tests.reference import parts
from tests.rounds import round_key, rounds_of

ROUNDS = ([0, 2, 4], [3, 1], [2, 3, 0], [1, 2])  # partial, of unequal size: padded to three slots
RATES = (0.3, (0.2, 0.9, 0.5))


def close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), toy.to_numpy(found), expected)


def coins(t, client, rate):
    return np.asarray(drawn_layers(round_key(t), jnp.int32(client), jnp.asarray(rate), 3))


@pytest.mark.parametrize("rate", RATES, ids=["one", "each"])
@pytest.mark.parametrize("keep", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_agrees_with_its_oracle(rate, keep, x64):
    rounds = rounds_of("fedlp", {"keep_probability": rate}, **{"keep_optimizer": True} if keep else {})
    states, infos = rounds.run(ROUNDS)
    start = toy.to_numpy(states[0].server)
    oracle = parts.FedLp(start, toy.CLIENTS, *toy.make_pool(), lr=0.1, beta=0.9, keep=keep)
    seen = []
    for t, ids in enumerate(ROUNDS):
        oracle.kept = {c: coins(t, c, rate) for c in ids}
        drawn = [(c, float(toy.COUNTS[c]), toy.drawn_batches(rounds.trainer, round_key(t), c)) for c in ids]
        for slot, (_, _, trained, loss, *_) in enumerate(oracle.round(drawn)):
            close(jax.tree.map(lambda x, slot=slot: x[slot], toy.to_numpy(infos[t].observed)), trained)
            np.testing.assert_allclose(infos[t].loss[slot], loss, rtol=1e-10)
        close(states[t + 1].server, oracle.server)
        assert infos[t].sent.tolist() == sum(oracle.kept.values()).tolist()
        assert infos[t].received.tolist() == [len(ids)] * 3
        seen += [int(n) for n in infos[t].sent] if t != 1 else []
    assert {0, 1, 2} <= set(seen), "the fixture must have layers that nobody, one and several clients send"


def phase_of(values, kept, weights):
    """A pass over clients whose one-layer models are ``values``; clients of weight 0 are padding."""
    weights, kept = np.asarray(weights, float), np.asarray(kept)[:, None]
    mean = np.where(kept[:, 0], np.asarray(values, float), 0) @ weights / weights.sum()
    cohort = toy.make_cohort(range(len(values)), toy.make_pool(), weights=weights)
    passed = Passed(jnp.zeros(len(values)), jnp.asarray(kept), (), (), ())
    return Phase([{"w": jnp.asarray([mean])}], passed, cohort)


@pytest.mark.parametrize(
    ("kept", "weights", "expected", "number"),
    [
        ([True, False, True], [1, 1, 1], 3.5, 2),
        ([True, False, True], [1, 7, 3], (1 + 3 * 6) / 4, 2),
        ([True, True, True], [1, 1, 2], 3.75, 3),
        ([True, True, True], [1, 1, 0], 1.5, 2),
        ([False, False, False], [1, 1, 1], None, 0),
    ],
)
def test_the_weights_of_a_layer_are_those_of_who_sent_it(kept, weights, expected, number, x64):
    """Check of the note: values 1, 2, 6."""
    layers = ops.layer_map([{"w": jnp.zeros(1)}])
    mean, sent = mean_of_sent(layers, phase_of([1, 2, 6], kept, weights))
    assert sent.tolist() == [number]
    if expected is not None:
        assert float(mean[0]["w"][0]) == pytest.approx(expected, rel=1e-6)


def test_sending_all_layers_is_fedavg_bit_for_bit(x64):
    expected, _ = rounds_of("fedavg", optimised=True).run(ROUNDS)
    found, infos = rounds_of("fedlp", {"keep_probability": 1.0}, optimised=True).run(ROUNDS)
    chex.assert_trees_all_equal(found[-1].server, expected[-1].server)
    assert infos[0].sent.tolist() == [3, 3, 3]


@pytest.mark.parametrize("server_optimizer", [None, optax.sgd(1.0, momentum=0.9)], ids=["mean", "momentum"])
def test_layers_that_nobody_sends_keep_every_bit(server_optimizer, x64):
    rate = (0.0, 0.0, 1.0)
    states, infos = rounds_of("fedlp", {"keep_probability": rate, "server_optimizer": server_optimizer}).run(ROUNDS)
    chex.assert_trees_all_equal(states[0].server[:2], states[-1].server[:2])
    assert not np.array_equal(states[0].server[2]["w"], states[-1].server[2]["w"])
    assert infos[0].sent.tolist() == [0, 0, 3]
    states, infos = rounds_of("fedlp", {"keep_probability": 0.0}).run(ROUNDS)
    chex.assert_trees_all_equal(states[0].server, states[-1].server)


def test_each_coin_is_of_its_own_client_layer_and_round():
    """Check of the note: with probability 1/2 and three clients an eighth of the layers is left alone."""
    draw = jax.jit(jax.vmap(lambda t, c: drawn_layers(round_key(t), c, jnp.float32(0.5), 3)))
    rounds, clients = np.meshgrid(np.arange(1000), np.arange(3), indexing="ij")
    kept = np.asarray(draw(rounds.ravel(), clients.ravel().astype(np.int32))).reshape(1000, 3, 3)
    for axis in range(3):  # equal along no axis
        assert not (kept == np.roll(kept, 1, axis)).all()
    np.testing.assert_allclose(kept.mean((0, 1)), 0.5, atol=4 * np.sqrt(0.25 / 3000))
    np.testing.assert_allclose((~kept.any(1)).mean(), 0.125, atol=4 * np.sqrt(0.125 * 0.875 / 3000))


def test_a_client_with_broken_numbers_sends_nothing(x64):
    inputs, labels = toy.make_pool()
    spoilt = inputs.copy()
    spoilt[toy.STARTS[2]] = np.nan
    _, infos = rounds_of("fedlp", {"keep_probability": 1.0}).run([[0, 2, 4]], pool=(spoilt, labels))
    assert infos[0].sent.tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (1.5, "keep_probability: expected 0 to 1, got 1.5"),
        ((0.5, -0.1, 1.0), r"keep_probability: expected 0 to 1, got \(0.5, -0.1, 1.0\)"),
        ((0.5, 0.5), r"keep_probability: expected one number, or one for each of 3 layers, got shape \(2,\)"),
    ],
)
def test_bad_input(rate, message):
    with pytest.raises(ValueError, match=message):
        algorithms.fedlp(toy.make_trainer(toy.make_task(jnp.float32)), keep_probability=rate)
