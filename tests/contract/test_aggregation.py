"""A robust rule in place of the mean, in every algorithm that averages models; refusals of all others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import algorithms, ops
from fedjax_layers.clients import ClientVisit, one_pass
from fedjax_layers.ops import ClientAxis, Rule, Term
from fedjax_layers.ops.robust import RULES
from tests import toy
from tests.registry import cases
from tests.rounds import POOL, make, rounds_of, task_of

ALL = list(range(toy.CLIENTS))
ROUNDS = (ALL, [0, 2, 4], ALL)
AVERAGING = [name for name, factory in algorithms.registry.items() if factory.aggregates]
OTHERS = [name for name in algorithms.registry if name not in AVERAGING]
MEAN = Rule(lambda rows, weight, centre: ops.weighted_mean(rows, weight))
MEDIAN = ops.make_rule("coordinate_median", {})
KRUM = ops.make_rule("krum", {"bad": 1})
MANY = {"l2gd": {"probability": 0.7}, "al2gd": {"probability": 0.7}}  # of four rounds the second averages
ONE_TEAM = {name: {"num_teams": 1} | MANY.get(name, {}) for name in ("permfl", "hsgd", "al2gd")}


def assert_close(a, b, **kw):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **kw), a, b)


def scream(key, ident, start, trained):
    """Client 0 sends noise of 1e20."""
    del start
    loud = jax.tree.map(lambda x: 1e20 * jax.random.normal(key, x.shape, x.dtype), trained)
    return jax.tree.map(lambda a, b: jnp.where(ident == 0, a, b), loud, trained)


@pytest.mark.parametrize("name", cases(AVERAGING))
def test_the_mean_as_a_rule_is_the_ordinary_round(name, x64):
    plain, _ = rounds_of(name, MANY.get(name)).run(ROUNDS, pad_to=5)
    ruled, _ = rounds_of(name, MANY.get(name), aggregate=MEAN).run(ROUNDS, pad_to=5)
    for before, after in zip(plain, ruled, strict=True):
        assert_close(before, after, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", cases(AVERAGING))
def test_one_loud_client_does_not_move_the_others_models(name, x64):
    """With the median, all models but the client's own stay of the size that they have without it; the mean is lost."""
    sizes = {}
    for rule in (MEDIAN, None):
        rounds = rounds_of(name, {**MANY, **ONE_TEAM}.get(name), attack=scream, aggregate=rule)
        states, _ = rounds.run([ALL] * 4, pad_to=5)
        models = toy.to_numpy(rounds.models(states[-1]))
        personal = jax.tree.map(lambda x: x[1:], models.personal)
        common = [x for x in (models.global_model, models.team) if x is not None]
        sizes[rule] = max(np.abs(x).max() for x in jax.tree.leaves((personal, common)))
    assert sizes[MEDIAN] < 10
    assert not sizes[None] < 1e15


def test_the_median_is_in_the_range_of_the_other_clients_models(x64):
    rounds = rounds_of("fedavg", attack=scream, aggregate=MEDIAN)
    states, infos = rounds.run([ALL], pad_to=5)
    sent = infos[0].observed
    for found, x in zip(*map(jax.tree.leaves, (states[-1].server, sent)), strict=True):
        honest = np.asarray(x)[1:]
        assert (found >= honest.min(0)).all()
        assert (found <= honest.max(0)).all()


@pytest.mark.parametrize("name", OTHERS)
def test_an_algorithm_that_averages_nothing_refuses(name, x64):
    trainer = toy.make_trainer(task_of(name), aggregate=MEDIAN)
    with pytest.raises(ValueError, match=f"aggregate: expected none for {name}, in which no rule can take"):
        make(name, trainer)


@pytest.mark.parametrize(
    "rule", [pytest.param(n, marks=() if n in ("multi_krum", "centred_clipping") else pytest.mark.slow) for n in RULES]
)
def test_every_rule_runs_and_knows_its_cohort(rule, x64):
    """FedAvg with each rule: the rule applied by hand to what the clients sent, from the server's model."""
    settings = {"bad": jnp.int32(1), "keep": 2, "bound": jnp.float32(0.01), "steps": 3, "smoothing": 1e-6}
    made = ops.make_rule(rule, settings)
    rounds = rounds_of("fedavg", aggregate=made)
    states, infos = rounds.run([[3, 1, 0, 4]], pad_to=5)
    there = jnp.asarray([*toy.COUNTS[[3, 1, 0, 4]], 0], float)
    assert_close(made.reduce(infos[0].observed, there, states[0].server), states[1].server, rtol=1e-9)


def test_a_pass_that_is_not_told_the_model_is_refused(x64):
    trainer = toy.make_trainer(task_of("fedavg"), aggregate=MEDIAN)
    model = trainer.task.init(jax.random.key(0))
    visit = lambda client, _: ClientVisit(model, jnp.zeros(()), Term(model, client.share))  # noqa: E731
    with pytest.raises(ValueError, match="shared: expected the model that is sent, beside a rule of aggregation, got"):
        one_pass(trainer, toy.make_cohort(ALL, POOL), visit, shared=(model, model))


def test_a_team_is_reduced_by_itself(x64):
    """Team 0 has clients 0, 1 and 2, of whom the median takes the middle; team 1 has 3 and 4."""
    options = {"team_of": (0, 0, 0, 1, 1), "num_teams": 2, "team_rounds": 1}
    rounds = rounds_of("hsgd", options, aggregate=MEDIAN)
    states, infos = rounds.run([ALL], pad_to=5)
    for team, x in zip(*map(jax.tree.leaves, (states[-1].teams, infos[0].observed)), strict=True):
        np.testing.assert_allclose(team[0], np.median(x[:3], 0), rtol=1e-9)
        np.testing.assert_allclose(team[1], np.median(x[3:], 0), rtol=1e-9)


@pytest.mark.parametrize("per_layer", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("name", "option"),
    [("fedper", "personal_layers"), pytest.param("fedrep", "head_layers", marks=pytest.mark.slow)],
)
def test_layers_that_stay_with_a_client_do_not_count_in_distances(name, option, per_layer, x64):
    """A traced number of them, with which whole models are passed on, gives what a fixed one gives."""
    rule = ops.make_rule("krum", {"bad": 1}, task_of(name).layers) if per_layer else KRUM
    fixed, _ = rounds_of(name, {option: 1}, aggregate=rule).run(ROUNDS, pad_to=5)
    traced, _ = rounds_of(name, {option: 1}, traced=(option,), aggregate=rule).run(ROUNDS, pad_to=5)
    assert_close(
        fixed[-1].server if name == "fedper" else fixed[-1].sharing.server,
        traced[-1].server if name == "fedper" else traced[-1].sharing.server,
        rtol=1e-9,
    )


def test_width_and_devices_do_not_matter(x64):
    mesh = jax.make_mesh((8,), ("clients",), axis_types=(jax.sharding.AxisType.Auto,))
    ends = [
        rounds_of("fedavg", aggregate=KRUM, axis=axis).run(ROUNDS, pad_to=5)[0][-1]
        for axis in (ClientAxis(), ClientAxis(2), ClientAxis(1, mesh))
    ]
    for other in ends[1:]:
        assert_close(ends[0], other, rtol=1e-9)


def test_a_client_that_is_not_finite_does_not_reach_the_rule(x64):
    def broken(key, ident, start, trained):
        del key, start
        return jax.tree.map(lambda x: jnp.where(ident == 0, jnp.nan, x), trained)

    states, infos = rounds_of("fedavg", attack=broken, aggregate=MEDIAN).run([ALL], pad_to=5)
    for found, x in zip(*map(jax.tree.leaves, (states[-1].server, infos[0].observed)), strict=True):
        np.testing.assert_allclose(found, np.median(np.asarray(x)[1:], 0), rtol=1e-9)
