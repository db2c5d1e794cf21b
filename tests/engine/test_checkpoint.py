"""Saving and going on: bit for bit, for every state there is, and after every kind of interruption."""

import contextlib
import gc
import json
import shutil
import warnings

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from fedjax_layers import algorithms
from fedjax_layers.engine.checkpoint import Checkpoints, saved_rounds
from fedjax_layers.experiment import run as running
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import prepare
from fedjax_layers.options import options_of
from tests import toy
from tests.counting import programs_of_its_own
from tests.registry import NEEDED, cases
from tests.rounds import task_of

TIMING = {"client_steps_per_second", "compile_seconds", "compilations", "wall_seconds", "peak_memory_bytes"}


def random_like(state):
    """Noise of the same shapes and dtypes, so that no leaf is equal to another or to a start."""
    rng = np.random.default_rng(0)
    noise = jax.tree.map(lambda x: jnp.asarray(rng.integers(0, 2, x.shape) + (rng.random(x.shape)), x.dtype), state)
    return jax.tree.map(lambda new, old: new if new.dtype == old.dtype else old, noise, state)


@pytest.mark.parametrize("full", [False, True], ids=["empty parts", "all parts"])
@pytest.mark.parametrize("name", cases(algorithms.registry))
def test_every_state_comes_back_bit_for_bit(tmp_path, name, full):
    task = task_of(name, jnp.float32)
    options = dict(NEEDED.get(name, {}))
    if full and "server_optimizer" in options_of(algorithms.registry[name]):
        options["server_optimizer"] = optax.adam(0.1)
    algorithm = algorithms.registry[name](toy.make_trainer(task, keep_optimizer=full), **options)
    start = algorithm.init(jax.random.key(0), task.init(jax.random.key(1)))
    state = random_like(start)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(2, state)
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path)
    done, found = checkpoints.restore(start)
    checkpoints.close()
    assert type(found) is type(state)
    chex.assert_trees_all_equal(state, found)
    chex.assert_trees_all_equal_dtypes(state, found)
    assert done == 2


def test_nothing_saved_is_none(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.restore({"a": jnp.zeros(2)}) is None
    checkpoints.close()


def test_the_newest_of_the_kept_ones_is_restored(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for t in (1, 2, 3):
        checkpoints.save(t, {"a": jnp.full(2, float(t))})
    done, state = checkpoints.restore({"a": jnp.zeros(2)})
    checkpoints.close()
    assert state["a"].tolist() == [3.0, 3.0]
    assert done == 3
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.isdigit()) == ["2", "3"]


def test_a_save_outlives_the_donation_of_its_state(tmp_path):
    """The next interval writes into the saved state's memory while the save is still being written."""
    step = jax.jit(lambda x: x + 1, donate_argnums=0)
    state = jnp.arange(2.0**20)
    expected = np.array(state)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"a": state})
    for _ in range(10):
        state = step(state)
    state.block_until_ready()
    _, found = checkpoints.restore({"a": jnp.zeros(2**20)})
    checkpoints.close()
    np.testing.assert_array_equal(found["a"], expected)


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"a": np.zeros(2), "sub": {"c": np.zeros(3)}}, "'sub/c'"),
        ({"a": np.zeros(2)}, "'sub/b'"),
        ({"a": np.zeros(3), "sub": {"b": np.zeros((5, 3))}}, r"expected shape \(3,\) at 'a', found \(2,\)"),
        ({"a": np.zeros(2), "sub": {"b": np.zeros((4, 3))}}, r"shape \(4, 3\) at 'sub/b', found \(5, 3\)"),
    ],
)
def test_another_tree_is_refused_by_its_first_path(tmp_path, like, message):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"a": jnp.zeros(2), "sub": {"b": jnp.zeros((5, 3))}})
    with pytest.raises(ValueError, match=message) as caught:
        checkpoints.restore(jax.tree.map(jnp.asarray, like))
    checkpoints.close()
    assert "\n" not in str(caught.value)


def config_of(algorithm, **changes):
    values = {"rounds": 4, "cohort": 3, "client_width": "all", "keep_optimizer": True, "batch_size": 128} | changes
    return RunConfig(algorithm=algorithm, dataset="heart", **values)


def run_into(folder, config, *, resume=False, **options):
    directory = RunDirectory.create(folder, config, resume=resume)
    return execute(prepare(config), directory, resume=resume, **options)


def results(folder):
    """Everything a run leaves that must not depend on interruptions."""
    directory = RunDirectory(folder)
    summary = {k: v for k, v in directory.read("summary").items() if k not in TIMING}
    return summary, (folder / "rounds.jsonl").read_text(), directory.read_clients()


def assert_same_results(one, other):
    (summary, lines, clients), (summary_b, lines_b, clients_b) = results(one), results(other)
    assert summary == summary_b
    assert lines == lines_b
    assert clients.keys() == clients_b.keys()
    for name, values in clients.items():
        assert values.tobytes() == clients_b[name].tobytes(), name


@pytest.mark.parametrize("algorithm", ["player_fl", pytest.param("local_adaptation", marks=pytest.mark.slow)])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path, algorithm):
    config = config_of(algorithm)
    run_into(tmp_path / "whole", config)
    summary, history = run_into(tmp_path / "parts", config, stop=lambda done: done == 2)
    assert summary == {}
    assert history.rounds_done == 2
    assert not (tmp_path / "parts" / "summary.json").exists()
    with programs_of_its_own():
        summary, _ = run_into(tmp_path / "parts", config, resume=True)
    assert summary["compilations"] == 0, "a resumed run must use the programs of the first part"
    assert_same_results(tmp_path / "whole", tmp_path / "parts")
    rounds = [json.loads(line)["round"] for line in (tmp_path / "parts" / "rounds.jsonl").read_text().splitlines()]
    assert rounds == [1, 2, 3, 4]
    assert len(RunDirectory(tmp_path / "parts").read("manifest")["earlier"]) == 1


def test_lines_past_the_newest_checkpoint_are_not_doubled(tmp_path, monkeypatch):
    """A killed run: rounds are on disk that no checkpoint has, and the last line is cut short."""
    monkeypatch.setattr(running, "SAVE_EVERY", 0.0)
    config = config_of("fedavg")
    run_into(tmp_path / "whole", config)

    def crash(done, _):
        if done == 4:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run_into(tmp_path / "parts", config, progress=crash)
    shutil.rmtree(tmp_path / "parts" / "checkpoints" / "3")
    with (tmp_path / "parts" / "rounds.jsonl").open("a") as file:
        file.write('{"round": 4, "train_l')
    run_into(tmp_path / "parts", config, resume=True)
    assert_same_results(tmp_path / "whole", tmp_path / "parts")


def test_resuming_a_run_without_checkpoint_starts_it_again(tmp_path):
    config = config_of("fedavg")
    run_into(tmp_path / "whole", config)
    run_into(tmp_path / "parts", config, stop=lambda _: True)
    shutil.rmtree(tmp_path / "parts" / "checkpoints")
    run_into(tmp_path / "parts", config, resume=True)
    assert_same_results(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("changes", [{}, {"patience": 1, "learning_rate": 1e30}], ids=["finished", "out of patience"])
def test_resuming_a_finished_run_changes_nothing(tmp_path, changes):
    """Patience ends the second one after its first evaluation: no loss is finite, which must not be an error."""
    config = config_of("fedavg", **changes)
    summary, _ = run_into(tmp_path / "run", config)
    assert summary["rounds"] == (1 if changes else 4)
    shutil.copytree(tmp_path / "run", tmp_path / "before")
    run_into(tmp_path / "run", config, resume=True)
    assert_same_results(tmp_path / "before", tmp_path / "run")


def test_patience_ends_a_run_after_fruitless_evaluations():
    config = config_of("local", learning_rate=1e-30, patience=2, rounds=6, cohort=None)
    summary, _ = execute(prepare(config))
    # Nothing is learnt, and no weight changes by a bit (a mean of equal models is rounded): the first evaluation is
    # the best, two more pass.
    assert summary["rounds"] == 3


@pytest.mark.parametrize("name", ["exp[1]", "[!x]", "a*b", "what?"])
def test_a_folder_whose_name_is_a_pattern_keeps_its_checkpoints(tmp_path, name):
    state = {"w": np.arange(3.0)}
    (tmp_path / "axb").mkdir()
    for _ in range(2):
        saved = Checkpoints(tmp_path / name)
        found = saved.restore(state)
        if found is None:
            saved.save(2, state)
        saved.close()
    assert found is not None
    assert found[0] == 2
    np.testing.assert_array_equal(found[1]["w"], state["w"])
    assert saved_rounds(tmp_path / name) == 2
    assert list((tmp_path / "axb").iterdir()) == []


# A read that fails leaves coroutines and tasks of Orbax's that nothing awaits.
LEFT_BY_ORBAX = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.fixture
def _collected():
    """What is left is found here, where it is expected, and not in a later test."""
    yield
    gc.collect()


def two_saves(folder):
    with contextlib.closing(Checkpoints(folder)) as checkpoints:
        for t in (1, 2):
            checkpoints.save(t, {"a": jnp.arange(64.0) + t, "count": jnp.int32(t)})


def restored(folder):
    with contextlib.closing(Checkpoints(folder)) as checkpoints:
        return checkpoints.restore({"a": jnp.zeros(64), "count": jnp.int32(0)})


@LEFT_BY_ORBAX
@pytest.mark.usefixtures("_collected")
def test_a_flipped_bit_anywhere_in_the_newest_checkpoint_changes_no_number(tmp_path):
    """The older checkpoint is taken, with a warning, where the newest one is damaged; never other numbers."""
    two_saves(tmp_path / "whole")
    names = sorted(p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole" / "2").rglob("*") if p.is_file())
    rng, fallen = np.random.default_rng(0), 0
    for number, name in enumerate(names):
        folder = tmp_path / str(number) / "checkpoints"
        shutil.copytree(tmp_path / "whole", folder)
        size = (folder / name).stat().st_size
        if not size:
            continue
        flip(folder / name, int(rng.integers(8 * size)))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            done, state = restored(folder)
        np.testing.assert_array_equal(state["a"], np.arange(64.0) + done)
        assert int(state["count"]) == done
        assert (done == 1) == any("checkpoint of round 2 is damaged" in str(w.message) for w in told)
        assert (done == 1) == (folder.parent / "damaged" / "2").is_dir()
        fallen += done == 1
    assert fallen > 0


@LEFT_BY_ORBAX
@pytest.mark.usefixtures("_collected")
def test_a_run_goes_on_from_the_older_checkpoint_and_saves_the_damaged_round_again(tmp_path):
    two_saves(tmp_path / "checkpoints")
    shutil.rmtree(tmp_path / "checkpoints" / "2" / "state")
    with pytest.warns(UserWarning, match=r"checkpoint of round 2 is damaged .*; continuing from round 1"):
        assert restored(tmp_path / "checkpoints")[0] == 1
    with contextlib.closing(Checkpoints(tmp_path / "checkpoints")) as checkpoints:
        checkpoints.save(2, {"a": jnp.zeros(64), "count": jnp.int32(7)})
    assert int(restored(tmp_path / "checkpoints")[1]["count"]) == 7


@LEFT_BY_ORBAX
@pytest.mark.usefixtures("_collected")
def test_an_empty_folder_among_the_checkpoints_is_none(tmp_path):
    two_saves(tmp_path / "checkpoints")
    (tmp_path / "checkpoints" / "999").mkdir()
    assert saved_rounds(tmp_path / "checkpoints") == 2
    with pytest.warns(UserWarning, match="checkpoint of round 999 is damaged .*; continuing from round 2"):
        assert restored(tmp_path / "checkpoints")[0] == 2


@LEFT_BY_ORBAX
@pytest.mark.usefixtures("_collected")
def test_without_an_undamaged_checkpoint_one_line_says_so(tmp_path):
    two_saves(tmp_path / "checkpoints")
    for step in "12":
        shutil.rmtree(tmp_path / "checkpoints" / step / "checksums")
    with pytest.raises(ValueError, match=r"checkpoint: expected an undamaged one in .*checkpoints, found none"):
        restored(tmp_path / "checkpoints")


def test_older_checkpoints_are_deleted_only_after_the_new_one_was_read_back(tmp_path, monkeypatch):
    """What is written otherwise than it was saved, as by a bad disk, is set aside, and the ones before stay."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    for t in (1, 2):
        checkpoints.save(t, {"a": jnp.full(2, float(t))})
    checkpoints._wait()
    saved = checkpoints._manager.save

    def spoilt(step, args):
        other = ocp.args.StandardSave({"a": jnp.full(2, 7.0)})
        return saved(step, args=ocp.args.Composite(state=other, checksums=args["checksums"]))

    monkeypatch.setattr(checkpoints._manager, "save", spoilt)
    checkpoints.save(3, {"a": jnp.full(2, 3.0)})
    with pytest.warns(
        UserWarning, match=r"the checkpoint of round 3 is damaged \(other checksums .* one before is kept"
    ):
        checkpoints._wait()
    monkeypatch.undo()
    assert checkpoints.restore({"a": jnp.zeros(2)})[0] == 2
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()) == ["1", "2"]
    for t in (4, 5):
        checkpoints.save(t, {"a": jnp.full(2, float(t))})
    checkpoints.close()
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit()) == ["4", "5"]
