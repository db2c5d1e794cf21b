"""FedPart: its schedule by hand, what is frozen to the last bit, norms, special cases, what is sent; bad input."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_layers import algorithms
from fedjax_layers.algorithms.sharing.fedpart import layers_of_round
from tests import toy
from tests.rounds import rounds_of

ROUNDS = ([0, 2, 4], [3, 1], [2, 3, 0], [1, 2])  # partial, of unequal size: padded to three slots
TURNS = {"warmup_rounds": 1, "rounds_per_group": 1}


def same_layers(a, b):
    """Which layers of two models are equal to the last bit."""
    return [all(np.array_equal(x[k], y[k]) for k in x) for x, y in zip(a, b, strict=True)]


def schedule(rounds, *args, blocks=(0, 1, 2, 3), groups="layer"):
    """The layers that are trained in each of the first rounds, of four layers."""
    layers = toy.make_task(jnp.float32).layers
    names = tuple("abcd"[: max(blocks) + 1])
    layers = dataclasses.replace(layers, names=tuple("abcd"), blocks=blocks, block_names=names)
    masks = [layers_of_round(jnp.int32(t), layers, groups, *args) for t in range(rounds)]
    return ["".join(name for name, on in zip("abcd", mask.tolist(), strict=True) if on) for mask in masks]


def test_the_schedule_is_the_published_one():
    """Check of the note: four groups; rounds 0 to 4 all, then two rounds each, and again from the first."""
    assert schedule(15, 5, 2, 0) == ["abcd"] * 5 + ["a", "a", "b", "b", "c", "c", "d", "d", "a", "a"]


def test_full_rounds_stand_between_two_cycles():
    assert schedule(12, 0, 1, 2) == ["a", "b", "c", "d", "abcd", "abcd"] * 2


def test_blocks_take_turns_as_one():
    assert schedule(5, 1, 1, 0, blocks=(0, 0, 0, 1), groups="block") == ["abcd", "abc", "d", "abc", "d"]
    assert schedule(3, 0, 1, 0, blocks=(0, 0, 0, 0), groups="block") == ["abcd"] * 3


@pytest.mark.parametrize(
    ("server_optimizer", "keep"),
    [(None, True), pytest.param(optax.adam(0.05, eps=1e-3), False, marks=pytest.mark.slow)],
    ids=["mean", "adam"],
)
def test_frozen_layers_keep_every_bit_at_the_clients_and_at_the_server(server_optimizer, keep, x64):
    changes = {"optimizer": optax.adamw(0.05, weight_decay=0.1), "keep_optimizer": keep}
    states, infos = rounds_of("fedpart", TURNS | {"server_optimizer": server_optimizer}, **changes).run(ROUNDS)
    for t, (before, after, info, ids) in enumerate(zip(states, states[1:], infos, ROUNDS, strict=False)):
        frozen = [t > 0 and layer != t - 1 for layer in range(3)]
        assert same_layers(before.server, after.server) == frozen
        for slot in range(len(ids)):
            assert same_layers(before.server, jax.tree.map(lambda x, s=slot: x[s], info.observed)) == frozen
        assert info.sent.tolist() == info.received.tolist() == [0 if f else len(ids) for f in frozen]
        assert info.extra["trained"].tolist() == [not f for f in frozen]


def test_the_statistics_of_frozen_norms_do_not_drift(x64):
    rounds = rounds_of("fedpart", TURNS | {"warmup_rounds": 0}, norms=True)
    states, infos = rounds.run(ROUNDS[:3])
    layers, norm = rounds.trainer.task.layers, rounds.trainer.task.batch_norm
    for before, info in zip(states, infos, strict=False):
        moved = [
            not np.array_equal(a, b[0])
            for a, b in zip(jax.tree.leaves(before.server), jax.tree.leaves(info.observed), strict=True)
        ]
        trained = info.extra["trained"].tolist()
        assert not any(m for m, layer in zip(moved, layers.leaf_layers, strict=True) if not trained[layer])
        statistics = [
            m for m, layer, s in zip(moved, layers.leaf_layers, norm.statistics, strict=True) if s and trained[layer]
        ]
        assert all(statistics)
    assert any(norm.statistics)


def test_one_group_of_all_layers_is_fedavg_bit_for_bit(x64):
    expected, _ = rounds_of("fedavg", optimised=True).run(ROUNDS)
    found, _ = rounds_of("fedpart", {"warmup_rounds": 100}, optimised=True).run(ROUNDS)
    chex.assert_trees_all_equal(found[-1].server, expected[-1].server)


def test_a_cycle_sends_as_much_as_its_rounds_for_a_group_times_the_model(x64):
    """Check of the note: two rounds for each group are two full models, not twice as many as there are groups."""
    options = {"warmup_rounds": 0, "rounds_per_group": 2}
    _, infos = rounds_of("fedpart", options).run([[0, 1, 2]] * 6)
    assert sum(np.asarray(info.sent) for info in infos).tolist() == [2 * 3] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds_per_group": 0}, "rounds_per_group: expected at least 1, got 0"),
        ({"warmup_rounds": -1}, "warmup_rounds: expected at least 0, got -1"),
        ({"full_rounds": -1}, "full_rounds: expected at least 0, got -1"),
        ({"groups": "tensor"}, "groups: expected one of layer, block, got 'tensor'"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        algorithms.fedpart(toy.make_trainer(toy.make_task(jnp.float32)), **options)
