"""pFedLA and HeurpFedLA: oracle, reductions, the sign on two clusters, transfers, bad input."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_layers import algorithms
from fedjax_layers.algorithms.mixing.pfedla import hyper_rule
from fedjax_layers.algorithms.mixing.round import Mixing
from tests import toy, two_clusters
from tests.reference.mixing import LayerMix, PFedLA
from tests.rounds import round_key, rounds_of, start_params

ROUNDS = ([0, 2, 4], [3, 1], [2, 3, 0], [4, 1, 2])  # partial: padded to three slots
NET = {"hyper_embedding": 4, "hyper_hidden": (5, 3)}
EVERYONE = [range(toy.CLIENTS)]


def close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), toy.to_numpy(found), expected)


def row(tree, i):
    return jax.tree.map(lambda x: np.asarray(x[i]), tree)


TRACED = ("hyper_learning_rate", "retained", "self_weight", "logits_learning_rate")


def run(name, rounds=ROUNDS, *, pad_to=3, seed=2, weights=None, optimised=False, **args):
    """State, reports and what is served after some rounds of the toy clients."""
    found = rounds_of(name, args, traced=TRACED, optimised=optimised, momentum=0.0)
    states, infos = found.run(rounds, pad_to=pad_to, seed=seed, weights=weights)
    return states[-1], infos, found.models


CASES = [  # options of the package, of the oracle
    ({}, {}),
    ({"published_sign": True, "self_bias": 0.7}, {"sign": -1, "bias": 0.7}),
    ({"normalise": "relu", "hyper_heads": "uniform"}, {"relu": True}),
    ({"order": "sequential", "hyper_heads": "normal"}, {"sequential": True}),
    ({"server_keeps": "added", "hyper_heads": "normal"}, {"added": True}),
    ({"retained": 1, "hyper_heads": "normal"}, {"retained": 1}),
    ({"retained": 2, "hyper_heads": "normal", "upload_retained": False}, {"retained": 2, "upload": False}),
    ({"fresh_rounds": 1, "hyper_heads": "normal"}, {"fresh": 1}),
    ({"fresh_rounds": 2, "normalise": "relu", "hyper_heads": "uniform"}, {"relu": True, "fresh": 2}),
]


@pytest.mark.parametrize(
    ("args", "oracle_args"), [*CASES[:3], *(pytest.param(*case, marks=pytest.mark.slow) for case in CASES[3:])]
)
def test_agrees_with_its_oracle(args, oracle_args, x64):
    name = "heurpfedla" if "retained" in args else "pfedla"
    args = {"hyper_heads": "normal"} | NET | args | {"hyper_learning_rate": 0.5}
    pool, params = toy.make_pool(), start_params()
    rounds = rounds_of(name, args, traced=TRACED, momentum=0.0)
    state = rounds.start()
    nets = [row(state.rules, c) for c in range(toy.CLIENTS)]
    sgd = {"lr": 0.1, "beta": 0.0}
    oracle = PFedLA(toy.to_numpy(params), toy.CLIENTS, nets, *pool, rate=0.5, **oracle_args, **sgd)
    for t, ids in enumerate(ROUNDS):
        key = round_key(t)
        state, info = rounds.step(key, state, toy.make_cohort(ids, pool, pad_to=3))
        trained, losses = oracle.round([(c, 1.0, toy.drawn_batches(rounds.trainer, key, c)) for c in ids])
        for slot, client in enumerate(ids):
            close(row(info.observed, slot), trained[client])
            np.testing.assert_allclose(info.loss[slot], losses[client], rtol=1e-10)
        right, personal = list(oracle.served()), rounds.models(state).personal
        for client in range(toy.CLIENTS):
            close(row(state.rules, client), oracle.nets[client])
        for client in toy.seen_after(ROUNDS, t):
            close(row(personal, client), right[client])


@pytest.mark.parametrize("kind", ["self", "cosine", "distance", "logits"])
def test_rules_agree_with_their_oracle(kind, x64):
    numbers = {"self_weight": 0.3, "temperature": 0.7}
    args = {"rule": kind, "logits_learning_rate": 2.0} | numbers
    pool, params, rounds = toy.make_pool(), start_params(), rounds_of("layer_mix", args, traced=TRACED, momentum=0.0)
    state = rounds.start()
    logits = [np.zeros((3, toy.CLIENTS))] * toy.CLIENTS
    start = toy.to_numpy(params)
    oracle = LayerMix(start, toy.CLIENTS, logits, *pool, kind=kind, rate=2.0, lr=0.1, beta=0.0, **numbers)
    for t, ids in enumerate(ROUNDS):
        key = round_key(t)
        state, info = rounds.step(key, state, toy.make_cohort(ids, pool, pad_to=3))
        trained, _ = oracle.round([(c, 1.0, toy.drawn_batches(rounds.trainer, key, c)) for c in ids])
        for slot, client in enumerate(ids):
            close(row(info.observed, slot), trained[client])
        right, personal = list(oracle.served()), rounds.models(state).personal
        for client in toy.seen_after(ROUNDS, t):
            close(row(personal, client), right[client])


def test_the_learnt_numbers_matter(x64):
    """The oracle test would not see a step size of 0 on both sides."""
    moved = run("pfedla", **NET, hyper_heads="normal", hyper_learning_rate=0.5)
    still = run("pfedla", **NET, hyper_heads="normal", hyper_learning_rate=0.0)
    gap = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), moved[0].models, still[0].models)
    assert max(jax.tree.leaves(gap)) > 1e-4


def test_the_published_hypernetwork_never_learns(x64):
    """Its mixing weights are those of the start after every round, which here are not uniform."""
    found, plain = (
        run("pfedla", **NET, hyper_heads="normal", hyper_learning_rate=0.5, published_detached=flag)[0]
        for flag in (True, False)
    )
    started, learnt = (jax.tree.leaves(state.rules) for state in (found, plain))
    first = jax.tree.leaves(run("pfedla", **NET, hyper_heads="normal", hyper_learning_rate=0.0)[0].rules)
    for still, start in zip(started, first, strict=True):
        np.testing.assert_array_equal(still, start)
    assert any((still != moved).any() for still, moved in zip(started, learnt, strict=True))


def test_hearing_oneself_alone_is_local_training(x64):
    alone = run("layer_mix", rule="self", self_weight=1.0, optimised=True)
    local = run("local", optimised=True)
    for a, b in zip(alone[1], local[1], strict=True):
        jax.tree.map(np.testing.assert_array_equal, a.observed, b.observed)
    jax.tree.map(np.testing.assert_array_equal, alone[2](alone[0]).personal, local[0].clients)


@pytest.mark.parametrize(
    "args", [{"retained": 3}, pytest.param({"retained": 3, "upload_retained": False}, marks=pytest.mark.slow)]
)
def test_keeping_all_layers_is_local_training(args, x64):
    kept, local = run("heurpfedla", **NET, **args, optimised=True), run("local", optimised=True)
    jax.tree.map(np.testing.assert_array_equal, kept[2](kept[0]).personal, local[0].clients)
    assert all(not info.received.any() for info in kept[1])


@pytest.mark.slow
def test_keeping_nothing_is_pfedla(x64):
    args = NET | {"hyper_heads": "normal", "hyper_learning_rate": 0.5}
    one, other = (
        run(name, **more, **args, optimised=True) for name, more in (("heurpfedla", {"retained": 0}), ("pfedla", {}))
    )
    jax.tree.map(np.testing.assert_array_equal, one[0].models, other[0].models)
    traced = jax.jit(lambda k: run("heurpfedla", retained=k, **args)[0].models)(0)
    close(traced, toy.to_numpy(other[0].models))


@pytest.mark.parametrize(("name", "args"), [("layer_mix", {"rule": "uniform"}), ("pfedla", NET)])
def test_uniform_weights_and_full_participation_are_fedavg(name, args, x64):
    """One round from one start; the first step of zero heads is none, since all models are equal."""
    mixed = run(name, EVERYONE, pad_to=None, **args)
    fedavg = run("fedavg", EVERYONE, pad_to=None, weights=np.ones(toy.CLIENTS))
    for client in range(toy.CLIENTS):
        close(row(mixed[2](mixed[0]).personal, client), toy.to_numpy(fedavg[0].server))


def test_slots_in_another_order_change_nothing_together_and_something_in_sequence(x64):
    args = NET | {"hyper_heads": "normal", "hyper_learning_rate": 0.5}
    for order, same in (("together", True), ("sequential", False)):
        pools = [run("pfedla", r, order=order, **args)[0].models for r in ([[0, 2, 4]] * 2, [[4, 0, 2]] * 2)]
        gap = max(jax.tree.leaves(jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), *pools)))
        assert (gap < 1e-12) == same


@pytest.mark.slow
def test_seeds_change_hypernetworks_and_starts(x64):
    args = NET | {"hyper_heads": "normal", "same_start": False}
    one, two, again = (run("pfedla", seed=s, **args)[0] for s in (2, 3, 2))
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert not np.array_equal(one.rules["embedding"], two.rules["embedding"])
    task = toy.make_task()
    fresh = algorithms.pfedla(toy.make_trainer(task), **args).init(jax.random.key(0), task.init(jax.random.key(1)))
    assert not np.array_equal(fresh.models[0]["w"][0], fresh.models[0]["w"][1])


def test_one_hypernetwork_for_all_learns_from_all(x64):
    args = NET | {"hyper_heads": "normal", "hyper_learning_rate": 0.5, "shared_hypernetwork": True}
    state, _, _ = run("pfedla", **args)
    before, _, _ = run("pfedla", [], **args)
    assert state.common[0]["embedding"].shape == (toy.CLIENTS, 4)
    assert not np.array_equal(state.common[0]["heads"]["kernel"], before.common[0]["heads"]["kernel"])
    nobody, _, _ = run("pfedla", [[]], **args)
    jax.tree.map(np.testing.assert_array_equal, nobody.common, before.common)


def test_transfers_are_counted_both_ways(x64):
    args = NET | {"hyper_heads": "normal", "retained": 1}
    for upload in (True, False):
        _, infos, _ = run("heurpfedla", upload_retained=upload, **args)
        for ids, info in zip(ROUNDS, infos, strict=True):
            assert int(info.received.sum()) == 2 * len(ids)  # three layers, one stays
            assert int(info.sent.sum()) == (3 if upload else 2) * len(ids)


@pytest.mark.parametrize(
    "retain", ["largest", *(pytest.param(r, marks=pytest.mark.slow) for r in ("smallest", "last", "random"))]
)
def test_which_layers_stay(retain, x64):
    args = NET | {"hyper_heads": "normal", "retain": retain, "retained": 1}
    _, infos, _ = run("heurpfedla", [[0, 1, 2, 3, 4]], pad_to=None, **args)
    assert int(infos[0].received.sum()) == 2 * 5
    if retain == "last":
        np.testing.assert_array_equal(infos[0].received, [5, 5, 0])
    elif retain != "random":
        _, free, _ = run("pfedla", [[0]], pad_to=None, **NET, hyper_heads="normal")
        own = np.asarray(free[0].extra["self_weight"])
        _, kept, _ = run("heurpfedla", [[0]], pad_to=None, **args)
        chosen = own.argmax() if retain == "largest" else own.argmin()
        assert np.flatnonzero(np.asarray(kept[0].received) == 0).tolist() == [chosen]


def test_layers_that_stay_at_random_follow_from_the_run_and_are_those_served():
    """Another seed keeps other layers, and those of the mix that is served are those of the next round."""
    task, cohort = toy.make_task(jnp.float32), toy.make_cohort(range(toy.CLIENTS), toy.make_pool(dtype=np.float32))
    args = NET | {"retain": "random", "retained": 1, "record_weights": True, "hyper_heads": "normal"}
    algorithm = algorithms.heurpfedla(toy.make_trainer(task), **args)
    start, step, served_then_kept = task.init(jax.random.key(1)), jax.jit(algorithm.round), []
    for seed in range(3):
        state = algorithm.init(jax.random.key(seed), start)
        for t in range(2):
            state, info = step(jax.random.key(t), state, cohort)
            if t == 0:
                served = (np.asarray(info.extra["alpha"]) == 1).any(2).sum(0)  # of the state after the round
        kept = toy.CLIENTS - np.asarray(info.received)
        np.testing.assert_array_equal(served, kept)
        served_then_kept.append(tuple(kept.tolist()))
    assert len(set(served_then_kept)) > 1, "the same layers stay whatever the seed"


def test_weights_are_recorded_where_asked_for(x64):
    _, infos, _ = run("pfedla", **NET, record_weights=True, granularity="model")
    assert infos[0].extra["alpha"].shape == (toy.CLIENTS, 1, toy.CLIENTS)
    np.testing.assert_allclose(infos[0].extra["self_weight"], 1 / toy.CLIENTS)
    np.testing.assert_allclose(infos[0].extra["from_uniform"], 0, atol=1e-12)


@pytest.mark.slow
def test_a_long_memory_hears_all_who_ever_took_part(x64):
    """And nobody else: the others' entries are the common start, which a pool without ages would mix in."""
    options = NET | {"hyper_heads": "normal", "record_weights": True}
    heard = [[0, 2, 4], [0, 2], [4]]
    rounds = jax.jit(lambda age: run("pfedla", heard, fresh_rounds=age, **options)[1][-1].extra["alpha"])
    expected = [(100, [0, 2, 4]), (1, [4]), (0, [])]  # weights are reported as the next round would have them
    for age, clients in expected:
        alpha = np.asarray(rounds(age))
        np.testing.assert_allclose(alpha.sum(-1), 1, rtol=1e-12)
        for c in range(toy.CLIENTS):
            assert set(np.flatnonzero(alpha[c, 0])) == {c, *clients}
    everybody = [list(EVERYONE[0]), [0, 2]]
    one, all_of = (run("pfedla", everybody, pad_to=5, fresh_rounds=age, **options)[0].models for age in (1, None))
    chex.assert_trees_all_close(one, all_of, rtol=1e-12)


def test_any_optimiser_may_move_the_hypernetwork(x64):
    state, _, _ = run("pfedla", **NET, hyper_optimizer=optax.adam(0.1))
    assert state.rules_opt[0].count.tolist() == [2, 2, 3, 2, 2]  # rounds that each client took part in


CHANCE = 3 / 7  # of the others, three are of one's own cluster


@pytest.mark.parametrize("granularity", ["layer", "model"])
def test_descent_finds_the_clusters_and_ascent_flees_them(granularity, x64):
    def shares(**args):
        options = {"record_weights": True, "granularity": granularity, "hyper_learning_rate": 0.05}
        return two_clusters.within_weights(lambda trainer: algorithms.pfedla(trainer, **options, **args), 25)

    down, up = shares(), shares(published_sign=True)
    assert abs(down[0] - CHANCE) < 1e-9, "uniform at first"
    assert down[-1] > 0.9
    assert up[-1] < 0.2


@pytest.mark.parametrize("rule", ["cosine", "distance", "logits"])
def test_rules_without_a_hypernetwork_find_them_too(rule, x64):
    found = two_clusters.within_weights(
        lambda trainer: algorithms.layer_mix(trainer, rule=rule, record_weights=True, temperature=0.2), 50
    )
    assert found[-1] > 0.9


@pytest.mark.slow
def test_one_step_of_the_hypernetworks_lowers_the_loss_of_what_is_served(x64):
    """The sum of all clients' losses, before and after the rules' step, the pool being the same."""
    task = two_clusters.make_task()
    mixing = Mixing(
        trainer := two_clusters.make_trainer(task),
        hyper_rule(trainer, 2, hidden=(8,), heads="normal"),
        optax.sgd(0.01),
        task.layers,
    )
    state = mixing.init(jax.random.key(0), task.init(jax.random.key(1)))
    pool = jax.tree.map(lambda x: jax.random.normal(jax.random.key(3), x.shape), state.models)
    state = dataclasses.replace(state, models=pool)
    after, _ = jax.jit(mixing.round)(jax.random.key(2), state, two_clusters.make_cohort())

    def loss(rules):
        served = mixing.served(dataclasses.replace(state, rules=rules))
        means = jnp.asarray(two_clusters.MEANS)
        return sum(float(jnp.square(x["w"] - m).sum()) for x, m in zip(served, jnp.split(means, 2, 1), strict=True))

    assert loss(after.rules) < loss(state.rules) - 1e-3


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("heurpfedla", {"retained": 4}, "retained: expected 0 to 3, the model's layers, got 4"),
        ("heurpfedla", {"retained": -1}, "retained: expected at least 0, got -1"),
        ("heurpfedla", {"granularity": "tensor"}, "granularity: expected layer, block or model, .* got 'tensor'"),
        ("heurpfedla", {"retain": "most"}, "retain: expected one of largest, smallest, last, random, got 'most'"),
        ("pfedla", {"granularity": "leaf"}, "granularity: expected one of tensor, layer, block, model, got 'leaf'"),
        ("pfedla", {"order": "random"}, "order: expected one of together, sequential, got 'random'"),
        ("pfedla", {"fresh_rounds": -1}, "fresh_rounds: expected at least 0, got -1"),
        ("pfedla", {"server_keeps": "x"}, "server_keeps: expected one of trained, added, got 'x'"),
        ("pfedla", {"normalise": "sum"}, "normalise: expected one of softmax, relu, got 'sum'"),
        ("pfedla", {"hyper_embedding": 0}, "embedding: expected at least 1, got 0"),
        ("layer_mix", {"rule": "best"}, "rule: expected one of uniform, self, .* got 'best'"),
        ("layer_mix", {"self_weight": 1.5}, "self_weight: expected 0 to 1, got 1.5"),
        ("layer_mix", {"temperature": 0.0}, "temperature: expected a positive number, got 0.0"),
    ],
)
def test_bad_input(name, args, message):
    trainer = toy.make_trainer(toy.make_task(jnp.float32))
    with pytest.raises(ValueError, match=message) as error:
        algorithms.registry[name](trainer, **args)
    assert "\n" not in str(error.value)
