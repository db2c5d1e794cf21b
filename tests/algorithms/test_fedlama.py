"""FedLAMA: discrepancies and intervals by hand and against its oracle, what clients keep in a cycle, published code."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import algorithms
from fedjax_layers.algorithms.sharing.fedlama import relaxed_layers
from tests import toy
from tests.reference import parts
from tests.rounds import round_key, rounds_of

ALL = list(range(toy.CLIENTS))
LONG = ([0, 2, 4], [3, 1], [2, 3, 0], [1, 2], [], [0, 1], [2, 1, 0], [4, 3], [1, 4], [4, 0])


def same_layers(a, b):
    """Which layers of two models are equal to the last bit."""
    return [all(np.array_equal(x[k], y[k]) for k in x) for x, y in zip(a, b, strict=True)]


def relaxed(discrepancy, sizes, **options):
    found = relaxed_layers(jnp.asarray(discrepancy, jnp.float32), np.array(sizes), **options)
    oracle = parts.intervals(discrepancy, sizes, options.get("published_crossing", False))
    assert found.tolist() == oracle
    return found.tolist()


def test_the_published_code_relaxes_the_crossing_layer_too():
    """Check of the note: shares .3 of the discrepancy and .75 of the parameters; .3 > 1 - .75."""
    assert relaxed([0.001, 0.007], [300, 100]) == [False, False]
    assert relaxed([0.001, 0.007], [300, 100], published_crossing=True) == [True, False]


def test_equal_discrepancies_cross_at_one_half_of_the_parameters():
    assert relaxed([1.0] * 4, [100] * 4) == [True, True, False, False]
    assert relaxed([1.0] * 4, [100] * 4, published_crossing=True) == [True, True, True, False]
    assert relaxed([1.0] * 3, [100, 500, 100]) == [True, False, False]


def test_layers_are_taken_by_rising_discrepancy():
    # Shares of the discrepancy: .01, .04, .35, 1; left of the parameters: .8, .6, .2, 0.
    sizes = [200, 400, 200, 200]
    discrepancy = np.array([0.65, 0.31, 0.01, 0.03]) / sizes
    assert relaxed(discrepancy.tolist(), sizes) == [False, False, True, True]
    assert relaxed(discrepancy.tolist(), sizes, published_crossing=True) == [False, True, True, True]


def test_where_nobody_differs_all_layers_can_wait():
    assert relaxed_layers(jnp.zeros(3), np.array([3, 100, 7])).tolist() == [True] * 3


@pytest.mark.parametrize(
    ("factor", "options"),
    [(3, {}), pytest.param(2, {"crossing": True}, marks=pytest.mark.slow), (3, {"overwrite": True})],
    ids=["canonical", "crossing", "overwrite"],
)
def test_agrees_with_its_oracle_over_cycles_with_absent_clients(factor, options, x64):
    given = {f"published_{name}": on for name, on in options.items()}
    rounds = rounds_of("fedlama", given | {"interval_factor": factor})
    states, infos = rounds.run(LONG)
    start = toy.to_numpy(states[0].sharing.server)
    oracle = parts.FedLama(start, toy.CLIENTS, *toy.make_pool(), lr=0.1, beta=0.9, keep=False, factor=factor, **options)
    kinds = set()
    for t, ids in enumerate(LONG):
        before, active = list(oracle.relaxed), set(oracle.active)
        oracle.round([(c, float(toy.COUNTS[c]), toy.drawn_batches(rounds.trainer, round_key(t), c)) for c in ids])
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12),
            toy.to_numpy(states[t + 1].sharing.server),
            oracle.server,
        )
        assert states[t + 1].relaxed.tolist() == oracle.relaxed
        if not ids:
            continue
        found = np.asarray(infos[t].extra["unit_discrepancy"])
        due = ~np.isnan(found)
        np.testing.assert_allclose(found[due], np.array(oracle.found)[due], rtol=1e-10)
        assert infos[t].sent.tolist() == (due * len(ids)).tolist()
        back = 0 if options.get("overwrite") else len(active & set(ids))
        assert infos[t].received.tolist() == [len(ids) - back * r for r in before]
        kinds.add((any(before), all(before), back > 0))
    assert any(some and not every for some, every, _ in kinds), "the fixture must have layers of both kinds"
    assert options.get("overwrite") or any(back for *_, back in kinds)


def test_a_factor_of_one_is_fedavg_bit_for_bit(x64):
    expected, _ = rounds_of("fedavg", optimised=True).run([[0, 2, 4], [3, 1], [2, 3, 0]])
    found, infos = rounds_of("fedlama", {"interval_factor": 1}, optimised=True).run([[0, 2, 4], [3, 1], [2, 3, 0]])
    chex.assert_trees_all_equal(found[-1].sharing.server, expected[-1].server)
    assert all(info.sent.tolist() == info.received.tolist() for info in infos)


def row(tree, client):
    return jax.tree.map(lambda x: np.asarray(x)[client], tree)


@pytest.mark.parametrize("overwrite", [False, True])
def test_in_a_cycle_clients_keep_what_they_have_trained_in_layers_that_wait(overwrite, x64):
    """With steps of size zero a round shows where each client starts; the published way is the server's model."""
    rounds = rounds_of("fedlama", {"published_overwrite": overwrite})
    states, infos = rounds.run([ALL] * 3, pad_to=5)
    mask = np.asarray(states[2].relaxed)
    assert mask.any()
    assert not mask.all()
    assert same_layers(states[2].sharing.server, states[3].sharing.server) == mask.tolist(), "relaxed layers wait"
    still = rounds_of("fedlama", {"published_overwrite": overwrite}, learning_rate_factor=no_step)
    _, (info,) = still.run([ALL], pad_to=5, state=states[3], first=3)
    for client in ALL:
        own = same_layers(row(infos[2].observed, client), row(info.observed, client))
        server = same_layers(states[3].sharing.server, row(info.observed, client))
        kept = mask & (not overwrite)
        assert own == kept.tolist()
        assert server == (~kept).tolist()


def no_step(round_number):
    return 0.0 * round_number


def test_a_cycle_sends_relaxed_layers_once(x64):
    """Check of the note: (1 - r) phi + r models are sent in a cycle, where the share r of the parameters is relaxed."""
    rounds = rounds_of("fedlama")
    states, infos = rounds.run([ALL] * 4, pad_to=5)
    sizes, mask = np.array(rounds.trainer.task.layers.sizes), np.asarray(states[2].relaxed)
    share = sizes[mask].sum() / sizes.sum()
    for moved in ("sent", "received"):
        models = sum(np.asarray(getattr(info, moved)) for info in infos[2:]) @ sizes / (sizes.sum() * toy.CLIENTS)
        assert models == pytest.approx((1 - share) * 2 + share)


def test_one_client_alone_leaves_the_intervals_as_they_are(x64):
    states, _ = rounds_of("fedlama").run([ALL, ALL, ALL, [3]], pad_to=5)
    assert 0 < np.asarray(states[2].relaxed).sum() < 3
    assert states[4].relaxed.tolist() == states[2].relaxed.tolist()


def test_bad_input():
    with pytest.raises(ValueError, match="interval_factor: expected at least 1, got 0"):
        algorithms.fedlama(toy.make_trainer(toy.make_task(jnp.float32)), interval_factor=0)
