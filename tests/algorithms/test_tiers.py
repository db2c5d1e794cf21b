"""Three tiers against their oracle, the reductions, participation, schedules, and bad input."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import algorithms
from fedjax_layers.clients import keys
from tests import toy
from tests.reference import tiers as oracles
from tests.reference.network import loss_and_gradient
from tests.rounds import rounds_of, start_params

TEAM_OF = np.array([1, 0, 2, 1, 0])  # unequal; the ids are not in order
ROUNDS = ([0, 2, 4], [3, 1], [2, 3, 0, 1, 4])
PERMFL = {"client_lambda": 0.4, "team_lambda": 0.7, "gamma": 1.5, "eta": 0.3, "beta": 0.5}


def close(found, expected, **kw):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **(kw or {"rtol": 1e-10, "atol": 1e-12})),
        toy.to_numpy(found),
        toy.to_numpy(expected),
    )


TRACED = ("team_rounds", "client_lambda", "team_lambda", "gamma", "eta", "beta", "global_every")


def run(name, rounds=ROUNDS, *, changes=(), **args):
    """State, reports and the rounds after some rounds; a number is an argument of what is compiled."""
    defaults = {"team_of": TEAM_OF, "num_teams": 3, "team_rounds": 10}
    found = rounds_of(name, defaults | args, traced=TRACED, **dict(changes))
    states, infos = found.run(rounds, pad_to=5)
    return states[-1], infos, found


def team_round_batches(trainer, key, client, rounds):
    """The batches of each team round: shuffled anew for epochs, one walk through one shuffle for steps."""
    if trainer.steps is None:
        key = jax.random.fold_in(key, keys.TEAM_ROUNDS)
        return [toy.drawn_batches(trainer, jax.random.fold_in(key, k), client) for k in range(rounds)]
    place_in_order = toy.drawn_batches(dataclasses.replace(trainer, steps=rounds * trainer.steps), key, client)
    return [place_in_order[k * trainer.steps : (k + 1) * trainer.steps] for k in range(rounds)]


@pytest.mark.parametrize(("keep", "steps"), [(False, None), (True, None), (False, 2)])
@pytest.mark.parametrize("name", ["permfl", "hsgd"])
def test_agrees_with_its_oracle(name, keep, steps, x64):
    pool = toy.make_pool()
    changes = ({"keep_optimizer": True} if keep else {}) | ({"epochs": None, "steps": steps} if steps else {})
    args = PERMFL if name == "permfl" else {}
    state, infos, rounds = run(name, changes=changes, team_rounds=3, **args)
    start = toy.to_numpy(start_params())
    common = {"lr": 0.1, "beta": 0.9, "keep": keep}
    if name == "permfl":
        changed = {"client_lambda": 0.4, "team_lambda": 0.7, "gamma": 1.5, "eta": 0.3, "step": 0.5}
        oracle = oracles.PerMFL(start, TEAM_OF, 3, *pool, **common, **changed)
    else:
        oracle = oracles.HSgd(start, TEAM_OF, 3, *pool, **common)
    for t, ids in enumerate(ROUNDS):
        key = jax.random.fold_in(jax.random.key(7), t)
        drawn = [[(c, team_round_batches(rounds.trainer, key, c, 3)[k]) for c in ids] for k in range(3)]
        losses = oracle.round(drawn)
        np.testing.assert_allclose(infos[t].loss[: len(ids)], [np.mean(losses[c]) for c in ids], rtol=1e-10)
    models = toy.to_numpy(rounds.models(state))
    close(models.global_model, oracle.server)
    for t in range(3):
        close(jax.tree.map(lambda x, t=t: x[t], models.team), oracle.teams[t])
    for c in range(toy.CLIENTS):
        close(jax.tree.map(lambda x, c=c: x[c], models.personal), oracle.own[c])


def test_permfl_without_pulls_is_hsgd(x64):
    """No client pull, eta * lambda = 1 with nothing towards the server, and beta * gamma = 1."""
    tiny = 1e-13
    args = {"client_lambda": 0.0, "team_lambda": 1.0, "eta": 1.0, "gamma": tiny, "beta": 1 / tiny}
    plain, _, _ = run("hsgd", team_rounds=3)
    nested, _, _ = run("permfl", team_rounds=3, **args)
    close(nested.server, plain.server, rtol=1e-9, atol=1e-10)
    close(nested.clients, plain.clients, rtol=1e-9, atol=1e-10)


def test_one_team_and_one_team_round_is_two_tier(x64):
    """Server, one team and its clients: the server moves by beta*gamma*eta*lambda towards the clients' mean."""
    args = {"team_of": np.zeros(5, int), "num_teams": 1, "team_rounds": 1}
    prox, _, _ = run("permfl", ROUNDS[:1], **args, **PERMFL)
    task = toy.make_task()
    start = task.init(jax.random.key(1))
    trainer = toy.make_trainer(task)
    pool = toy.make_pool()
    cohort = toy.make_cohort(ROUNDS[0], pool, weights=np.ones(3))
    fedprox = algorithms.fedprox(trainer, mu=PERMFL["client_lambda"])
    round_key = jax.random.fold_in(jax.random.key(7), 0)
    key = jax.random.fold_in(jax.random.fold_in(round_key, keys.TEAM_ROUNDS), 0)  # of team round 0
    mean = jax.jit(fedprox.round)(key, fedprox.init(key, start), cohort)[0].server
    share = PERMFL["beta"] * PERMFL["gamma"] * PERMFL["eta"] * PERMFL["team_lambda"]
    close(prox.server, jax.tree.map(lambda x, m: x + share * (m - x), start, mean))


def test_lambda_zero_leaves_teams_and_server_still(x64):
    start = start_params()
    state, _, _ = run("permfl", team_rounds=3, **(PERMFL | {"client_lambda": 0.0, "team_lambda": 0.0}))
    close(state.server, start)
    close(state.teams, jax.tree.map(lambda x: np.broadcast_to(x, (3, *x.shape)), start))
    assert not np.allclose(state.clients[0]["w"], np.asarray(start[0]["w"]))


def test_one_round_of_one_step_in_closed_form(x64):
    """K = L = 1: theta = w - alpha * grad, w = x, so x moves by -beta*gamma*eta*lambda*alpha * mean of means."""
    start, pool = start_params(), toy.make_pool()
    changes = {"momentum": 0.0, "epochs": None, "steps": 1, "batch_size": 40}
    state, _, _ = run("permfl", [range(5)], changes=changes, team_rounds=1, **PERMFL)
    grads = []
    for c in range(5):
        rows = slice(toy.STARTS[c], toy.STARTS[c] + toy.COUNTS[c])
        grads.append(oracles_gradient(start, pool, rows))
    team_means = [
        jax.tree.map(lambda *g: sum(g) / len(g), *[grads[c] for c in np.flatnonzero(t == TEAM_OF)]) for t in range(3)
    ]
    mean = jax.tree.map(lambda *g: sum(g) / 3, *team_means)
    share = PERMFL["beta"] * PERMFL["gamma"] * PERMFL["eta"] * PERMFL["team_lambda"] * 0.1
    close(state.server, jax.tree.map(lambda x, g: x - share * g, start, mean))


def oracles_gradient(params, pool, rows):
    return loss_and_gradient(toy.to_numpy(params), pool[0][rows], pool[1][rows])[1]


@pytest.mark.slow
def test_the_published_lambda_is_the_number_of_steps(x64):
    changes = {"epochs": None, "steps": 2}
    meant, _, _ = run("permfl", changes=changes, **PERMFL)
    published, _, _ = run("permfl", changes=changes, published_client_lambda=True, **PERMFL)
    by_hand, _, _ = run("permfl", changes=changes, **(PERMFL | {"client_lambda": 2.0}))
    close(published.clients, by_hand.clients)
    assert not np.allclose(published.clients[0]["w"], meant.clients[0]["w"])
    with pytest.raises(ValueError, match="published_client_lambda: expected a trainer with steps"):
        run("permfl", published_client_lambda=True)


def test_example_weights_reach_both_means(x64):
    uniform, _, _ = run("hsgd", [range(5)], team_rounds=1)
    weighted, _, _ = run("hsgd", [range(5)], team_rounds=1, weighting="examples")
    own = toy.to_numpy(uniform.clients)
    sizes = np.array([toy.COUNTS[t == TEAM_OF].sum() for t in range(3)])
    w = own[0]["w"]
    teams = np.stack([np.average(w[t == TEAM_OF], axis=0, weights=toy.COUNTS[t == TEAM_OF]) for t in range(3)])
    np.testing.assert_allclose(weighted.server[0]["w"], np.average(teams, axis=0, weights=sizes), rtol=1e-10)
    plain = np.stack([w[t == TEAM_OF].mean(0) for t in range(3)])
    np.testing.assert_allclose(uniform.server[0]["w"], plain.mean(0), rtol=1e-10)


def test_shares_of_clients_and_teams_take_part(x64):
    _, infos, _ = run("hsgd", [range(5)] * 3, team_rounds=4, client_participation=0.5, team_participation=0.34)
    for info in infos:
        assert int(info.extra["team_sent"]) == 1
        assert int(info.sent[0]) == 4  # one client of one team in each of four team rounds
    _, infos, _ = run("hsgd", [range(5)] * 2, team_rounds=2, client_participation=0.5)
    assert [int(i.sent[0]) for i in infos] == [6, 6]  # a half of two is one, of one is one


@pytest.mark.slow
def test_who_takes_part_changes_from_team_round_to_team_round_and_round_to_round(x64):
    kw = {"team_of": np.zeros(5, int), "num_teams": 1, "team_rounds": 1, "client_participation": 0.2}
    seen = set()
    for t in range(12):
        algorithm = algorithms.hsgd(toy.make_trainer(toy.make_task()), **kw)
        params = start_params()
        key = jax.random.fold_in(jax.random.key(3), t)
        state, _ = algorithm.round(key, algorithm.init(key, params), toy.make_cohort(range(5), toy.make_pool()))
        moved = [c for c in range(5) if not np.allclose(state.clients[0]["w"][c], params[0]["w"])]
        assert len(moved) == 1
        seen |= set(moved)
    assert len(seen) >= 3  # 12 draws of one in five stay within two with probability below 1e-3


def test_absent_teams_count_only_as_stale_ones(x64):
    rounds = ([0, 1, 2, 3, 4], [0, 3])  # then team 1 alone
    fresh, _, _ = run("hsgd", rounds, team_rounds=1)
    stale, _, _ = run("hsgd", rounds, team_rounds=1, stale_teams=True)
    close(fresh.server, jax.tree.map(lambda x: x[1], fresh.teams))
    close(stale.server, jax.tree.map(lambda x: x.mean(0), stale.teams))
    before, _, _ = run("hsgd", rounds[:1], team_rounds=1)
    close(jax.tree.map(lambda x: x[0], stale.teams), jax.tree.map(lambda x: x[0], before.teams))


def test_the_server_meets_the_teams_every_second_round(x64):
    one, infos, _ = run("hsgd", [range(5)], team_rounds=2, global_every=2)
    close(one.server, start_params())
    two, infos, _ = run("hsgd", [range(5)] * 2, team_rounds=2, global_every=2)
    assert [int(i.extra["team_sent"]) for i in infos] == [0, 3]
    close(two.server, jax.tree.map(lambda x: x.mean(0), two.teams))
    # The teams went on from their own models: the second round began where the first one ended.
    assert not np.allclose(two.teams[0]["w"], run("hsgd", [range(5)] * 2, team_rounds=2)[0].teams[0]["w"])


def test_teams_keep_their_own_pace(x64):
    paced, infos, _ = run("hsgd", [range(5)], team_rounds=3, pace=np.array([1, 3, 2]))
    assert int(infos[0].sent[0]) == 2 * 1 + 2 * 3 + 1 * 2
    for t, rounds in enumerate((1, 3, 2)):
        alone, _, _ = run("hsgd", [range(5)], team_rounds=rounds)
        close(*(jax.tree.map(lambda x, t=t: x[t], s.teams) for s in (paced, alone)))


@pytest.mark.slow
def test_coefficients_decay_by_their_factor(x64):
    decayed, _, _ = run("permfl", lambda_decay=0.5, gamma_decay=0.8, beta_decay=0.9, **PERMFL)
    task, pool = toy.make_task(), toy.make_pool()
    trainer = toy.make_trainer(task)
    state = None
    for t, ids in enumerate(ROUNDS):
        now = {
            "client_lambda": 0.4 * 0.5**t,
            "team_lambda": 0.7 * 0.5**t,
            "gamma": 1.5 * 0.8**t,
            "eta": 0.3,
            "beta": 0.5 * 0.9**t,
        }
        algorithm = algorithms.permfl(trainer, team_of=TEAM_OF, num_teams=3, **now)
        state = algorithm.init(jax.random.key(2), task.init(jax.random.key(1))) if state is None else state
        state, _ = algorithm.round(
            jax.random.fold_in(jax.random.key(7), t), state, toy.make_cohort(ids, pool, pad_to=5)
        )
    close(decayed.server, state.server)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"team_of": [0, 1, 2, 3, 0]}, "team_of: expected ids 0 to 2, got 3 for client 3"),
        ({"team_of": [0, -1, 2, 1, 0]}, "team_of: expected ids 0 to 2, got -1 for client 1"),
        ({"team_of": [0, 1, 2]}, r"team_of: expected an integer for each of 5 clients, got shape \(3,\)"),
        ({"team_of": [0.0] * 5}, "team_of: expected an integer for each of 5 clients, got .* float64"),
        ({"num_teams": 6}, "num_teams: expected 1 to 5, the number of clients, got 6"),
        ({"team_rounds": 0}, "team_rounds: expected at least 1, got 0"),
        ({"global_every": 0}, "global_every: expected at least 1, got 0"),
        ({"pace": (1, -2, 1)}, r"pace: expected at least 0, got \(1, -2, 1\)"),
        ({"client_participation": 0.0}, r"client_participation: expected more than 0 and at most 1, got 0.0"),
        ({"team_lambda": -0.1}, "team_lambda: expected at least 0, got -0.1"),
        ({"gamma": float("nan")}, "gamma: expected a finite number, got nan"),
        ({"weighting": "size"}, "weighting: expected one of uniform, examples, got 'size'"),
    ],
)
def test_bad_input(args, message, x64):
    with pytest.raises(ValueError, match=message):
        algorithms.permfl(toy.make_trainer(toy.make_task()), **({"team_of": TEAM_OF, "num_teams": 3} | args))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"beta": 0.99, "gamma": 5.0}, r"the server may diverge: .* got 3\.95"),
        ({"eta": 0.9, "team_lambda": 1.0}, r"a team overshoots: expected .* at most 1, got 2\.25"),
    ],
)
def test_unstable_coefficients_warn_with_the_numbers(args, message, x64):
    with pytest.warns(UserWarning, match=message):
        algorithms.permfl(toy.make_trainer(toy.make_task()), **args)


def test_the_published_setting_is_stable_and_a_client_may_not_be(x64):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        algorithms.permfl(toy.make_trainer(toy.make_task()))
    lines = algorithms.unstable(
        team_lambda=0.5, gamma=1.5, eta=0.03, beta=0.6, alpha=0.1, client_lambda=20.0, smoothness=1.0
    )
    assert lines == ["a client diverges: expected alpha * (client_lambda + smoothness) below 2, got 2.1"]


@pytest.mark.slow
def test_numbers_may_be_traced():
    task, pool = toy.make_task(jnp.float32), toy.make_pool(dtype=np.float32)
    trainer = toy.make_trainer(task)
    cohort = toy.make_cohort(range(5), pool)
    params = task.init(jax.random.key(1))

    @jax.jit
    def final(lam, gamma, teams, rounds):
        algorithm = algorithms.permfl(
            trainer, team_of=teams, num_teams=3, client_lambda=lam, gamma=gamma, team_rounds=rounds
        )
        return algorithm.round(jax.random.key(0), algorithm.init(jax.random.key(0), params), cohort)[0].server

    teams = jnp.asarray(TEAM_OF)
    swept = jax.vmap(final, (0, None, None, None))(jnp.asarray([0.1, 2.0]), 1.5, teams, 2)
    alone = final(jnp.float32(2.0), 1.5, teams, 2)
    close(jax.tree.map(lambda x: x[1], swept), alone, rtol=2e-5, atol=1e-6)
