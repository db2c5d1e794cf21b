"""FedLAG: its special cases, when and what it decides, who gets which layers, what is sent; bad input."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import algorithms
from tests import toy
from tests.reference import parts
from tests.rounds import round_key, rounds_of

ALL = list(range(toy.CLIENTS))
ROUNDS = ([0, 2, 4], [3, 1], [2, 3, 0], [1, 2])  # partial, of unequal size: padded to three slots
LONG = ([0, 2, 4], [], [3, 1, 0], [2, 3, 0], [4, 0], [3, 2, 0])
TWO = {"warmup_rounds": 2, "top_k": 1, "cosine_threshold": -0.2}


def row(tree, client):
    return jax.tree.map(lambda x: np.asarray(x)[client], tree)


def layer(tree, number):
    return jax.tree.map(np.asarray, tree[number])


@pytest.mark.parametrize("upload", [False, True])
def test_agrees_with_its_oracle_over_a_longer_warmup(upload, x64):
    """The published upload changes nothing for clients that have taken part."""
    rounds = rounds_of("fedlag", TWO | {"published_upload": upload})
    states, infos = rounds.run(LONG)
    oracle = parts.FedLag(
        toy.to_numpy(states[0].sharing.server),
        toy.CLIENTS,
        *toy.make_pool(),
        lr=0.1,
        beta=0.9,
        keep=False,
        top_k=1,
        warmup=2,
        below=-0.2,
    )
    for t, ids in enumerate(LONG):
        known, shared = set(oracle.seen), list(oracle.shared)
        oracle.round([(c, float(toy.COUNTS[c]), toy.drawn_batches(rounds.trainer, round_key(t), c)) for c in ids])
        personal = toy.to_numpy(rounds.models(states[t + 1]).personal)
        for client in oracle.seen:
            right = oracle.start_of(client)
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), row(personal, client), right
            )
        assert infos[t].extra["conflicts"].tolist() == oracle.scores
        assert states[t + 1].shared.tolist() == oracle.shared
        assert infos[t].sent.tolist() == [len(ids) * (s or upload) for s in shared]
        back = len(known & set(ids))
        assert infos[t].received.tolist() == [len(ids) if s else len(ids) - back for s in shared]
    assert oracle.shared == [True, False, True], "the fixture must tell layers apart"


def test_without_personal_layers_it_is_fedavg_bit_for_bit(x64):
    expected, _ = rounds_of("fedavg", optimised=True).run(ROUNDS)
    found, _ = rounds_of("fedlag", {"top_k": 0}, optimised=True).run(ROUNDS)
    chex.assert_trees_all_equal(found[-1].sharing.server, expected[-1].server)


def test_with_all_layers_personal_clients_train_alone_after_the_warmup(x64):
    rounds = rounds_of("fedlag", {"top_k": 3})
    together, infos = rounds.run([ALL] * 3, pad_to=5)
    alone, _ = rounds.run([ALL, [2], [2]], pad_to=5)
    assert np.asarray(infos[0].sent).tolist() == [5] * 3
    assert sum(np.asarray(info.sent).sum() for info in infos[1:]) == 0
    chex.assert_trees_all_equal(together[1].sharing.server, together[3].sharing.server)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12),
        row(rounds.models(together[3]).personal, 2),
        row(rounds.models(alone[3]).personal, 2),
    )


def test_of_equal_scores_the_first_layers_become_personal(x64):
    """One client has no pair, and all scores are 0."""
    states, _ = rounds_of("fedlag", {"top_k": 2}).run([[3]])
    assert states[1].conflicts.tolist() == [0, 0, 0]
    assert states[1].shared.tolist() == [False, False, True]


def test_the_published_upload_gives_newcomers_a_fresher_mean(x64):
    """Client 1 comes after the warm-up: it gets the mean as the warm-up left it, or the one of the last round."""
    ids = [[0, 2, 3], [0, 2, 3], [0, 2, 3]]
    ends = {}
    for upload in (False, True):
        rounds = rounds_of("fedlag", {"top_k": 1, "published_upload": upload})
        states, _ = rounds.run(ids)
        (own,) = np.flatnonzero(~np.asarray(states[1].shared))
        ends[upload] = layer(row(rounds.models(states[3]).personal, 1), own)["w"]
        before = layer(states[1].sharing.server, own)["w"]
        assert np.array_equal(ends[upload], before) == (not upload)
    assert np.abs(ends[True] - ends[False]).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 4}, "top_k: expected at most the model's 3 layers, got 4"),
        ({"top_k": -1}, "top_k: expected at least 0, got -1"),
        ({"warmup_rounds": 0}, "warmup_rounds: expected at least 1, got 0"),
        ({"cosine_threshold": 1.5}, "cosine_threshold: expected -1 to 1, got 1.5"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        algorithms.fedlag(toy.make_trainer(toy.make_task(jnp.float32)), **options)
