"""FedIT, FFA-LoRA and FedSA-LoRA: numbers by hand, special cases, what is sent, ranks of one's own, refusals."""

import dataclasses
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fedjax_layers as fl
from fedjax_layers import algorithms
from tests import adapter_toy, toy
from tests.adapter_toy import NEED_ADAPTERS
from tests.rounds import rounds_of

ROUNDS = ([0, 2, 4], [3, 1], [2, 3, 0], [1, 2])
SENT = {"fedit": [3] * 5, "ffa_lora": [0, 3, 0, 3, 3], "fedsa_lora": [3, 0, 3, 0, 3]}
RANKS = (2, 1, 1, 1, 2)


def row(tree, i):
    return jax.tree.map(lambda x: x[i], tree)


def scalar_task():
    """W = W_0 + B A with W_0 = 0, all of them numbers."""
    dense = fl.task(
        (lambda key: [{"w": jnp.zeros((1, 1))}], lambda p, x, key: x @ p[0]["w"]), (1,), 1, kind="regression"
    )
    return fl.low_rank(dense, 1, 1.0)


def numbers(a, b):
    return {"0/w": {"A": jnp.full((1, 1), a), "B": jnp.full((1, 1), b)}}


def product(task, params):
    return float(task.adapters.merge(params)[0]["w"][0, 0])


def sends(a, b):
    """An attack by which client c sends the numbers a[c] and b[c]."""
    return lambda key, ident, start, trained: numbers(jnp.asarray(a)[ident], jnp.asarray(b)[ident])


def after_one_round(name, start, sent, own=None):
    """The models after a round of clients 0 and 1, which weigh the same and send what ``sent`` says."""
    task, pool = scalar_task(), (np.ones((toy.COUNTS.sum(), 1), np.float32), np.ones(toy.COUNTS.sum(), np.float32))
    algorithm = algorithms.registry[name](toy.make_trainer(task, learning_rate=0.0, attack=sends(*sent)))
    state = algorithm.init(jax.random.key(0), start)
    if own is not None:
        state = dataclasses.replace(state, clients=own)
    cohort = toy.make_cohort([0, 1], pool, weights=[1.0, 1.0])
    state, _ = algorithm.round(jax.random.key(1), state, cohort)
    return task, algorithm.models(state)


def test_two_clients_of_rank_one_by_hand():
    """With (B, A) = (1, 1) and (3, 3) the mean of the products is 5; the product of the means is 2 * 2."""
    task, models = after_one_round("fedit", numbers(1.0, 0.0), ([1.0, 3.0], [1.0, 3.0]))
    assert product(task, models.global_model) == 4
    task, models = after_one_round("ffa_lora", numbers(1.0, 0.0), ([9.0, 9.0], [1.0, 3.0]))
    assert product(task, models.global_model) == 2, "the mean of the products 1 * 1 and 3 * 1"
    own = {"0/w": {"A": None, "B": jnp.asarray([1.0, 3.0, 0.0, 0.0, 0.0])[:, None, None]}}
    task, models = after_one_round("fedsa_lora", numbers(1.0, 0.0), ([1.0, 3.0], [9.0, 9.0]), own)
    assert [product(task, row(models.personal, c)) for c in range(3)] == [2, 6, 0]


@pytest.mark.parametrize("name", NEED_ADAPTERS)
def test_all_models_start_at_the_base(name, x64):
    rounds = rounds_of(name)
    models = rounds.models(rounds.start())
    merge, base = adapter_toy.make_task().adapters.merge, adapter_toy.base()
    for model in (models.global_model, None if models.personal is None else row(models.personal, 3)):
        if model is not None:
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), merge(model), base)


def test_one_client_alone_trains_the_same_adapters_with_or_without_sharing(x64):
    found = {}
    for name in ("fedit", "fedsa_lora", "local", "fedavg"):
        rounds = rounds_of(name, network=adapter_toy)
        models = rounds.models(rounds.run([[2]] * 3)[0][-1])
        found[name] = models.global_model if models.personal is None else row(models.personal, 2)
    for name in ("fedsa_lora", "local", "fedavg"):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), found["fedit"], found[name])
    assert np.abs(found["local"]["1/w"]["B"]).max() > 1e-2


@pytest.mark.parametrize("name", NEED_ADAPTERS)
def test_what_is_sent_and_what_a_client_keeps(name, x64):
    states, infos = rounds_of(name).run(ROUNDS)
    assert infos[0].sent.tolist() == infos[0].received.tolist() == SENT[name]
    layers = adapter_toy.make_task().layers
    by_layer = np.array(layers.bytes)
    assert by_layer.sum() == 8 * (2 * 4 + 6 * 2 + 2 * 6 + 7 * 2 + 7 * 3 + 3), "the base is in no bytes"
    kept = [] if states[0].clients is None else jax.tree.leaves(states[0].clients)
    assert [x.shape for x in kept] == ([(5, 6, 2), (5, 7, 2)] if name == "fedsa_lora" else [])
    for path in ("0/w", "1/w"):
        for factor, still in (("A", name == "ffa_lora"), ("B", name == "fedsa_lora")):
            first, last = (s.server[path][factor] for s in (states[0], states[-1]))
            assert np.array_equal(first, last) == still, (path, factor)


def test_fedsa_lora_is_a_fixed_choice_of_layers(x64):
    options = {"shared": ("0/A", "1/A", "2")}
    ours, theirs = rounds_of("fedsa_lora"), rounds_of("fixed_sharing", options, network=adapter_toy)
    (*_, a), (*_, b) = (rounds.run(ROUNDS)[0] for rounds in (ours, theirs))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12), a.server, b.server)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12), a.clients, b.clients)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fedtlu", {"k": 1}),
        pytest.param("player_fl", {}, marks=pytest.mark.slow),
        pytest.param("permfl", {}, marks=pytest.mark.slow),
    ],
)
def test_other_methods_take_adapters_as_layers(name, options, x64):
    rounds = rounds_of(name, options, network=adapter_toy)
    states, infos = rounds.run(ROUNDS)
    chex.assert_tree_all_finite(rounds.models(states[-1]))
    if name == "fedtlu":  # a block is a module with both of its factors
        servers = [rounds.models(state).global_model for state in states]
        changed = [
            {path[0] for path in ("0/w", "1/w", "2/w") if not _same(before[path], after[path])}
            for before, after in itertools.pairwise(servers)
        ]
        assert all(len(blocks) == 1 for blocks in changed), changed
        assert infos[0].extra["selected"].shape == (3,)


@pytest.mark.parametrize("objective", ["fedprox", "scaffold"])
def test_fedit_with_an_objective_is_that_objective_on_adapters(objective, x64):
    states = [rounds_of(name, network=adapter_toy).run(ROUNDS)[0][-1] for name in (f"fedit+{objective}", objective)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), *states)


def test_fedsa_lora_with_an_objective_keeps_its_b(x64):
    states, _ = rounds_of("fedsa_lora+ditto", {"lam": 0.6}).run(ROUNDS)
    plain, _ = rounds_of("fedsa_lora").run(ROUNDS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), states[-1].clients, plain[-1].clients)
    start = states[0].server
    for path in ("0/w", "1/w"):
        np.testing.assert_array_equal(states[-1].server[path]["B"], start[path]["B"])


def _same(a, b):
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


@pytest.mark.parametrize("name", NEED_ADAPTERS)
def test_what_is_beyond_a_clients_rank_is_zero_and_does_not_train(name, x64):
    """Not even with an optimiser that moves what has no gradient."""
    noisy = optax.chain(optax.add_noise(0.1, 0.5, jax.random.key(0)), optax.sgd(0.1))
    rounds = rounds_of(name, {"ranks": RANKS}, optimizer=noisy)
    states, infos = rounds.run(ROUNDS)
    for ids, before, after, info in zip(ROUNDS, states, states[1:], infos, strict=False):
        for slot, client in enumerate(ids):
            trained = row(info.observed, slot)
            for path in ("0/w", "1/w"):
                a, b = trained[path]["A"], trained[path]["B"]
                assert not a[RANKS[client] :].any()
                assert not b[:, RANKS[client] :].any()
                assert b[:, 0].any()
        most = max(RANKS[client] for client in ids)
        for path in ("0/w", "1/w"):  # of what nobody holds the server keeps every bit
            np.testing.assert_array_equal(after.server[path]["A"][most:], before.server[path]["A"][most:])
            np.testing.assert_array_equal(after.server[path]["B"][:, most:], before.server[path]["B"][:, most:])
    assert states[-1].server["0/w"]["A"][1].any(), "a rank is not dead for good because one cohort lacks it"
    served = toy.to_numpy(rounds.models(states[-1])).personal
    for client, rank in enumerate(RANKS):
        assert not served["0/w"]["A"][client, rank:].any()
        np.testing.assert_array_equal(served["0/w"]["A"][client, :rank], states[-1].server["0/w"]["A"][:rank])


@pytest.mark.parametrize("name", NEED_ADAPTERS)
def test_the_whole_rank_for_everybody_changes_nothing(name, x64):
    (*_, plain), _ = rounds_of(name).run(ROUNDS)
    (*_, ranked), _ = rounds_of(name, {"ranks": adapter_toy.RANK}).run(ROUNDS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), plain.server, ranked.server)


@pytest.mark.parametrize("name", NEED_ADAPTERS)
def test_a_model_without_adapters_is_refused_in_one_line(name):
    with pytest.raises(ValueError, match=f"^low_rank: expected a task with adapters for {name}, got one without$"):
        algorithms.registry[name](toy.make_trainer(toy.make_task(jnp.float32)))


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        (3, "ranks: expected at most 2, the adapters' rank, got 3"),
        ((1, 2), "ranks: expected a number, or one for each of 5 clients, got 2 of them"),
        ((1, 2, 0, 1, 1), "ranks: expected at least 1, got"),
    ],
)
def test_ranks_that_cannot_be_are_refused(ranks, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        algorithms.fedit(toy.make_trainer(adapter_toy.make_task(jnp.float32)), ranks=ranks)


def test_ranks_with_differential_privacy_or_an_objective_are_refused():
    with pytest.raises(ValueError, match=r"^ranks: expected none with the objective fedprox, got 1"):
        algorithms.registry["fedit+fedprox"](toy.make_trainer(adapter_toy.make_task(jnp.float32)), ranks=1)
    method = algorithms.private(algorithms.fedit(fl.LocalSolver(optax.sgd(0.1), 4), ranks=1), fl.Privacy(1.0, 1.0))
    with pytest.raises(ValueError, match=r"^ranks: expected none with differential privacy, got 1"):
        method.bind(toy.Setting(adapter_toy.make_task(jnp.float32), toy.CLIENTS, int(toy.COUNTS.max())))
