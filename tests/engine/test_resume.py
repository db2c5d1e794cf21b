"""A run from given parameters, one that goes on from another's end, and cohorts chosen from the scores so far."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import algorithms
from fedjax_layers.engine.history.files import HistoryFiles
from fedjax_layers.engine.history.history import History
from fedjax_layers.engine.intervals import start_params
from fedjax_layers.engine.sampling import fixed, power_of_choice, uniform
from fedjax_layers.engine.simulate import simulate
from tests import toy
from tests.counting import count_compilations

TASK = toy.make_task(jnp.float32)
C = toy.CLIENTS


@functools.cache
def build(name):
    return lambda hyper: algorithms.registry[name](toy.make_trainer(TASK, learning_rate=0.1))


@pytest.fixture(scope="module")
def source():
    return toy.make_federation(toy.make_pool(dtype=np.float32))


def run(source, name="fedper", **options):
    return simulate(build(name), TASK, source, **({"rounds": 2, "eval_every": 2} | options))


def assert_same(one, other):
    chex.assert_trees_all_equal(one.state, other.state)
    chex.assert_trees_all_equal(one.models, other.models)
    jax.tree.map(np.testing.assert_array_equal, one.history.to_arrays(), other.history.to_arrays())


@pytest.mark.parametrize("sampling", [None, uniform(2, C)], ids=["everyone", "cohorts"])
def test_a_run_that_is_extended_equals_one_long_run_bit_for_bit(source, sampling):
    whole = run(source, rounds=6, seed=5, sampling=sampling)
    first = run(source, rounds=2, seed=5, sampling=sampling)
    kept = jax.tree.map(np.array, first.state)
    second = run(source, rounds=4, resume=first, sampling=sampling)
    assert_same(whole, run(source, rounds=6, resume=second, sampling=sampling))
    assert second.seed == 5, "the seed goes on"
    chex.assert_trees_all_equal(kept, jax.tree.map(np.array, first.state))
    assert first.history.rounds_done == 2, "what was handed in stays as it is"


def test_an_extension_has_its_last_local_phase_once_at_its_end(source):
    first = run(source, "fedbabu", rounds=2, seed=1)
    assert first.history.evaluations["finished"].tolist() == [False, True]
    longer = run(source, "fedbabu", rounds=4, resume=first)
    assert longer.history.evaluations["finished"].tolist() == [False, False, True]
    assert_same(longer, run(source, "fedbabu", rounds=4, seed=1))


def test_another_sampling_goes_on_where_the_run_was(source):
    first = run(source, rounds=2, seed=3)
    on = run(source, rounds=4, resume=first, sampling=fixed(np.array([4, 1]), C))
    assert on.history.rounds["participants"].tolist() == [C, C, 2, 2]
    assert on.history.evaluations["round"].tolist() == [2, 4]
    assert int(on.state.round) == 4


def test_every_model_starts_from_the_given_parameters_which_stay_there(source):
    start = jax.tree.map(lambda x: x + 0.5, TASK.init(jax.random.key(9)))
    own = run(source, seed=7)
    with count_compilations() as clock:
        found = [run(source, start=start, seed=7) for _ in range(2)]
    assert clock.compilations <= 4, "a copy in the model's types, and no round anew"
    assert_same(*found)
    chex.assert_trees_all_equal(start, jax.tree.map(lambda x: x + 0.5, TASK.init(jax.random.key(9))))
    assert not np.array_equal(
        own.history.evaluations["served/test/loss"], found[0].history.evaluations["served/test/loss"]
    )
    # The same start as the seed's own gives the same run; NumPy arrays of another type will do.
    same = jax.tree.map(lambda x: np.asarray(x, np.float64), start_params(TASK, jax.random.key(7)))
    assert_same(own, run(source, start=same, seed=7))


def test_the_cohort_of_each_interval_is_chosen_from_the_history_and_compiles_nothing(source):
    run(source, select=lambda done, history: [0, 1])
    asked = []

    def select(done, history):
        asked.append((done, history.rounds_done, len(history.evaluations.get("round", ()))))
        return [[0, 3], [-1, 2], [4, 1]][len(asked) - 1]

    with count_compilations() as clock:
        history = run(source, rounds=6, select=select).history
    assert clock.compilations == 0
    assert asked == [(0, 0, 0), (2, 2, 1), (4, 4, 2)]
    assert history.rounds["participants"].tolist() == [2, 2, 1, 1, 2, 2]
    there = np.isfinite(history.evaluations["trained/test/loss"])
    assert [np.flatnonzero(row).tolist() for row in there] == [[0, 3], [2], [1, 4]]


def test_a_fixed_choice_is_the_fixed_sampling(source):
    chosen = run(source, rounds=4, select=lambda *_: np.array([3, 1]))
    assert_same(chosen, run(source, rounds=4, sampling=fixed(np.array([3, 1]), C)))


def test_a_choice_goes_on_after_a_resume(source):
    def select(done, history):
        return [done % C, (done + 2) % C]

    first = run(source, rounds=2, select=select)
    assert_same(run(source, rounds=4, resume=first, select=select), run(source, rounds=4, select=select))


def scored(losses):
    """A history of one evaluation of the served models, with these losses ``[C]``."""
    history = History()
    names = [f"served/{split}/loss" for split in ("val", "test")]
    history.add({"loss": np.zeros(1)}, {"round": 1, "finished": np.bool_(False)} | {n: np.array(losses) for n in names})
    return history


def test_power_of_choice_takes_the_highest_losses_of_those_drawn():
    losses = [0.1, 0.9, np.nan, 0.5, 0.7]
    all_clients = power_of_choice(np.ones(5), 2)
    assert sorted(all_clients(1, scored(losses))) == [1, 4]
    assert set(power_of_choice(np.ones(5), 5)(1, scored(losses))[:4]) == {0, 1, 3, 4}, "without a loss: last"
    few = power_of_choice([1, 0, 1, 1, 0], 1, candidates=3)
    assert few(1, scored(losses)).tolist() == [3], "nobody without examples is drawn"
    two = power_of_choice(np.ones(5), 1, candidates=2)
    picks = [two(done, scored([5.0, 4, 3, 2, 1]))[0] for done in range(400)]
    # The highest of two of five: client 0 wherever it is drawn, 2 of 5; client 4 never.
    assert abs(np.mean(np.array(picks) == 0) - 0.4) < 4 * np.sqrt(0.4 * 0.6 / 400)
    assert 4 not in picks
    assert two(7, scored(losses)) == two(7, scored(losses)), "a draw is made from seed and rounds alone"


@pytest.mark.parametrize(("size", "candidates"), [(0, None), (3, 2), (2, 6)])
def test_power_of_choice_refuses_numbers_that_do_not_fit(size, candidates):
    with pytest.raises(ValueError, match="size, candidates: expected 1 <= size <= candidates <= 4, got"):
        power_of_choice([1, 0, 2, 3, 1], size, candidates)


def test_power_of_choice_in_a_run(source):
    history = run(source, rounds=4, select=power_of_choice(toy.COUNTS, 2)).history
    highest = np.argsort(history.evaluations["served/val/loss"][0])[-2:]
    there = np.isfinite(history.evaluations["trained/test/loss"][1])
    assert sorted(highest) == np.flatnonzero(there).tolist()


BAD = {
    "rounds that are done": ({"rounds": 2, "resume": True}, "rounds: expected more than the 2 of the resumed run"),
    "two rules": ({"sampling": uniform(2, C), "select": lambda *_: [0, 1]}, "select: expected none beside sampling"),
    "two starts": ({"rounds": 4, "resume": True, "start": True}, "start: expected none beside resume"),
    "other models": (
        {"rounds": 4, "resume": True, "evaluated_models": ("served",)},
        "evaluated_models: expected those of the resumed",
    ),
    "another algorithm": ({"rounds": 4, "resume": True, "name": "apfl"}, "resume: expected this run's state"),
    "an id out of range": ({"select": lambda *_: [0, C]}, "select: cohort: expected ids 0 to 4"),
    "one twice": ({"select": lambda *_: [1, 1]}, "select: cohort: expected different clients"),
    "nobody": ({"select": lambda *_: []}, "select: cohort: expected integer ids"),
    "another size": ({"rounds": 4, "select": lambda done, _: [0, 1][: 2 - done // 2]}, "select: expected 2 slots"),
    "no served scores": (
        {"rounds": 4, "select": power_of_choice(toy.COUNTS, 2), "evaluated_models": ("trained",)},
        "expected 'served' among",
    ),
    "a leaf missing": ({"start": []}, "start: expected the model's leaf '0/b' of shape"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(source, case):
    options, message = BAD[case]
    options = dict(options)
    if options.get("resume"):
        options["resume"] = run(source)
    if options.get("start") is True:
        options["start"] = TASK.init(jax.random.key(0))
    with pytest.raises(ValueError, match=message) as caught:
        run(source, options.pop("name", "fedper"), **options)
    assert "\n" not in str(caught.value)


def test_records_in_a_folder_are_the_same_history(source, tmp_path):
    """With a last local phase, gone on with, and with cohorts chosen from the scores so far."""
    options = {"rounds": 4, "select": power_of_choice(np.ones(C), 2)}
    memory, stored = (run(source, **options, records=records) for records in (None, tmp_path / "chosen"))
    assert_same(memory, stored)
    first = run(source, "fedbabu", rounds=2, seed=1, records=tmp_path / "first")
    longer = run(source, "fedbabu", rounds=4, resume=first, records=tmp_path / "longer")
    whole = run(source, "fedbabu", rounds=4, seed=1)
    assert_same(longer, whole)
    again = History.open(HistoryFiles(tmp_path / "longer"))
    jax.tree.map(np.testing.assert_array_equal, again.to_arrays(), whole.history.to_arrays())
    assert first.history.evaluations["finished"].tolist() == [False, True], "what was handed in stays as it is"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_records_where_something_is_are_refused(source, tmp_path, kind):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("")
    with pytest.raises(ValueError, match="records: expected a new folder or an empty one, found something at"):
        run(source, records=str(tmp_path / "there" / ("file" if kind == "file" else "")))
