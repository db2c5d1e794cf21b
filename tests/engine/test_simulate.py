"""Rounds in a scan: going on, what compiles anew, partial participation, the last local phase."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fedjax_layers as fl
from fedjax_layers import algorithms
from fedjax_layers.clients import LocalSolver, keys
from fedjax_layers.data import load
from fedjax_layers.engine import run_loop
from fedjax_layers.engine.evaluation.evaluate import evaluate
from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.plan import Plan
from fedjax_layers.engine.run_loop import run_intervals, start_state
from fedjax_layers.engine.sampling import all_clients, check_weights, draw_cohort, fixed, uniform
from fedjax_layers.engine.simulate import make_inputs, simulate
from fedjax_layers.models import build_model
from fedjax_layers.ops import ClientAxis
from fedjax_layers.types import Observer
from tests import toy
from tests.counting import count_compilations

TASK = toy.make_task(jnp.float32)
C = toy.CLIENTS


@functools.cache
def build(name, *traced, width=None):
    """The same function object for equal arguments, as ``simulate`` asks for."""

    def make(hyper):
        trainer = toy.make_trainer(TASK, learning_rate=hyper["rate"], axis=ClientAxis(width))
        return algorithms.registry[name](trainer, **{key: hyper[key] for key in traced})

    return make


@pytest.fixture(scope="module")
def source():
    return toy.make_federation(toy.make_pool(dtype=np.float32))


def run(source, name, *, rounds=2, traced=None, rate=0.1, width=None, **options):
    hyper = {"rate": rate} | (traced or {})
    return simulate(build(name, *(traced or {}), width=width), TASK, source, rounds=rounds, hyper=hyper, **options)


def assert_same_history(one, other):
    jax.tree.map(np.testing.assert_array_equal, one.to_arrays(), other.to_arrays())


@pytest.mark.parametrize("name", [pytest.param("player_fl", marks=pytest.mark.slow), "fedavg"])
def test_two_rounds_and_two_more_equal_four_bit_for_bit(source, name):
    plan = Plan(TASK, 2)
    inputs = make_inputs(source, hyper={"rate": 0.1}, seed=5, sampling=uniform(3, C), weights=None)

    def rounds(until, state, history):
        *_, (_, after, grown) = run_intervals(build(name), plan, inputs, state, history, until)
        return after, grown

    four, whole = rounds(4, start_state(build(name), plan, inputs), History())
    two, part = rounds(2, start_state(build(name), plan, inputs), History())
    assert part.rounds_done == 2
    on, part = rounds(4, jax.tree.map(jnp.copy, two), History.from_arrays(part.to_arrays()))
    chex.assert_trees_all_equal(four, on)
    assert_same_history(whole, part)


def test_the_last_round_is_evaluated_whatever_the_interval(source):
    history = run(source, "fedavg", rounds=5, eval_every=2).history
    assert history.evaluations["round"].tolist() == [2, 4, 5]
    assert history.rounds_done == len(history.rounds["loss"]) == 5
    every = run(source, "fedavg", rounds=5).history
    np.testing.assert_allclose(history.rounds["loss"], every.rounds["loss"], rtol=1e-5)
    np.testing.assert_allclose(
        history.evaluations["trained/test/loss"], every.evaluations["trained/test/loss"][[1, 3, 4]], rtol=1e-5
    )


CHANGES = {
    "threshold": ("player_fl", {"traced": {"threshold": 1.5}}, {"traced": {"threshold": 0.1}}),
    "mu": ("fedprox", {"traced": {"mu": 0.1}}, {"traced": {"mu": 2.0}}),
    "learning rate": ("fedavg", {"rate": 0.1}, {"rate": 0.02}),
    "seed": ("fedavg", {"seed": 0}, {"seed": 4}),
    "cohort members": ("fedavg", {"sampling": [0, 3]}, {"sampling": [4, 1]}),
    "weights": ("fedavg", {"weights": np.ones(C)}, {"weights": np.arange(C)}),
    "number of rounds": ("fedavg", {"rounds": 2, "eval_every": 2}, {"rounds": 5, "eval_every": 2}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_values_compile_nothing_and_change_the_result(source, change):
    name, *both = CHANGES[change]

    def losses_of(values):
        if "sampling" in values:
            values = values | {"sampling": fixed(np.array(values["sampling"]), C)}
        return run(source, name, **values).history.evaluations["served/test/loss"][-1]

    losses = [losses_of(both[0])]
    with count_compilations() as clock:
        losses.append(losses_of(both[1]))
    assert clock.compilations == 0
    assert not np.array_equal(*losses)


def test_the_clock_counts_what_is_compiled():
    with count_compilations() as clock:
        jax.jit(lambda x: x * 3.25 + 17)(np.float32(2)).block_until_ready()
    assert clock.compilations == 1
    assert clock.seconds > 0
    jax.jit(lambda x: x * 4.25 + 17)(np.float32(2)).block_until_ready()
    assert clock.compilations == 1, "it goes on counting after its block"


@pytest.mark.parametrize("width", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_result_does_not_depend_on_the_width(source, width):
    whole = run(source, "fedper")
    chunked = run(source, "fedper", width=width, axis=ClientAxis(width))
    chex.assert_trees_all_close(whole.models, chunked.models, rtol=1e-4, atol=1e-6)
    one, other = whole.history.evaluations, chunked.history.evaluations
    np.testing.assert_allclose(one["trained/val/loss"], other["trained/val/loss"], rtol=1e-4)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 1, -1, 1, 1], "none below 0"),
        ([0, 0, 0, 0, 0], "positive sum"),
        ([1, 1, np.nan, 1, 1], "finite"),
        ([1, np.inf, 1, 1, 1], "finite"),
        ([1, 1], r"shape \(5,\)"),
    ],
)
def test_bad_weights_are_refused_in_one_line(source, weights, message):
    with pytest.raises(ValueError, match=message) as caught:
        run(source, "fedavg", weights=np.array(weights))
    assert "\n" not in str(caught.value)


def test_weights_decide_who_is_averaged(source):
    assert check_weights([0, 0, 2, 0, 0], C).tolist() == [0, 0, 2, 0, 0]
    result = run(source, "fedavg", rounds=1, weights=np.array([0, 0, 2, 0, 0]))
    scores = result.history.evaluations
    assert result.history.rounds["participants"].tolist() == [1]
    # With one client the served model is that client's trained one.
    np.testing.assert_allclose(scores["served/test/loss"][0, 2], scores["trained/test/loss"][0, 2], rtol=1e-6)
    assert np.isfinite(scores["trained/test/loss"]).tolist() == [[False, False, True, False, False]]


def test_no_round_is_refused(source):
    with pytest.raises(ValueError, match="rounds: expected at least 1, got 0"):
        run(source, "fedavg", rounds=0)


@pytest.mark.parametrize(("field", "value"), [("eval_every", 0), ("evaluated_models", ("served", "severed"))])
def test_a_bad_plan_is_refused(source, field, value):
    with pytest.raises(ValueError, match=field):
        run(source, "fedavg", **{field: value})


def test_on_evaluation_ends_the_run_early(source):
    seen = []

    def stop(done, state, history):
        seen.append((done, int(state.round), history.rounds_done))
        return done == 2

    result = run(source, "fedavg", rounds=5, on_evaluation=stop)
    assert seen == [(1, 1, 1), (2, 2, 2)]
    assert result.history.evaluations["round"].tolist() == [1, 2]
    assert int(result.state.round) == 2


# Who looks after which rounds, and what is done in which order: an interval begun ("1"), its scores fetched ("-1").
ORDERS = {
    "always": (lambda _: True, [1, -1, 2, -2, 3, -3, 4, -4], [1, 2, 3, 4]),
    "nobody": (None, [1, 2, -1, 3, -2, 4, -3, -4], [4]),
    "once": (lambda done: done == 2, [1, 2, -1, -2, 3, 4, -3, -4], [2, 4]),
}


@pytest.mark.parametrize("case", ORDERS)
def test_an_interval_is_begun_before_the_scores_of_the_last_one_are_fetched_where_nobody_looks(
    source, monkeypatch, case
):
    looked_at, order, states = ORDERS[case]
    found = []

    def noting(function, sign):
        def noted(*arguments):
            found.append(sign * (sum(x * sign > 0 for x in found) + 1))
            return function(*arguments)

        return noted

    expected = run(source, "fedavg", rounds=4, seed=5, on_evaluation=lambda *_: None)
    for name, sign in (("run_interval", 1), ("add_interval", -1)):
        monkeypatch.setattr(run_loop, name, noting(getattr(run_loop, name), sign))
    plan = Plan(TASK, 1)
    inputs = make_inputs(source, hyper={"rate": 0.1}, seed=5, sampling=None, weights=None)
    state, history, seen = start_state(build("fedavg"), plan, inputs), History(), []
    for done, current, _ in run_intervals(build("fedavg"), plan, inputs, state, history, 4, looked_at=looked_at):
        assert history.rounds_done == done
        seen.append((done, None if current is None else int(current.round)))
    assert found == order
    assert seen == [(done, done if done in states else None) for done in (1, 2, 3, 4)]
    assert_same_history(history, expected.history)
    chex.assert_trees_all_equal(current, expected.state)


def test_only_participants_have_trained_scores(source):
    scores = run(source, "fedavg", sampling=fixed(np.array([3, 0]), C)).history.evaluations
    assert np.isfinite(scores["trained/test/loss"]).tolist() == [[True, False, False, True, False]] * 2
    assert np.isfinite(scores["served/test/loss"]).all()
    assert "trained/ids" not in scores


def test_a_slot_without_a_client_overwrites_nobody(source):
    """-1 is an empty slot; its row must not land on the last or first client."""
    scores = run(source, "fedavg", sampling=fixed(np.array([2, -1]), C)).history.evaluations
    assert np.isfinite(scores["trained/test/loss"]).tolist() == [[False, False, True, False, False]] * 2


def test_served_is_global_where_there_is_no_model_of_its_own(source):
    scores = run(source, "fedavg").history.evaluations
    served = [name for name in scores if name.startswith("served/")]
    assert "served/test/macro_f1" in served
    for name in served:
        np.testing.assert_array_equal(scores[name], scores[name.replace("served/", "global/")])


def test_models_that_are_not_asked_for_are_not_evaluated(source):
    names = run(source, "local", evaluated_models=("served",)).history.evaluations
    assert not [name for name in names if name.startswith("trained/")]
    names = run(source, "local", evaluated_models=("trained",)).history.evaluations
    assert not [name for name in names if name.startswith(("served/", "global/"))]


@pytest.mark.parametrize("name", ["local_adaptation", "fedbabu"])
def test_the_last_phase_adds_one_row_and_gives_the_personal_scores(source, name):
    seed, rounds = 3, 2
    result = run(source, name, rounds=rounds, seed=seed)
    history = result.history
    assert history.evaluations["finished"].tolist() == [False, False, True]
    assert history.evaluations["round"].tolist() == [1, 2, 2]
    assert history.rounds_done == len(history.rounds["loss"]) == rounds

    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), rounds), keys.FINISH)
    cohort = draw_cohort(all_clients(C), key, jnp.int32(rounds), source.train, source.pool)
    cohort = dataclasses.replace(cohort, observer=Observer(toy.trained_model))
    final = jax.jit(build(name)({"rate": jnp.float32(0.1)}).finish)(key, result.state, cohort)
    score = functools.partial(evaluate, TASK, stacked=True, largest=source.largest[2])
    expected, _ = jax.jit(score)(final, source.pool, source.test)
    for scored_model in ("served", "trained"):
        found = history.scores(scored_model, "last")
        np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-5)
    served = history.evaluations["served/test/loss"]
    assert not np.allclose(served[-1], served[-2]), "fine-tuning must have changed something"
    # The phase makes no global model: its row is empty, the last global scores are those of the last round.
    assert np.isnan(history.evaluations["global/test/loss"][-1]).all()
    np.testing.assert_array_equal(history.scores("global", "last")["loss"], history.evaluations["global/test/loss"][-2])


def test_an_algorithm_without_a_last_phase_has_no_further_row(source):
    assert run(source, "player_fl").history.evaluations["finished"].tolist() == [False, False]


def test_weights_keep_their_precision_in_64_bit_mode(x64):
    weights = np.array([1.0, 1.0 + 1e-12, 2.0, 3.0, 4.0])
    source = toy.make_federation(toy.make_pool())
    found = make_inputs(source, hyper=None, seed=0, sampling=None, weights=weights).weights
    np.testing.assert_array_equal(found, weights)


def test_labels_that_the_model_has_no_output_for_are_refused():
    clients = load("digits", clients=2, seed=0)
    task = fl.task(build_model("logistic_regression", 9), clients.inputs.shape[1:], 9)
    with pytest.raises(ValueError, match="task: expected outputs for the 10 classes of digits, got 9"):
        simulate(algorithms.fedavg(LocalSolver(optax.sgd(0.1), batch_size=8)), task, clients, rounds=1)
