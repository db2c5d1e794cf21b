"""FedCAC: marks, overlaps and thresholds by hand, what a round reports, special cases; bad input."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import algorithms, ops
from fedjax_layers.algorithms.mixing.fedcac import most_critical, overlaps, partners
from fedjax_layers.clients import LocalSolver, Setting
from fedjax_layers.types import Task
from tests import batch_norm_toy, toy
from tests.reference.cac import FedCac
from tests.rounds import round_key, rounds_of

ALL = list(range(toy.CLIENTS))


def close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), toy.to_numpy(found), expected)


def row(tree, client):
    return jax.tree.map(lambda x: np.asarray(x[client]), tree)


def test_a_share_of_every_tensor_is_marked(x64):
    tree = {"w": jnp.array([[3.0, -4.0], [1.0, 0.5], [2.0, -1.5]]), "b": jnp.array([0.3])}
    marks = most_critical(tree, 0.5)
    assert marks["w"].tolist() == [[True, True], [False, False], [True, False]]
    assert marks["b"].tolist() == [False], "half of one number is none"
    assert most_critical(tree, 1.0)["b"].tolist() == [True]
    assert most_critical({"w": jnp.zeros(4)}, 0.5)["w"].tolist() == [True, True, False, False]


def overlaps_of(*rows, present=None):
    marks = {"w": jnp.asarray(rows, bool)}
    params = {"w": jnp.zeros(marks["w"].shape[1])}
    task = Task(lambda _: params, None, None, None, ops.layer_map(params), 1)
    trainer = Setting(task, len(rows), 1).bind(LocalSolver(None, batch_size=1))
    return overlaps(marks, jnp.ones(len(rows), bool) if present is None else jnp.asarray(present), trainer)


def test_overlaps_by_hand(x64):
    """Check of the note: 1100 and 1010."""
    found = overlaps_of([1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 1])
    np.testing.assert_allclose(found, [[1, 0.5, 0], [0.5, 1, 0.5], [0, 0.5, 1]])
    assert (overlaps_of([0, 0], [0, 0]) == 1).all(), "no marks, no division"


THREE = jnp.array([[1.0, 0.9, 0.3], [0.9, 1.0, 0.3], [0.3, 0.3, 1.0]])  # mean 0.5, maximum 0.9


@pytest.mark.parametrize(
    ("progress", "threshold", "number"), [(0.0, 0.5, 2), (0.5, 0.7, 2), (1.0, 0.9, 2), (1.01, 0.904, 0)]
)
def test_the_threshold_grows_until_nobody_collaborates(progress, threshold, number, x64):
    """Check of the note: half-way it is 0.7."""
    chosen, mean, found = partners(THREE, jnp.ones(3, bool), jnp.asarray(progress))
    assert float(mean) == pytest.approx(0.5)
    assert float(found) == pytest.approx(threshold)
    assert int(chosen.sum()) == number
    assert not chosen.diagonal().any()


@pytest.mark.parametrize("progress", [0.1, 1.0, 7.0])
@pytest.mark.parametrize("value", [1.0, 0.1])
def test_equal_overlaps_pass_always(progress, value, x64):
    chosen, _, _ = partners(jnp.full((5, 5), value), jnp.arange(5) != 2, jnp.asarray(progress))
    assert int(chosen.sum()) == 4 * 3
    assert not chosen[2].any()
    assert not chosen[:, 2].any()


def test_a_client_alone_has_no_partner(x64):
    chosen, mean, _ = partners(THREE, jnp.array([False, True, False]), jnp.asarray(0.1))
    assert not chosen.any()
    assert float(mean) == 0


def test_rounds_report_what_the_oracle_decides(x64):
    members = (ALL, [0, 2, 4], [3, 1, 2, 0], ALL, ALL)
    rounds = rounds_of("fedcac", {"collaboration_rounds": 4.0})
    states, infos = rounds.run(members, pad_to=5)
    start, pool = toy.to_numpy(states[0].sharing.server), toy.make_pool()
    oracle = FedCac(start, toy.CLIENTS, *pool, lr=0.1, beta=0.9, keep=False, share=0.5, last=4)
    for t, ids in enumerate(members):
        oracle.round([(c, float(toy.COUNTS[c]), toy.drawn_batches(rounds.trainer, round_key(t), c)) for c in ids])
        for name, expected in zip(("overlap", "overlap_threshold", "partners"), oracle.told[t], strict=True):
            np.testing.assert_allclose(infos[t].extra[name], expected, rtol=1e-6)
        for client in range(toy.CLIENTS):
            chex.assert_trees_all_equal(row(states[t + 1].masks, client), oracle.masks[client])
            close(row(rounds.models(states[t + 1]).personal, client), oracle.start_of(client))
    numbers = [told[2] for told in oracle.told]
    assert 0 < max(numbers) < 4
    assert numbers[-1] == 0
    assert infos[1].sent.tolist() == infos[1].received.tolist() == [3] * 3
    assert int(infos[1].sent_scalars) == 3 * 4, "103 marks in four words"


def test_no_marks_are_fedavg(x64):
    found, _ = rounds_of("fedcac", {"critical_share": 0.0}).run([ALL, [0, 2]], pad_to=5)
    expected, _ = rounds_of("fedavg").run([ALL, [0, 2]], pad_to=5)
    close(found[-1].sharing.server, toy.to_numpy(expected[-1].server))


@pytest.mark.parametrize("last", [170.0, 1.0])
def test_marks_everywhere_are_fedavg_with_equal_weights(last, x64):
    """Check of the note: all overlaps are 1, which is the threshold in every round."""
    rounds = rounds_of(
        "fedcac", {"critical_share": 1.0, "collaboration_rounds": last}, traced=("collaboration_rounds",)
    )
    states, infos = rounds.run([ALL] * 3, pad_to=5)
    expected, _ = rounds_of("fedavg").run([ALL] * 3, pad_to=5, weights=[1.0] * 5)
    assert [float(info.extra["partners"]) for info in infos] == [4] * 3
    for client in ALL:
        close(row(rounds.models(states[-1]).personal, client), toy.to_numpy(expected[-1].server))


def test_without_partners_marked_numbers_stay_with_the_client(x64):
    rounds = rounds_of("fedcac", {"collaboration_rounds": 0.5})
    states, infos = rounds.run([ALL], pad_to=5)
    assert float(infos[0].extra["partners"]) == 0
    trained, personal = infos[0].observed, rounds.models(states[1]).personal
    server = jax.tree.map(lambda x: jnp.broadcast_to(x, (toy.CLIENTS, *x.shape)), states[1].sharing.server)
    close(personal, toy.to_numpy(jax.tree.map(jnp.where, states[1].masks, trained, server)))


def test_running_statistics_are_never_marked(x64):
    task = batch_norm_toy.make_task()
    states, _ = rounds_of("fedcac", {"critical_share": 1.0}, norms=True).run([ALL], pad_to=5)
    for flag, marks in zip(task.batch_norm.statistics, jax.tree.leaves(states[-1].masks), strict=True):
        assert bool(marks.any()) != flag
        assert bool(marks.all()) != flag


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"critical_share": 1.5}, "critical_share: expected 0 to 1, got 1.5"),
        ({"collaboration_rounds": 0.0}, "collaboration_rounds: expected a positive number, got 0.0"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        algorithms.fedcac(toy.make_trainer(toy.make_task(jnp.float32)), **options)
