"""The run directory: what is written, read back, refused and repaired."""

import dataclasses
import enum
import json
import pathlib
import subprocess
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers.experiment.records import environment
from fedjax_layers.experiment.records.run_directory import RunDirectory, first_difference, to_json
from fedjax_layers.storage import StorageError

CONFIG = {"algorithm": "fedavg", "seed": 0, "model": {"name": "cnn", "width": 32}, "rates": (0.1, 0.2)}


class Kind(enum.StrEnum):
    DIRICHLET = "dirichlet"


@dataclasses.dataclass(frozen=True)
class Config:
    alpha: float
    kind: Kind


def strict_load(text):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run", CONFIG)


# Making and resuming


def test_create_writes_the_config_in_its_order(tmp_path):
    run = RunDirectory.create(tmp_path / "a" / "run", CONFIG)
    text = (run.path / "config.json").read_text()
    assert list(json.loads(text)) == list(CONFIG)
    assert '\n  "seed": 0,' in text
    assert run.read("config") == {**CONFIG, "rates": [0.1, 0.2]}
    assert run.checkpoints == run.path / "checkpoints"


def test_create_refuses_a_folder_in_use_and_leaves_it_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty") as caught:
        RunDirectory.create(tmp_path, CONFIG)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_create_refuses_a_file_and_a_folder_that_is_no_run(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="found a file"):
        RunDirectory.create(tmp_path / "file", CONFIG)
    with pytest.raises(ValueError, match=r"no config\.json"):
        RunDirectory.create(tmp_path, CONFIG, resume=True)
    with pytest.raises(ValueError, match=r"no config\.json"):
        RunDirectory(tmp_path)


def test_create_takes_an_empty_folder_and_one_with_a_killed_write(tmp_path):
    RunDirectory.create(tmp_path, CONFIG).path.joinpath("config.json").unlink()
    (tmp_path / ".config.json.123.tmp").write_text('{"alg')
    assert RunDirectory.create(tmp_path, CONFIG).read("config")["seed"] == 0


def test_resume_takes_an_equal_config_and_starts_where_there_is_none(tmp_path):
    RunDirectory.create(tmp_path / "run", CONFIG, resume=True).append_round({"round": 1})
    again = RunDirectory.create(tmp_path / "run", CONFIG, resume=True)
    assert again.read_rounds() == [{"round": 1}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "field 'seed' differs: the run has 0, this config 1"),
        ({"rates": (0.1, 0.3)}, "field 'rates' differs"),
        (
            {"model": {"name": "cnn", "width": 64}},
            "field 'model.width' differs: the run has 32, this config 64",
        ),
        ({"model": {"name": "mlp", "width": 64}}, "field 'model.name' differs"),
        ({"model": None}, "field 'model' differs"),
        ({"extra": None}, "field 'extra' differs: the run has nothing, this config None"),
    ],
)
def test_resume_names_the_first_field_that_differs(run, change, message):
    with pytest.raises(ValueError, match="cannot resume") as caught:
        RunDirectory.create(run.path, {**CONFIG, **change}, resume=True)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_resume_names_a_field_that_the_new_config_lacks(run):
    config = {name: value for name, value in CONFIG.items() if name != "seed"}
    with pytest.raises(ValueError, match="'seed' differs: the run has 0, this config nothing"):
        RunDirectory.create(run.path, config, resume=True)


def test_a_dataclass_config_round_trips_to_equality(tmp_path):
    config = Config(alpha=float("inf"), kind=Kind.DIRICHLET)
    RunDirectory.create(tmp_path, config)
    assert RunDirectory.create(tmp_path, config, resume=True).read("config") == {
        "alpha": None,
        "kind": "dirichlet",
    }
    assert first_difference({}, {}) is None


# Rounds


def test_rounds_are_one_line_each_with_null_for_nan(run):
    run.append_round({"round": 1, "loss": float("nan"), "per_layer": np.array([1.5, np.inf])})
    run.append_round({"round": np.int64(3), "loss": jnp.float32(0.25)})
    lines = (run.path / "rounds.jsonl").read_text().splitlines()
    assert [strict_load(line) for line in lines] == run.read_rounds()
    assert run.read_rounds() == [
        {"round": 1, "loss": None, "per_layer": [1.5, None]},
        {"round": 3, "loss": 0.25},
    ]


@pytest.mark.parametrize("number", [2, 1, None, 2.5, True])
def test_append_refuses_a_round_that_does_not_follow(run, number):
    run.append_round({"round": 2})
    for opened in (run, RunDirectory(run.path)):  # one remembers the last round, one has to look it up
        with pytest.raises(ValueError, match="round"):
            opened.append_round({"round": number})
    assert run.read_rounds() == [{"round": 2}]


def test_append_refuses_a_truth_value_for_the_first_round(run):
    with pytest.raises(ValueError, match="expected an integer"):
        run.append_round({"round": True})


def test_rounds_are_rewritten_where_they_are_not_those_of_the_history(run):
    for number in (2, 4, 6):
        run.append_round({"round": number, "loss": 1.0})
    resumed = RunDirectory.create(run.path, CONFIG, resume=True)
    before = (run.path / "rounds.jsonl").stat().st_ino
    resumed.restore_rounds(run.read_rounds())
    assert (run.path / "rounds.jsonl").stat().st_ino == before
    resumed.restore_rounds(run.read_rounds()[:2])
    resumed.append_round({"round": 6, "loss": 2.0})
    assert [(line["round"], line["loss"]) for line in resumed.read_rounds()] == [(2, 1.0), (4, 1.0), (6, 2.0)]
    resumed.restore_rounds([])
    resumed.append_round({"round": 0})
    assert resumed.read_rounds() == [{"round": 0}]


def test_a_line_cut_short_is_not_read_and_goes_on_resuming(run):
    run.append_round({"round": 1})
    with (run.path / "rounds.jsonl").open("ab") as file:
        file.write('{"round": 2, "name": "ü'.encode()[:-1])  # in the middle of a character
    assert run.read_rounds() == [{"round": 1}]
    resumed = RunDirectory.create(run.path, CONFIG, resume=True)
    resumed.append_round({"round": 2})
    assert (run.path / "rounds.jsonl").read_text() == '{"round": 1}\n{"round": 2}\n'


def test_a_damaged_whole_line_is_an_error(run):
    (run.path / "rounds.jsonl").write_text('{"round": 1\n{"round": 2}\n')
    with pytest.raises(StorageError, match=r"rounds.jsonl: expected a JSON object in each line, found none in line 1"):
        run.read_rounds()
    run.restore_rounds([{"round": 1}])
    assert run.read_rounds() == [{"round": 1}]


def test_no_rounds_make_no_file(run):
    run.restore_rounds([])
    assert run.read_rounds() == []
    assert not (run.path / "rounds.jsonl").exists()


# Arrays, summary and manifest


def test_clients_round_trip_without_pickle(run):
    arrays = {
        "personal/accuracy": np.array([0.5, np.nan, 1.0]),
        "count": jnp.arange(3),
        "file": np.ones((2, 3), bool),
        "names": ["a", "bc", "d"],
    }
    run.write_clients(arrays)
    found = run.read_clients()
    assert list(found) == list(arrays)
    for name, values in arrays.items():
        np.testing.assert_array_equal(found[name], np.asarray(values))
        assert found[name].dtype == np.asarray(values).dtype
    with zipfile.ZipFile(run.path / "clients.npz") as box:
        assert box.testzip() is None


def test_a_refused_array_leaves_the_old_file_and_no_other(run):
    run.write_clients({"accuracy": np.ones(2)})
    with pytest.raises(ValueError, match="ragged: expected numbers"):
        run.write_clients({"accuracy": np.zeros(2), "ragged": np.array([None, [1]], object)})
    np.testing.assert_array_equal(run.read_clients()["accuracy"], [1, 1])
    assert sorted(path.name for path in run.path.iterdir()) == ["clients.npz", "config.json"]


def test_summary_is_strict_json_and_replaced_whole(run):
    run.write_summary({"personal": {"loss": {"mean": float("nan")}}, "team": None, "clients": np.int32(3)})
    before = (run.path / "summary.json").read_text()
    assert strict_load(before) == {"personal": {"loss": {"mean": None}}, "team": None, "clients": 3}
    with pytest.raises(TypeError, match="set"):
        run.write_summary({"layers": {1, 2}})
    assert (run.path / "summary.json").read_text() == before


def test_a_reader_of_the_old_file_is_not_disturbed(run):
    run.write_summary({"rounds": 1})
    with (run.path / "summary.json").open() as reader:
        run.write_summary({"rounds": 22})
        assert strict_load(reader.read()) == {"rounds": 1}
    assert run.read("summary") == {"rounds": 22}


def test_manifest_tells_what_the_run_stood_on(run):
    run.write_manifest({"width": 4, "how": "measured"}, "abc123", partition="dirichlet")
    found = strict_load((run.path / "manifest.json").read_text())
    assert found["client_axis"] == {"width": 4, "how": "measured"}
    assert found["partition_hash"] == "abc123"
    assert found["partition"] == "dirichlet"
    assert found["versions"]["jax"] == jax.__version__
    assert found["versions"]["numpy"] == np.__version__
    assert found["versions"]["python"] == "{}.{}.{}".format(*sys.version_info)
    assert found["devices"]["count"] == jax.device_count()
    assert found["jax_settings"]["default_prng_impl"] == "threefry2x32"
    assert found["jax_settings"]["threefry_partitionable"] is jax.config.jax_threefry_partitionable
    assert "earlier" not in found


def test_a_resumed_run_keeps_its_earlier_manifests(run):
    for width in (1, 2, 3):
        found = run.write_manifest({"width": width}, None)
    assert found == run.read("manifest")
    assert found["client_axis"] == {"width": 3}
    assert [one["client_axis"]["width"] for one in found["earlier"]] == [1, 2]
    assert all("earlier" not in one for one in found["earlier"])


def git(folder, *command):
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", folder, *who, *command], capture_output=True, check=True, text=True)
    return done.stdout.strip()


def test_the_commit_is_that_of_a_checkout_which_tracks_the_file(tmp_path):
    tracked, stray = tmp_path / "tracked.py", tmp_path / "stray.py"
    tracked.write_text("one")
    stray.write_text("installed into somebody else's checkout")
    assert environment._git_commit(tracked) == (None, None)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "tracked.py")
    git(tmp_path, "commit", "-q", "-m", "one")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert environment._git_commit(tracked) == (head, False)
    assert environment._git_commit(stray) == (None, None)
    tracked.write_text("two")
    assert environment._git_commit(tracked) == (head, True)


def test_without_git_there_is_no_commit(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.environment()["commit"] is None


def test_a_package_that_is_not_there_has_no_version(monkeypatch):
    monkeypatch.setattr(environment, "PACKAGES", ("no-such-package-at-all",))
    assert environment.environment()["versions"]["no-such-package-at-all"] is None


# Memory and JSON


def test_to_json_keeps_types_and_order():
    value = {
        "path": pathlib.Path("a") / "b",
        "flag": np.bool_(True),
        2: (1, 2.5, None, "x"),
        "zero": jnp.zeros(()),
        "negative": -np.inf,
    }
    found = to_json(value)
    assert found == {"path": "a/b", "flag": True, "2": [1, 2.5, None, "x"], "zero": 0.0, "negative": None}
    assert list(found) == ["path", "flag", "2", "zero", "negative"]
    assert found["flag"] is True
    with pytest.raises(TypeError, match="function"):
        to_json({"a": [to_json]})
