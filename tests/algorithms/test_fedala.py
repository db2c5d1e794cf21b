"""FedALA against its oracle with the examples that were drawn; numbers by hand, special cases; bad input."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import algorithms, ops
from fedjax_layers.algorithms.sharing.fedala import Rule, drawn_part, learnt_weights, merged
from fedjax_layers.clients import Client, LocalSolver, Setting, keys
from fedjax_layers.types import Pool, Task
from tests import batch_norm_toy, toy
from tests.reference.ala import FedAla
from tests.rounds import round_key, rounds_of

ALL = list(range(toy.CLIENTS))
ROUNDS = ([0, 2, 4], [3, 1], [2, 3, 0], [1, 2], [2, 3, 4])  # client 2 comes four times


def close(found, expected, **kw):
    kw = kw or {"rtol": 1e-10, "atol": 1e-12}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **kw), toy.to_numpy(found), expected)


def rows_of(t, client, share):
    """The rows of the pool on which a client learns its weights in a round."""
    key = jax.random.fold_in(jax.random.fold_in(round_key(t), keys.MERGE), client)
    first, number = drawn_part(jax.random.split(key)[0], jnp.int32(toy.COUNTS[client]), share)
    return toy.STARTS[client] + int(first) + np.arange(int(number))


CASES = [({"layers": 1, "merge_rate": 1.0}, False), ({"layers": 2, "merge_rate": 30.0, "threshold": 0.001}, True)]


@pytest.mark.parametrize(("options", "keep"), CASES, ids=["usual", "two layers, a fast rate, kept optimisers"])
def test_agrees_with_its_oracle(options, keep, x64):
    """The fast rate drives weights to their bounds; the small threshold makes the first learning longer."""
    rounds = rounds_of("fedala", options, **{"keep_optimizer": True} if keep else {})
    states, infos = rounds.run(ROUNDS)
    args = {"top": options["layers"], "rate": options["merge_rate"], "threshold": options.get("threshold", 0.1)}
    sgd = {"lr": 0.1, "beta": 0.9, "keep": keep}
    start = toy.to_numpy(states[0].sharing.server)
    oracle = FedAla(start, toy.CLIENTS, *toy.make_pool(), size=toy.BATCH, **args, **sgd)
    for t, ids in enumerate(ROUNDS):
        oracle.parts = {c: rows_of(t, c, 0.8) for c in ids}
        drawn = [(c, float(toy.COUNTS[c]), toy.drawn_batches(rounds.trainer, round_key(t), c)) for c in ids]
        for slot, (_, _, trained, loss, *_) in enumerate(oracle.round(drawn)):
            close(jax.tree.map(lambda x, slot=slot: x[slot], infos[t].observed), trained)
            np.testing.assert_allclose(infos[t].loss[slot], loss, rtol=1e-10)
        close(states[t + 1].sharing.server, oracle.server)
        personal, right = rounds.models(states[t + 1]).personal, oracle.served()
        for client in ALL:  # those that never came are served the global model
            close(jax.tree.map(lambda x, c=client: x[c], personal), right[client])
    assert states[-1].rounds.tolist() == oracle.rounds
    assert infos[0].sent.tolist() == infos[0].received.tolist() == [3] * 3
    weights = np.concatenate([np.ravel(x) for x in jax.tree.leaves(states[-1].weights)])
    assert ((weights > 0) & (weights < 1)).any()
    if keep:
        assert (weights == 0).any()
        assert len(set(oracle.epochs)) > 1, "some learn longer than others"


def learn_scalar(rate, *, rounds=2, target=0.3, own=0.0, most=50, count=1, threshold=0.0):
    """The weight of a model that is one number, of a client whose loss is ``(theta - target)^2 / 2``."""
    params = [{"w": jnp.asarray([1.0])}]

    def loss(params, batch, key):
        del key
        return jnp.where(batch.mask, (params[0]["w"][0] - batch.inputs[:, 0]) ** 2 / 2, 0).sum() / batch.mask.sum()

    task = Task(lambda _: params, None, None, loss, ops.layer_map(params), 1)
    trainer = Setting(task, 2, 4).bind(LocalSolver(None, batch_size=4))
    numbers = jnp.int32(0), 1.0, 1.0, True, jnp.int32(0), jnp.int32(count)
    client = Client(*numbers, Pool(jnp.full((4, 1), target), jnp.zeros(4, jnp.int32)), (), params)
    kept, ones = [{"w": jnp.asarray([own])}], [{"w": jnp.ones(1)}]
    rule = Rule(rate, 0.8, threshold, 10, most)
    weights = learnt_weights(trainer, jax.random.key(0), client, kept, ones, jnp.int32(rounds), rule)
    return float(weights[0]["w"][0]), float(merged(task, params, kept, weights)[0]["w"][0])


@pytest.mark.parametrize(("rate", "weight"), [(1.0, 0.3), (2.0, 0.0), (0.5, 0.65), (0.0, 1.0)])
def test_one_step_by_hand(rate, weight, x64):
    """Check of the note: w_i = 0, w = 1, gradient 0.7; with a rate of 2 the weight is clipped at 0."""
    assert learn_scalar(rate) == pytest.approx((weight, weight), abs=1e-12)


def test_when_weights_are_learnt_and_how_long(x64):
    assert learn_scalar(0.5, rounds=0) == (1.0, 1.0), "not in the first round"
    halved = lambda n: 0.3 + 0.7 * 0.5**n  # noqa: E731  (each epoch halves the distance from 0.3)
    assert learn_scalar(0.5, rounds=7)[0] == pytest.approx(halved(1), abs=1e-12)
    assert learn_scalar(0.5, rounds=1, most=20)[0] == pytest.approx(halved(20), abs=1e-12)
    assert learn_scalar(0.5, rounds=1, threshold=1e9)[0] == pytest.approx(halved(11), abs=1e-12), "more than 10"
    assert learn_scalar(0.5, count=0) == (1.0, 1.0), "no examples"


def test_a_part_smaller_than_a_batch_is_learnt_from(x64):
    assert learn_scalar(1.0, count=3)[0] == pytest.approx(0.3, abs=1e-12)


@pytest.mark.parametrize(("count", "share", "number"), [(0, 0.8, 0), (1, 0.8, 1), (9, 0.8, 7), (10, 0.7, 7), (4, 1, 4)])
def test_the_part_lies_within_the_examples(count, share, number):
    draw = jax.jit(jax.vmap(lambda k: drawn_part(k, jnp.int32(count), share)))
    first, found = (np.asarray(x) for x in draw(jax.random.split(jax.random.key(0), 200)))
    assert set(found.tolist()) == {number}
    assert set(first.tolist()) == set(range(count - number + 1))


def test_weights_that_stay_at_one_are_fedavg(x64):
    found, _ = rounds_of("fedala", {"merge_rate": 0.0, "layers": 3}).run([ALL] * 3, pad_to=5)
    expected, _ = rounds_of("fedavg").run([ALL] * 3, pad_to=5)
    close(found[-1].sharing.server, expected[-1].server)


def test_weights_of_zero_in_all_layers_are_local_training(x64):
    """Check of the note, with the weights put at 0 after the first round."""
    rounds = rounds_of("fedala", {"merge_rate": 0.0, "layers": 3})
    state = rounds.run([ALL], pad_to=5)[0][-1]
    state = state.replace(weights=jax.tree.map(jnp.zeros_like, state.weights))
    found = rounds.run([ALL] * 2, pad_to=5, state=state, first=1)[0][-1]
    expected, _ = rounds_of("local").run([ALL] * 3, pad_to=5)
    close(found.sharing.clients, toy.to_numpy(expected[-1].clients))


def test_only_the_top_layers_are_kept_and_absent_clients_keep_theirs(x64):
    states, _ = rounds_of("fedala", {"merge_rate": 30.0}).run([ALL, ALL, [0, 2]], pad_to=5)
    assert [x.shape for x in jax.tree.leaves(states[0].weights)] == [(5, 3), (5, 7, 3)]
    kept = [jax.tree.map(lambda x: x[jnp.array([1, 3, 4])], (s.sharing.clients, s.weights)) for s in states[2:]]
    chex.assert_trees_all_equal(*kept)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), states[2].weights, states[3].weights)
    assert all(jax.tree.leaves(moved))


def test_running_statistics_of_the_top_stay_the_clients_own(x64):
    task = batch_norm_toy.make_task()
    rounds = rounds_of("fedala", {"layers": task.layers.num_layers}, norms=True)
    state = rounds.run([ALL], pad_to=5)[0][-1]
    served = rounds.models(state).personal
    trees = zip(task.batch_norm.statistics, *map(jax.tree.leaves, (served, state.sharing.clients)), strict=True)
    assert all(np.array_equal(a, b) for flag, a, b in trees if flag)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 4}, "layers: expected at most the model's 3 layers, got 4"),
        ({"layers": 0}, "layers: expected at least 1, got 0"),
        ({"subset_share": 0.0}, "subset_share: expected .*, got 0.0"),
        ({"max_epochs": 0}, "max_epochs: expected at least 1, got 0"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        algorithms.fedala(toy.make_trainer(toy.make_task(jnp.float32)), **options)
