"""Runs whose data or state stay on the host end with the numbers of ordinary runs."""

import contextlib
import dataclasses
import functools
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import algorithms, data
from fedjax_layers.clients import Setting
from fedjax_layers.engine.checkpoint import Checkpoints
from fedjax_layers.engine.device_data import to_device
from fedjax_layers.engine.on_host import programs
from fedjax_layers.engine.on_host import run as host_run
from fedjax_layers.engine.on_host.examples import Examples
from fedjax_layers.engine.plan import Plan
from fedjax_layers.engine.sampling import fixed, power_of_choice, uniform
from fedjax_layers.engine.simulate import make_inputs, simulate
from fedjax_layers.experiment.unseen import adapted_scores
from fedjax_layers.ops import ClientAxis
from fedjax_layers.storage import StorageError
from fedjax_layers.types import Pool, Ranges
from tests import toy

TASK = toy.make_task(jnp.float32)
C = toy.CLIENTS
BOTH = ("data", "state")
NO_STORE = "^store: expected a folder in which [0-9,]+ bytes can be written, got "


@functools.cache
def build(name):
    return lambda hyper: algorithms.registry[name](toy.make_trainer(TASK, learning_rate=0.1, keep_optimizer=True))


def ordinary():
    """The toy clients, each with a few examples of its own to be scored on."""
    source = toy.make_federation(toy.make_pool(dtype=np.float32))
    apart = Ranges(jnp.asarray([2], jnp.int32), jnp.asarray([5], jnp.int32))
    val = source.train._replace(count=source.train.count - 1)
    return dataclasses.replace(source, val=val, global_test=apart, largest=(*source.largest[:3], 5))


def on_host():
    source = ordinary()
    return dataclasses.replace(source, pool=Pool(*map(np.asarray, source.pool)))


def run(name, where=(), **options):
    source = on_host() if "data" in where else ordinary()
    return simulate(
        build(name), TASK, source, **({"rounds": 3, "eval_every": 2, "axis": ClientAxis(2)} | options), on_host=where
    )


def assert_like(found, expected, rtol=2e-5):
    """Equal up to the order of sums."""

    def close(a, b):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rtol, atol=1e-6)

    jax.tree.map(close, found.state, expected.state)
    jax.tree.map(close, found.models, expected.models)
    jax.tree.map(close, found.history.to_arrays(), expected.history.to_arrays())


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    """Evaluations go over the five clients in three parts of two, of which the last reaches back."""
    monkeypatch.setattr(host_run, "_PART_BYTES", 1)


BEYOND = ("pfedla", "heurpfedla", "layer_mix", "fedfomo", "pfedhn")
OTHER_MODELS = ("fedbn", "fixed_sharing", "fedit", "ffa_lora", "fedsa_lora")  # need a model, or an option, of their own
AS_THOSE = {  # whose state and passes over clients are those of another one, asked in its place
    "fedprox": "fedavg",
    "lg_fedavg": "fedper",
    "local_adaptation": "fedbabu",
    "random_layers": "fedtlu",
    "last_layers": "fedtlu",
    "l2gd": "al2gd",
    "hsgd": "permfl",
}
SELDOM = sorted({*algorithms.registry} - {"player_fl", *BEYOND, *OTHER_MODELS, *AS_THOSE})


@pytest.mark.parametrize("name", ["player_fl", *(pytest.param(name, marks=pytest.mark.slow) for name in SELDOM)])
def test_a_run_on_the_host_ends_as_the_ordinary_one(name):
    sampling = uniform(3, C)
    assert_like(run(name, BOTH, sampling=sampling), run(name, sampling=sampling))


@pytest.mark.parametrize(
    ("where", "sampling"),
    [(("data",), fixed(np.array([3, -1, 1]), C)), (("state",), None)],
    ids=["data, an empty slot", "state, everyone"],
)
def test_data_or_state_alone_may_be_on_the_host(where, sampling):
    assert_like(run("fedper", where, sampling=sampling), run("fedper", sampling=sampling))


def test_the_data_may_change_and_the_cohort_be_chosen_from_the_scores():
    def changing(source):
        """From round 1 on every client has the first half of its examples."""
        half = lambda r: Ranges(jnp.stack([r.start] * 2), jnp.stack([r.count, (r.count + 1) // 2]))  # noqa: E731
        ranges = {split: half(getattr(source, split)) for split in ("train", "val", "test")}
        return dataclasses.replace(source, **ranges, since=jnp.asarray([0, 1], jnp.int32))

    options = {"rounds": 3, "select": power_of_choice(toy.COUNTS, 2)}
    found = simulate(build("fedavg"), TASK, changing(on_host()), **options, on_host=BOTH)
    assert_like(found, simulate(build("fedavg"), TASK, changing(ordinary()), **options))


@pytest.fixture(scope="module")
def first():
    """Two rounds on the host; clients 1 and 4 never take part."""
    return run("permfl", BOTH, rounds=2, sampling=fixed(np.array([3, 0, 2]), C))


def test_a_run_goes_on_from_the_host_and_what_was_handed_in_stays(first, tmp_path):
    before = jax.tree.map(np.array, first.state)
    longer = run("permfl", BOTH, rounds=4, resume=first, store=tmp_path)
    chex.assert_trees_all_equal(jax.tree.map(np.asarray, first.state), before)
    stay_on_device = run("permfl", rounds=4, resume=first)
    assert_like(longer, stay_on_device)
    assert isinstance(jax.tree.leaves(longer.state.clients)[0], np.memmap)
    assert not list(tmp_path.iterdir()), "the files have no names, and go with the process"


def test_clients_that_never_took_part_adapt_as_in_the_ordinary_run(first):
    unseen = ~np.isin(np.arange(C), [3, 0, 2])

    def adapted(source, where):
        plan = Plan(TASK, 2, ClientAxis(2), on_host=where)
        inputs = make_inputs(source, hyper=None, seed=0, sampling=None, weights=None)
        return adapted_scores(build("permfl"), plan, inputs, first.state, first.history, unseen)

    found, expected = adapted(on_host(), BOTH), adapted(ordinary(), ())
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), found, expected)


def test_a_round_sees_the_rows_and_examples_of_its_cohort_alone(monkeypatch):
    seen, play_round = [], programs.play_round

    def spy(build, plan, frame, state, *others):
        seen.append((jax.tree.leaves(state.clients)[0].shape, others[2].pool.inputs.shape))
        return play_round(build, plan, frame, state, *others)

    monkeypatch.setattr(programs, "play_round", spy)
    run("permfl", BOTH, rounds=2, sampling=fixed(np.array([3, 0, 2]), C), evaluated_models=("served",))
    largest = int(np.sort(toy.COUNTS)[-3:].sum())
    assert [(rows[0], examples[0]) for rows, examples in seen] == [(3, largest)] * 2


def test_the_start_is_never_there_for_all_clients_at_once():
    """A million clients' rows are made a few at a time, by a program that holds no more."""
    task = toy.make_task(jnp.float32)
    trainer = dataclasses.replace(toy.make_trainer(task, keep_optimizer=True), num_clients=10**6)
    fedper = algorithms.fedper(trainer)
    setting, given = Setting(task, 10**6, 1), ((), jax.random.key(0), task.init(jax.random.key(1)), jnp.int32(0))
    program = programs.first_rows.compiled(lambda _: fedper, Plan(task, 1, on_host=BOTH), setting, 8, *given)
    memory = program.memory_analysis()
    assert memory.temp_size_in_bytes + memory.output_size_in_bytes < 10**5


def test_a_checkpoint_fills_the_arrays_that_are_there(first, tmp_path):
    with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
        checkpoints.save(2, first.state)
        like = jax.tree.map(lambda x: np.zeros_like(x) if isinstance(x, np.ndarray) else x, first.state)
        _, restored = checkpoints.restore(like)
    chex.assert_trees_all_equal(jax.tree.map(np.asarray, restored), jax.tree.map(np.asarray, first.state))
    assert jax.tree.leaves(restored.clients)[0] is jax.tree.leaves(like.clients)[0]


def test_examples_are_read_from_the_file_that_they_lie_in(tmp_path):
    clients = data.load("digits", clients=6, alpha=0.5)
    np.save(tmp_path / "inputs.npy", clients.inputs)
    mapped = np.load(tmp_path / "inputs.npy", mmap_mode="r")
    source = to_device(dataclasses.replace(clients, inputs=mapped), on_host=True)
    assert np.shares_memory(source.pool.inputs, mapped)
    pool, (train, test) = Examples(source, ClientAxis()).bring(np.array([4, 1]), 0, ("train", "test"))
    for slot, client in enumerate((4, 1)):
        for split, ranges in (("train", train), ("test", test)):
            rows = slice(ranges.start[slot], ranges.start[slot] + ranges.count[slot])
            np.testing.assert_array_equal(pool.inputs[rows], clients.inputs[clients.rows(client, split)])
            np.testing.assert_array_equal(pool.labels[rows], clients.labels[clients.rows(client, split)])


def test_what_cannot_stay_on_the_host_is_refused_in_a_line(tmp_path):
    for name in BEYOND:
        with pytest.raises(ValueError, match=r"^on_host: expected no state for this algorithm, where .*, got state$"):
            run(name, ("state",))
    with pytest.raises(ValueError, match=r"^on_host: expected data, state or both, got models$"):
        run("fedper", ("models",))
    with pytest.raises(ValueError, match=r"^on_host: expected data that are not on the device yet"):
        simulate(build("fedper"), TASK, ordinary(), rounds=1, on_host=("data",))
    with pytest.raises(ValueError, match=r"^store: expected none without a state on the host, got here$"):
        run("fedper", ("data",), store="here")
    (tmp_path / "file").touch()
    with pytest.raises(
        StorageError, match=r"^store: expected a folder in which [0-9,]+ bytes can be written, got .*file"
    ):
        run("fedper", ("state",), store=tmp_path / "file")


def test_a_store_that_is_full_is_refused_before_a_file_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(StorageError, match=NO_STORE + ".*: there is less room$"):
        run("fedper", ("state",), store=tmp_path)
    assert not list(tmp_path.iterdir())
