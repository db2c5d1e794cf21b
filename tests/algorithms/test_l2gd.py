"""L2GD and AL2GD against their oracle and their objective; coins, reductions, invariants, bad input."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import algorithms
from fedjax_layers.algorithms.tethered.l2gd_round import draw_coins
from tests import toy
from tests.reference import clusters as oracles
from tests.rounds import round_key, rounds_of, start_params

TEAM_OF = np.array([1, 0, 2, 1, 0])  # unequal; the ids are not in order
PULL = np.array([0.5, 1.0, 0.8, 1.5, 0.7])
CLUSTER_PULL = np.array([2.0, 0.6, 1.1])
ROUNDS = ([0, 2, 4], [3, 1], [2, 3, 0, 1, 4], [], [1, 2, 0], [4, 3, 0], [0, 1, 2, 3, 4], [2, 4])
ONE_COIN = {"team_of": TEAM_OF, "num_teams": 3, "step_size": 0.2, "probability": 0.4, "pull": PULL}
ONE_COIN |= {"cluster_pull": CLUSTER_PULL}
TWO_COINS = ONE_COIN | {"cluster_probability": 0.5, "tau": 0.3}


def close(found, expected, **kw):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **(kw or {"rtol": 1e-10, "atol": 1e-12})),
        toy.to_numpy(found),
        toy.to_numpy(expected),
    )


def row(tree, i):
    return jax.tree.map(lambda x: x[i], tree)


TRACED = ("probability", "step_size", "pull", "cluster_pull", "cluster_probability", "tau")


def run(name, rounds=ROUNDS, *, state=None, first=0, changes=(), **args):
    """State, reports and the rounds after some rounds; a number is an argument of what is compiled."""
    found = rounds_of(name, args, traced=TRACED, **dict(changes))
    states, infos = found.run(rounds, pad_to=5, state=state, first=first)
    return states[-1], infos, found


def spread(seed=0):
    """A state whose models differ, as after many rounds."""
    start = start_params()
    algorithm = algorithms.al2gd(toy.make_trainer(toy.make_task()), **ONE_COIN)
    rng = np.random.default_rng(seed)
    own = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=(5, *x.shape))), start)
    return algorithm.init(jax.random.key(2), start).replace(clients=own)


def first_round(wanted, num_teams=3, p=0.4, q=0.5):
    """A round whose coins are as wanted."""
    for t in itertools.count():
        network, clusters = draw_coins(round_key(t), num_teams, p, q)
        if wanted(bool(network), np.asarray(clusters)):
            return t
    raise AssertionError


def coins_of(args, t):
    network, clusters = draw_coins(round_key(t), 3, args["probability"], args.get("cluster_probability", 0.0))
    return bool(network), np.asarray(clusters)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("args", [ONE_COIN, TWO_COINS], ids=["one coin", "two coins"])
def test_agrees_with_its_oracle(args, keep, x64):
    pool, start = toy.make_pool(), toy.to_numpy(start_params())
    rounds = rounds_of("al2gd", args, traced=TRACED, **({"keep_optimizer": True} if keep else {}))
    numbers = {"step": 0.2, "p": 0.4, "q": args.get("cluster_probability", 0.0), "tau": args.get("tau", 1.0)}
    pulls = {"team_of": TEAM_OF, "pull": PULL, "cluster_pull": CLUSTER_PULL}
    oracle = oracles.L2gd(start, 5, *pool, lr=0.1, beta=0.9, keep=keep, **pulls, **numbers)
    kinds = set()
    states, infos = rounds.run(ROUNDS, pad_to=5)
    for t, (state, info) in enumerate(zip(states[1:], infos, strict=True)):
        ids, (network, coins) = ROUNDS[t], coins_of(args, t)
        kinds |= {("network",)} if network else {("cluster", bool(coins[TEAM_OF[c]])) for c in ids}
        cohort = [(c, float(toy.COUNTS[c]), toy.drawn_batches(rounds.trainer, round_key(t), c)) for c in ids]
        for slot, (_, _, trained, loss) in enumerate(oracle.round(cohort, network, coins)):
            close(row(info.observed, slot), trained)
            np.testing.assert_allclose(info.loss[slot], loss, rtol=1e-10)
        models = toy.to_numpy(rounds.models(state))
        close(models.global_model, oracle.server)
        for j in range(3):
            close(row(models.team, j), oracle.teams[j])
        for c in toy.seen_after(ROUNDS, t):
            close(row(models.personal, c), oracle.own[c])
    expected = {("network",), ("cluster", False)} | ({("cluster", True)} if args is TWO_COINS else set())
    assert kinds == expected, "the rounds must see every kind of coin"


def penalty_gradient(own, ids, pull, cluster_pull, team_of):
    """Gradient of the penalty by the w's that minimise it, found as a linear system; clients ``ids`` alone."""
    x = np.stack([oracles.flat(row(own, c)) for c in ids])
    num = len(cluster_pull)
    # Unknowns: a w for each cluster, and the network's; each row is the derivative by one of them, set to 0.
    system, right = np.zeros((num + 1, num + 1)), np.zeros((num + 1, x.shape[1]))
    for place, c in enumerate(ids):
        system[team_of[c], team_of[c]] += pull[c]
        right[team_of[c]] += pull[c] * x[place]
    for j, strength in enumerate(cluster_pull):
        system[j, j] += strength
        system[num, num] += strength
        system[j, num] -= strength
        system[num, j] -= strength
    w = np.linalg.solve(system, right)
    return np.stack([pull[c] * (x[place] - w[team_of[c]]) for place, c in enumerate(ids)]), w


@pytest.mark.parametrize("ids", [[0, 1, 2, 3, 4], [4, 1, 3]])
def test_mixing_is_a_gradient_step_on_the_penalty_of_those_present(ids, x64):
    before = spread()
    own = toy.to_numpy(before.clients)
    t = first_round(lambda network, _: network)
    after, _, algorithm = run("al2gd", [ids], state=before, first=t, **ONE_COIN)
    gradient, w = penalty_gradient(own, ids, PULL, CLUSTER_PULL, TEAM_OF)
    for place, c in enumerate(ids):
        moved = oracles.flat(toy.to_numpy(row(after.clients, c))) - oracles.flat(row(own, c))
        np.testing.assert_allclose(moved, -0.2 / 0.4 * gradient[place], rtol=1e-9, atol=1e-12)
    models = algorithm.models(after)
    np.testing.assert_allclose(oracles.flat(toy.to_numpy(models.global_model)), w[3], rtol=1e-9)
    for j in {TEAM_OF[c] for c in ids}:
        np.testing.assert_allclose(oracles.flat(toy.to_numpy(row(models.team, j))), w[j], rtol=1e-9)


def test_two_coins_expect_the_same_step_as_the_gradient(x64):
    """Over the network's coin and the clusters' the mixing steps sum to -s times the penalty's gradient."""
    before, p, q = spread(), 0.4, 0.5
    own = toy.to_numpy(before.clients)
    gradient, _ = penalty_gradient(own, range(5), PULL, CLUSTER_PULL, TEAM_OF)
    kinds = {
        p: first_round(lambda network, _: network),
        (1 - p) * q: first_round(lambda network, clusters: not network and clusters.all()),
    }
    total = 0
    for chance, t in kinds.items():
        after, _, _ = run("al2gd", [range(5)], state=before, first=t, **TWO_COINS)
        steps = [toy.to_numpy(row(after.clients, c)) for c in range(5)]
        total += chance * np.stack([oracles.flat(s) - oracles.flat(row(own, c)) for c, s in enumerate(steps)])
    np.testing.assert_allclose(total, -0.2 * gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("ids", [[0, 1, 2, 3, 4], [4, 1, 3]])
def test_a_network_step_keeps_the_mean_of_those_present(ids, x64):
    before = spread(3)
    after, _, _ = run("al2gd", [ids], state=before, first=first_round(lambda n, _: n), **ONE_COIN)
    at = np.array(ids)
    close(*(jax.tree.map(lambda x: x[at].mean(0), s.clients) for s in (before, after)))
    assert not np.allclose(before.clients[0]["w"][at], after.clients[0]["w"][at])


def test_a_full_step_of_the_pull_reaches_the_mean(x64):
    """s * pull = p in L2GD: everybody gets the mean; the global model is that mean."""
    before = algorithms.l2gd(toy.make_trainer(toy.make_task())).init(jax.random.key(2), start_params())
    before = before.replace(clients=spread(1).clients)
    t = first_round(lambda network, _: network, num_teams=1)
    args = {"probability": 0.4, "step_size": 0.2, "pull": 2.0}
    after, _, algorithm = run("l2gd", [range(5)], state=before, first=t, **args)
    mean = jax.tree.map(lambda x: x.mean(0), before.clients)
    close(after.clients, jax.tree.map(lambda x: np.broadcast_to(x, (5, *x.shape)), mean))
    close(algorithm.models(after).global_model, mean)


def test_l2gd_by_hand(x64):
    """``theta_c <- (1 - s pull / p) theta_c + (s pull / p) mean``; the mean is of those present."""
    before, ids = spread(2), [4, 0, 1]
    t = first_round(lambda network, _: network)
    state = algorithms.l2gd(toy.make_trainer(toy.make_task())).init(jax.random.key(2), before.server)
    after, infos, _ = run(
        "l2gd", [ids], state=state.replace(clients=before.clients), first=t, probability=0.4, step_size=0.1, pull=1.2
    )
    w = np.asarray(before.clients[1]["w"])
    share = 0.1 * 1.2 / 0.4
    expected = w.copy()
    expected[ids] = (1 - share) * w[ids] + share * w[ids].mean(0)
    np.testing.assert_allclose(after.clients[1]["w"], expected, rtol=1e-12)
    assert infos[0].sent.tolist() == infos[0].received.tolist() == [3, 3, 3]
    assert int(infos[0].steps) == 0


@pytest.mark.slow
def test_al2gd_with_one_cluster_is_l2gd_whatever_the_cluster_pull(x64):
    numbers = {"probability": 0.4, "step_size": 0.2, "pull": 0.9}
    plain, _, _ = run("l2gd", **numbers)
    for strength in (0.3, 5.0):
        one, _, _ = run("al2gd", num_teams=1, cluster_pull=strength, **numbers)
        close(one.clients, plain.clients)
        close(one.server, plain.server)


@pytest.mark.slow
def test_strong_cluster_pulls_make_al2gd_l2gd_and_none_leaves_clusters_alone(x64):
    numbers = {"probability": 0.4, "step_size": 0.2, "pull": 0.9}
    plain, _, _ = run("l2gd", **numbers)
    tight, _, _ = run("al2gd", team_of=TEAM_OF, num_teams=3, cluster_pull=1e13, **numbers)
    close(tight.clients, plain.clients, rtol=1e-8, atol=1e-10)
    loose, _, _ = run("al2gd", team_of=TEAM_OF, num_teams=3, cluster_pull=0.0, **numbers)
    close(loose.server, start_params())
    members = [[c for c in ids if TEAM_OF[c] == 0] for ids in ROUNDS]
    alone, _, _ = run("l2gd", members, **numbers)  # the coin is the round's, not the cohort's
    for c in (1, 4):
        close(row(loose.clients, c), row(alone.clients, c))


@pytest.mark.slow
def test_without_coin_or_pull_it_is_local_training(x64):
    local, _, _ = run("local")
    never, infos, _ = run("l2gd", probability=0.0)
    close(never.clients, local.clients)
    assert all(not info.sent.any() for info in infos)
    free, _, _ = run("l2gd", probability=0.4, pull=0.0)
    trains = [t for t in range(len(ROUNDS)) if not coins_of({"probability": 0.4}, t)[0]]
    assert 0 < len(trains) < len(ROUNDS)
    state = None
    for t in trains:
        state, _, _ = run("local", [ROUNDS[t]], changes={"learning_rate": 0.1 / 0.6}, state=state, first=t)
    close(free.clients, state.clients)


def test_one_coin_is_two_whose_second_never_falls(x64):
    one, _, _ = run("al2gd", **ONE_COIN)
    two, _, _ = run("al2gd", **ONE_COIN, cluster_probability=jnp.asarray(1e-300), tau=1.0)
    close(one.clients, two.clients)


@pytest.mark.slow
def test_the_schedule_scales_local_steps_and_mixing(x64):
    halving = {"learning_rate_factor": lambda t: 0.5 ** t.astype(jnp.float32)}
    for wanted in (True, False):
        t = first_round(lambda network, _, w=wanted: network == w)
        before = spread()
        late, _, _ = run(
            "al2gd", [range(5)], changes=halving, state=before.replace(round=jnp.int32(2)), first=t, **ONE_COIN
        )
        expected, _, _ = run(
            "al2gd",
            [range(5)],
            changes={"learning_rate": 0.1 / 4},
            state=before,
            first=t,
            **(ONE_COIN | {"step_size": 0.05}),
        )
        close(late.clients, expected.clients)


def test_coins_fall_as_often_as_they_should_and_independently():
    keys = jax.vmap(round_key)(jnp.arange(4000))
    network, clusters = jax.vmap(lambda k: draw_coins(k, 3, 0.3, 0.6))(keys)
    falls = np.column_stack([network, clusters]).astype(float)
    np.testing.assert_allclose(falls.mean(0), [0.3, 0.6, 0.6, 0.6], atol=0.03)  # four standard errors
    correlation = np.corrcoef(falls.T) - np.eye(4)
    assert np.abs(correlation).max() < 0.065


def test_counts_of_a_round_in_which_some_clusters_meet(x64):
    t = first_round(lambda network, clusters: not network and clusters.tolist() == [True, False, False])
    _, infos, _ = run("al2gd", [range(5)], first=t, **TWO_COINS)
    assert infos[0].sent.tolist() == [2, 2, 2]  # clients 1 and 4
    batches = -(-toy.COUNTS // toy.BATCH)
    assert int(infos[0].steps) == batches[[0, 2, 3]].sum()
    np.testing.assert_array_equal(np.asarray(infos[0].loss) > 0, TEAM_OF != 0)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"probability": 1.0}, r"^probability: expected at least 0 and less than 1, got 1.0"),
        ({"cluster_probability": -0.1}, r"cluster_probability: expected at least 0 and less than 1, got -0.1"),
        ({"tau": 1.5}, r"tau: expected 0 to 1, got 1.5"),
        ({"tau": 0.5}, "tau: expected 1 without cluster coins, got 0.5"),
        ({"step_size": -1.0}, "step_size: expected at least 0, got -1.0"),
        ({"pull": float("nan")}, "pull: expected a finite number, got nan"),
        ({"pull": [1.0, 2.0]}, r"pull: expected a number or 5 of them, got shape \(2,\)"),
        ({"cluster_pull": [1.0]}, r"cluster_pull: expected a number or 3 of them, got shape \(1,\)"),
        ({"team_of": [0, 1, 2, 3, 0]}, "team_of: expected ids 0 to 2, got 3 for client 3"),
        ({"num_teams": 6, "team_of": None}, "num_teams: expected 1 to 5, the number of clients, got 6"),
    ],
)
def test_bad_input(args, message, x64):
    with pytest.raises(ValueError, match=message):
        algorithms.al2gd(toy.make_trainer(toy.make_task()), **({"team_of": TEAM_OF, "num_teams": 3} | args))


def test_a_step_beyond_the_mean_warns_with_the_numbers(x64):
    with pytest.warns(UserWarning, match=r"step_size \* pull of at most the probability, got 0.6 / 0.5"):
        algorithms.l2gd(toy.make_trainer(toy.make_task()), probability=0.5, step_size=0.3, pull=2.0)
    algorithms.l2gd(toy.make_trainer(toy.make_task()), probability=0.5, step_size=0.25, pull=2.0)
