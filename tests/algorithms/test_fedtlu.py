"""FedTLU: its special cases bit for bit, leftovers, frozen clients, drawn blocks, what noise selects; bad input."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_layers import algorithms, ops
from fedjax_layers.algorithms.sharing.fedtlu import BlockChoice
from tests import toy
from tests.rounds import rounds_of

ROUNDS = ([0, 2, 4], [3, 1], [2, 3, 0], [1, 2])


def run(name, *, rounds=ROUNDS, axis=ops.ClientAxis(), optimised=False, **options):
    """Server models before each round and after the last, and the rounds' reports."""
    found = rounds_of(name, options, axis=axis, optimised=optimised)
    states, infos = found.run(rounds)
    return [found.models(state).global_model for state in states], infos


def same_layers(a, b):
    """Which layers of two models are equal to the last bit."""
    return [all(np.array_equal(x[k], y[k]) for k in x) for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize(
    ("inner", "options"),
    [
        pytest.param("fedavg", {}, marks=pytest.mark.slow),
        pytest.param("fedprox", {"mu": 0.3}, marks=pytest.mark.slow),
        ("fedavg", {"server_optimizer": optax.adam(0.05, eps=1e-3)}),
    ],
    ids=["FedAvg", "FedProx", "FedAdam"],
)
def test_all_blocks_are_the_inner_method_bit_for_bit(inner, options, x64):
    if "server_optimizer" in options and "fusion_emitters=false" in os.environ.get("XLA_FLAGS", ""):
        pytest.skip("the older emitter fuses Adam as the program around it suggests; .ci/run compiles this as users do")
    theirs, _ = run(inner, optimised=True, **options)
    for choice in ("score", "random", "norm"):
        ours, _ = run("fedtlu", k=3, choice=choice, optimised=True, **options)
        assert all(same_layers(ours[-1], theirs[-1])), choice


@pytest.mark.parametrize("choice", ["score", "random", "last"])
def test_no_block_leaves_the_model_alone(choice, x64):
    models, _ = run("fedtlu", k=0, choice=choice)
    assert all(same_layers(models[0], models[-1]))


@pytest.mark.parametrize("server_optimizer", [None, optax.sgd(1.0, momentum=0.9)], ids=["mean", "momentum"])
def test_frozen_blocks_keep_every_bit(server_optimizer, x64):
    models, infos = run("fedtlu", k=1, server_optimizer=server_optimizer)
    for before, after, info in zip(models, models[1:], infos, strict=False):
        assert info.extra["selected"].sum() == 1
        assert same_layers(before, after) == (~np.asarray(info.extra["selected"])).tolist()
    assert len({np.argmax(info.extra["selected"]).item() for info in infos}) > 1, "the fixture must change its mind"


def test_drawn_blocks_change_from_round_to_round_and_each_is_as_likely(x64):
    layers = toy.make_task().layers
    pick = BlockChoice(layers, 1, "random")
    draw = jax.jit(jax.vmap(lambda key: pick.mask(pick.without_update(key, jnp.int32(0)))))
    drawn = np.asarray(draw(jax.random.split(jax.random.key(0), 3000)))
    assert (drawn.sum(1) == 1).all()
    np.testing.assert_allclose(drawn.mean(0), 1 / 3, atol=4 * np.sqrt(2 / 9 / 3000))
    _, infos = run("random_layers", k=1, rounds=ROUNDS * 3)
    assert len({np.argmax(info.extra["selected"]).item() for info in infos}) == 3


def test_turns_go_round(x64):
    _, infos = run("fedtlu", k=2, choice="round_robin")
    chosen = [np.flatnonzero(info.extra["selected"]).tolist() for info in infos]
    assert chosen == [[0, 1], [0, 2], [1, 2], [0, 1]]


def test_a_choice_lasts_until_the_next_is_due(x64):
    for choice in ("score", "random"):
        _, infos = run("fedtlu", k=1, choice=choice, score_every=3, rounds=ROUNDS * 3)
        chosen = [np.argmax(info.extra["selected"]).item() for info in infos]
        assert all(chosen[t] == chosen[t - t % 3] for t in range(len(chosen)))
        scored = [bool(np.isfinite(info.extra["block_scores"]).all()) for info in infos]
        assert scored == [choice == "score" and t % 3 == 0 for t in range(len(chosen))]


def test_clients_can_train_the_chosen_blocks_alone(x64):
    models, infos = run("fedtlu", k=1, choice="last", freeze_clients=True)
    for before, info, ids in zip(models, infos, ROUNDS, strict=False):
        assert info.sent.tolist() == [0, 0, len(ids)]
        first = jax.tree.map(lambda x: x[0], info.observed)
        assert same_layers(before, first) == [True, True, False]
    _, infos = run("fedtlu", k=1, freeze_clients=True, score_every=2)
    for t, (info, ids) in enumerate(zip(infos, ROUNDS, strict=True)):
        expected = np.asarray(info.extra["selected"]) if t % 2 else np.ones(3, bool)
        assert info.sent.tolist() == (expected * len(ids)).tolist()


def blocks_of(sizes):
    """Layers of these sizes, each its own block."""
    return ops.layer_map([jnp.zeros(n) for n in sizes])


def test_leftovers_are_blocks_of_another_size():
    layers = blocks_of([1000, 100, 120, 90, 10])
    assert BlockChoice(layers, 2).competing.tolist() == [False, True, True, True, False]
    scores = jnp.asarray([9.0, 1.0, 3.0, 2.0, 9.0])
    for leftovers, expected in (
        ("update", [True, False, True, True, True]),
        ("freeze", [False, False, True, True, False]),
        ("compete", [True, False, False, False, True]),
    ):
        assert BlockChoice(layers, 2, leftovers=leftovers).mask(scores).tolist() == expected
    assert BlockChoice(blocks_of([1000, 100, 10]), 2).competing.all(), "no two blocks are alike: all compete"
    last = BlockChoice(layers, 2, "last")
    assert last.mask(last.without_update(jax.random.key(0), jnp.int32(0))).tolist() == [True, False, True, True, True]
    turns = BlockChoice(layers, 2, "round_robin")
    chosen = [turns.mask(turns.without_update(jax.random.key(0), jnp.int32(t))).tolist()[1:4] for t in range(3)]
    assert chosen == [[True, True, False], [True, False, True], [False, True, True]]


def test_noise_selects_every_equal_block_alike():
    """Unit check 5 of the note: no bias for depth."""
    layers = blocks_of([400] * 6)
    pick = BlockChoice(layers, 1)

    def one(key):
        delta = list(jax.random.normal(key, (6, 400)))
        return pick.mask(pick.scores(delta, None))

    chosen = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(3), 3000)))
    np.testing.assert_allclose(chosen.mean(0), 1 / 6, atol=4 * np.sqrt(5 / 36 / 3000))


def test_vectors_in_a_block_can_change_the_choice():
    """Unit check 6: the mean over a block's layers follows its vectors, unless matrices alone count."""
    rng = np.random.default_rng(0)

    def layer(matrix_mean, vector_mean):
        return {"w": matrix_mean + rng.normal(size=(30, 30)), "b": vector_mean + rng.normal(size=5)}

    delta = [layer(0.5, 0.0), layer(0.1, 40.0)]
    delta = [{"m": {"w": d["w"]}, "v": {"b": d["b"]}} for d in delta]
    layers = ops.layer_map(delta, ["0/m", "0/v", "1/m", "1/v"], blocks=[0, 0, 1, 1])
    for options, expected in (
        ({}, 1),
        ({"block_rule": "sum"}, 1),
        ({"block_rule": "size"}, 1),
        ({"block_rule": "vector", "matrices_only": True}, 0),
    ):
        pick = BlockChoice(layers, 1, **options)
        assert np.argmax(pick.mask(pick.scores(delta, None))) == expected, options


def test_the_rounds_model_is_sharded_and_counted_as_fedavgs(x64):
    whole, infos = run("fedtlu", k=2)
    chunked, _ = run("fedtlu", k=2, axis=ops.ClientAxis(1))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), whole[-1], chunked[-1])
    for info, ids in zip(infos, ROUNDS, strict=True):
        assert info.sent.tolist() == [len(ids)] * 3
        assert info.received.tolist() == (np.asarray(info.extra["selected"]) * len(ids)).tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": -1}, "k: expected 0 to 3, the blocks that compete, got -1"),
        ({"k": 4}, "k: expected 0 to 3, the blocks that compete, got 4"),
        ({"choice": "first"}, "choice: expected one of score, random, last, .* got 'first'"),
        ({"leftovers": "drop"}, "leftovers: expected one of update, freeze, compete, got 'drop'"),
        ({"block_rule": "max"}, "block_rule: expected one of mean, sum, size, vector, got 'max'"),
        ({"reading": "cosine"}, "reading: expected one of ratio, .* got 'cosine'"),
        ({"score_every": 0}, "score_every: expected at least 1, got 0"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        algorithms.fedtlu(toy.make_trainer(toy.make_task(jnp.float32)), **options)
