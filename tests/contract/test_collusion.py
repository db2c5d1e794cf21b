"""Bad clients that know a round's other models, in every algorithm that averages models; refusals of all others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import algorithms, ops
from fedjax_layers.ops import ClientAxis, Rule
from fedjax_layers.options import options_of
from tests import toy
from tests.registry import cases
from tests.rounds import make, rounds_of, task_of

ALL = list(range(toy.CLIENTS))
BAD = jnp.asarray([True, False, False, True, False])
AVERAGING = [name for name, factory in algorithms.registry.items() if factory.aggregates]
OTHERS = [name for name in algorithms.registry if name not in AVERAGING]
MEAN = Rule(lambda rows, weight, centre: ops.weighted_mean(rows, weight))
MEDIAN = ops.make_rule("coordinate_median", {})
TEAMS = {"team_of": (0, 0, 0, 1, 1), "num_teams": 2}  # each with one bad client
COINS = {"l2gd": {"probability": 0.5}, "al2gd": {"probability": 0.5}}  # rounds of both kinds among a few


def collusion(kind, strength=None):
    """The attack of the clients of :data:`BAD` on models."""

    def collude(ids, rows, weight, centre):
        known = strength(weight, BAD[ids]) if callable(strength) else strength
        updates = jax.tree.map(lambda x, c: x - c[None], rows, centre)
        sent = ops.colluding_updates(updates, BAD[ids], weight, kind, known)
        return jax.tree.map(lambda u, c: u + c[None], sent, centre)

    return collude


def cancelling(weight, bad):
    """The strength for which the mean of all updates is 0."""
    return jnp.where(bad, 0, weight).sum() / jnp.where(bad, weight, 0).sum()


NOTHING_LEFT = collusion("ipm", cancelling)
MIN_MAX = collusion("min_max")


def common_of(rounds, state):
    """What the server holds: the models that clients share, or a model of which they share some layers."""
    models = rounds.models(state)
    held = models.global_model, models.team, getattr(getattr(state, "sharing", state), "server", None)
    return jax.tree.leaves(toy.to_numpy(held))


@pytest.mark.parametrize("name", cases(AVERAGING))
def test_inner_product_manipulation_can_leave_shared_models_where_they_were(name, x64):
    options = COINS.get(name, {}) | (TEAMS if "team_of" in options_of(algorithms.registry[name]) else {})
    rounds = rounds_of(name, options, aggregate=MEAN, collude=NOTHING_LEFT)
    states, _ = rounds.run([ALL] * (6 if name in COINS else 2), pad_to=6)
    for first, last in zip(common_of(rounds, states[0]), common_of(rounds, states[-1]), strict=True):
        np.testing.assert_allclose(last, first, atol=1e-12)


@pytest.mark.parametrize("name", OTHERS)
def test_an_algorithm_that_averages_nothing_refuses(name, x64):
    trainer = toy.make_trainer(task_of(name), aggregate=MEAN, collude=NOTHING_LEFT)
    with pytest.raises(ValueError, match=f"attack: expected none together for {name}, in which no rule can take"):
        make(name, trainer)


def test_the_rule_gets_what_the_bad_clients_made_of_the_others_updates(x64):
    rounds = rounds_of("fedavg", aggregate=MEDIAN, collude=MIN_MAX)
    states, infos = rounds.run([[3, 1, 4, 2]], pad_to=6)
    weight = jnp.asarray([*toy.COUNTS[[3, 1, 4, 2]], 0, 0], float)
    ids, trained, sent = jnp.asarray([3, 1, 4, 2, 1, 1]), infos[0].observed, states[0].server
    expected = MEDIAN.reduce(MIN_MAX(ids, trained, weight, sent), weight, sent)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), states[1].server, expected)


def test_colluding_clients_of_a_team_know_that_team_alone(x64):
    options = TEAMS | {"team_rounds": 1}
    states, infos = rounds_of("hsgd", options, aggregate=MEAN, collude=collusion("alie", 2.0)).run([ALL], pad_to=5)
    leaves = map(jax.tree.leaves, (states[-1].teams, states[0].teams, infos[0].observed))
    for team, sent, x in zip(*leaves, strict=True):
        for t, benign in enumerate(([1, 2], [4])):  # each beside one bad client; clients of a team count alike
            updates = np.asarray(x)[benign] - sent[t]
            lie = updates.mean(0) - 2 * updates.std(0)
            moved = (updates.sum(0) + lie) / (len(benign) + 1)
            np.testing.assert_allclose(team[t] - sent[t], moved, atol=1e-10)


@pytest.mark.slow
def test_width_and_devices_do_not_matter(x64):
    mesh = jax.make_mesh((8,), ("clients",), axis_types=(jax.sharding.AxisType.Auto,))
    ends = [
        rounds_of("fedavg", aggregate=MEAN, collude=MIN_MAX, axis=axis).run([ALL, [0, 2, 4]], pad_to=5)[0][-1]
        for axis in (ClientAxis(), ClientAxis(2), ClientAxis(None, mesh))
    ]
    for other in ends[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), ends[0], other)
