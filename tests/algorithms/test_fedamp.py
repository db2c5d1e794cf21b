"""FedAMP: weights by hand, where they are divided, who is heard, special cases, running statistics; bad input."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import algorithms
from fedjax_layers.algorithms.mixing.fedamp import cosine_weights, distance_weights
from tests import batch_norm_toy, toy
from tests.reference.attention import flat
from tests.rounds import rounds_of

ALL = list(range(toy.CLIENTS))
NUMBERS = ("lam", "mix_step", "sigma", "self_weight")


def run(rounds, name="fedamp", *, norms=False, state=None, **options):
    found = rounds_of(name, options, traced=NUMBERS, norms=norms)
    return *found.run(rounds, pad_to=5, state=state), found


def products(*points):
    points = np.array(points, float)
    return jnp.asarray(points @ points.T)


def test_weights_by_hand(x64):
    """Check of the note: two models 0 and 1, sigma 1, mix_step 1/2."""
    weights, divided = distance_weights(products([0.0], [1.0]), jnp.ones(2, bool), 0.5, 1.0)
    np.testing.assert_allclose(weights, [[0.81606, 0.18394], [0.18394, 0.81606]], atol=5e-6)
    np.testing.assert_allclose(weights @ jnp.array([0.0, 1.0]), [0.18394, 0.81606], atol=5e-6)
    assert not divided.any()


def test_weights_of_the_cosine_by_hand(x64):
    """Check of the note: cosines 1 and 0, sigma = ln 3, own weight 0.4."""
    weights, divided = cosine_weights(
        products([1.0, 0], [2.0, 0], [0, 3.0]), jnp.ones(3, bool), 0.4, np.log(3)
    )  # fmt: skip
    np.testing.assert_allclose(weights[0], [0.4, 0.45, 0.15], rtol=1e-12)
    np.testing.assert_allclose(weights[2], [0.3, 0.3, 0.4], rtol=1e-12)
    assert not divided.any()


def test_weights_of_others_above_one_are_divided_and_none_is_negative(x64):
    """Two equal models and a third at squared distance ln 4, step and sigma 1: the others weigh 5/4, 5/4 and 1/2."""
    apart = np.sqrt(np.log(4))
    weights, divided = distance_weights(products([0.0], [0.0], [apart]), jnp.ones(3, bool), 1.0, 1.0)
    assert divided.tolist() == [True, True, False]
    np.testing.assert_allclose(weights, [[0, 0.8, 0.2], [0.8, 0, 0.2], [0.25, 0.25, 0.5]], atol=1e-12)
    # mix_step * (K - 1) / sigma = 1 is the largest factor that needs no division wherever the models are.
    weights, divided = distance_weights(jnp.zeros((3, 3)), jnp.ones(3, bool), 0.5, 1.0)
    assert not divided.any()
    np.testing.assert_allclose(weights, [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], atol=1e-12)


@pytest.mark.parametrize("rule", [distance_weights, cosine_weights])
def test_absent_clients_are_not_heard_and_a_client_alone_hears_itself(rule, x64):
    found = products([1.0, 0], [1.0, 0.5], [0, 1.0])
    weights, _ = rule(found, jnp.array([True, False, True]), 0.3, 1.0)
    assert weights[:, 1].tolist() == [0, weights[1, 1], 0]
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-12)
    weights, _ = rule(found, jnp.array([False, False, True]), 0.3, 1.0)
    assert weights[2].tolist() == [0, 0, 1]


def test_no_pull_is_local_training(x64):
    expected, _, _ = run([ALL] * 2, "local")
    found, infos, _ = run([ALL] * 2, lam=0.0, mix_step=0.2)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found[-1].clients, expected[-1].clients)
    assert infos[0].sent.tolist() == infos[0].received.tolist() == [toy.CLIENTS] * 3


def test_far_models_are_pulled_to_their_own_old_one(x64):
    """Checks of the note: a tiny sigma, and a tiny mix_step at the same rate lam / mix_step, leave ``u_i = w_i``."""
    start = run([ALL], lam=0.5, mix_step=1.0, sigma=1e-9)[0][-1]
    (_, sigma), infos, _ = run([ALL], state=start, lam=0.5, mix_step=1.0, sigma=1e-9)
    (_, mix_step), _, _ = run([ALL], state=start, lam=0.5e-12, mix_step=1e-12, sigma=1.0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10), sigma.clients, mix_step.clients)
    assert float(infos[0].extra["own_weight"]) == 1
    (_, heard), infos, _ = run([ALL], state=start, lam=0.5, mix_step=1.0, sigma=9.0)
    assert 0 < float(infos[0].extra["own_weight"]) < 0.9
    assert float(infos[0].extra["divided"]) == 0
    gap = [np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (sigma.clients, heard.clients)), strict=True)]
    assert max(gap) > 1e-3


def test_a_strong_pull_brings_the_models_together(x64):
    """The term has a gradient: without one, clients would train alone whatever its rate is."""

    def spread(**options):
        clients = run([ALL] * 4, **options)[0][-1].clients
        rows = np.stack([flat(jax.tree.map(lambda x, c=c: np.asarray(x[c]), clients)) for c in ALL])
        return np.square(rows - rows.mean(0)).sum()

    assert spread(lam=4.0, mix_step=1.0, sigma=4.0) < 0.5 * spread(lam=0.0, mix_step=1.0, sigma=4.0)


def test_absent_clients_keep_their_model(x64):
    states, infos, _ = run([[0, 2, 4], [3, 1]], mix_step=0.2)
    kept = [jax.tree.map(lambda x: x[jnp.array([0, 2, 4])], s.clients) for s in states[1:]]
    chex.assert_trees_all_equal(*kept)
    assert states[-1].seen.all()
    assert int(states[-1].round) == 2
    assert infos[1].sent.tolist() == [2] * 3


def test_a_client_that_fails_was_heard_as_it_was_before_and_keeps_that_model(x64):
    inputs, labels = toy.make_pool()
    spoilt = inputs.copy()
    spoilt[toy.STARTS[1] + 2, 0] = np.nan
    (_, state), _, rounds = run([ALL], mix_step=0.2)
    (_, sound), _ = rounds.run([ALL], pad_to=5, state=state)
    (_, broken), infos = rounds.run([ALL], pad_to=5, state=state, pool=(spoilt, labels))
    assert np.isnan(infos[0].loss).tolist() == [c == 1 for c in ALL]
    rows = lambda s, at: jax.tree.map(lambda x: x[jnp.array(at)], s.clients)  # noqa: E731
    chex.assert_trees_all_equal(rows(broken, [0, 2, 3, 4]), rows(sound, [0, 2, 3, 4]))
    chex.assert_trees_all_equal(rows(broken, [1]), rows(state, [1]))
    assert infos[0].sent.tolist() == [4] * 3


def test_running_statistics_are_neither_mixed_nor_counted(x64):
    """Other statistics of client 0 change no one else's training, and its own stay its own."""
    task = batch_norm_toy.make_task()
    (_, state), _, rounds = run([ALL], norms=True, lam=2.0, mix_step=0.5, sigma=1.0)
    flags = jax.tree.unflatten(jax.tree.structure(state.clients), task.batch_norm.statistics)
    moved = jax.tree.map(lambda flag, x: x.at[0].add(3.0) if flag else x, flags, state.clients)
    results = [rounds.run([ALL], pad_to=5, state=state.replace(clients=c))[0][-1] for c in (state.clients, moved)]
    before, after = (jax.tree.map(lambda x: x[1:], r.clients) for r in results)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14), before, after)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attention": "norm"}, "attention: expected one of distance, cosine, got 'norm'"),
        ({"mix_step": 0.0}, "mix_step: expected a positive number, got 0.0"),
        ({"self_weight": 1.5}, "self_weight: expected 0 to 1, got 1.5"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        algorithms.fedamp(toy.make_trainer(toy.make_task(jnp.float32)), **options)
