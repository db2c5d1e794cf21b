"""What the arguments alone tell is refused before anything is loaded."""

import functools
import os
import subprocess
import sys

import pytest

from fedjax_layers.experiment.setup import prepare as setup
from tests.cli.command import assert_refused, cli, contents


@pytest.fixture(autouse=True)
def _nothing_is_loaded(monkeypatch):
    @functools.wraps(setup.data.load)  # its options stay known
    def loaded(*_, **__):
        raise AssertionError("the data were loaded")

    monkeypatch.setattr(setup.data, "load", loaded)


@pytest.mark.parametrize(
    "command", [["run", "fedavg"], ["compare"], ["sweep", "--vary", "threshold=1,2"], ["pretrain"]]
)
@pytest.mark.parametrize(
    ("out", "part"), [("full", "the folder is not empty"), ("file", "file"), ("file/in", "is a file")]
)
def test_a_place_that_is_taken(tmp_path, command, out, part):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("")
    (tmp_path / "file").write_text("")
    before = contents(tmp_path)
    assert_refused(cli(*command, "--out", tmp_path / out), str(tmp_path / out), part)
    assert contents(tmp_path) == before


def test_a_place_that_is_taken_by_other_commands(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "part").mkdir()
    assert_refused(cli("merge", tmp_path / "part", "--out", tmp_path / "file"), "expected a folder, found a file")
    assert_refused(cli("data", "show", "--save", tmp_path / "file" / "x.npz"), "--save: ", "is a file")
    assert_refused(cli("data", "show", "--plot", tmp_path / "part"), "--plot: expected a file at")
    assert_refused(cli("data", "prepare", "mnist", "--out", tmp_path / "file"), "--out: expected a folder at")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "theirs").mkdir(mode=0o555)
    for out in ("theirs", "theirs/new"):
        assert_refused(cli("run", "fedavg", "--out", tmp_path / out), "expected a folder that can be written")


@pytest.mark.parametrize("command", ["run fedavg", "compare fedavg,local", "sweep fedprox --vary mu=0,1"])
@pytest.mark.parametrize(
    ("flags", "part"),
    [
        ("--dataset digts", "did you mean 'digits'?"),
        ("--partition dirichle", "did you mean 'dirichlet'?"),
        ("--feature-shift blurr", "--feature-shift"),
        ("--init-from nowhere", "--init-from: expected a model's file or a run that saved one, found none at nowhere"),
        ("--partition-file nowhere.npz", "--partition-file: expected something at nowhere.npz, found nothing"),
        ("--data-dir nowhere", "--data-dir: expected something at nowhere, found nothing"),
        ("--drift class_swap@50", "drift: expected rounds below the run's 50, got 'class_swap@50'"),
        ("--drift clas_swap@5", "did you mean 'class_swap'?"),
        ("--drift class_swap@5,label_shift@5", "drift: expected rounds that go up from 1"),
    ],
)
def test_what_no_data_could_make_right(command, flags, part):
    assert_refused(cli(*command.split(), *flags.split()), part)


def test_a_refusal_waits_for_nothing_heavy(tmp_path):
    """Half of the time of a refusal was the import of what it did not need."""
    (tmp_path / "notes.txt").write_text("")
    heavy = ["orbax.checkpoint", "scipy.stats", "sklearn", "pandas", "pyarrow", "matplotlib", "tensorflow_datasets"]
    code = (
        "import sys; from fedjax_layers.cli import main; code = main(sys.argv[1:]); "
        f"print(code, [name for name in {heavy} if name in sys.modules])"
    )
    for command in (["run", "fedavg"], ["compare"]):
        line = [sys.executable, "-c", code, *command, "--out", str(tmp_path)]
        said = subprocess.run(line, capture_output=True, text=True, check=True).stdout
        assert said.splitlines()[-1] == "2 []", "before it a busy machine may say that it is starting"


def test_a_store_that_cannot_be_one_leaves_no_folder_behind(tmp_path):
    (tmp_path / "file").write_text("")
    flags = ["--on-host", "state", "--out", tmp_path / "run"]
    for store in (tmp_path / "file", tmp_path / "file" / "below"):
        said = cli("run", "fedper", *flags, "--store", store)
        assert_refused(said, "store: expected a folder", f"{tmp_path / 'file'} is a file")
    assert not (tmp_path / "run").exists()


def test_going_on_with_no_run_and_no_algorithm_begins_none(tmp_path):
    assert_refused(
        cli("run", "--out", tmp_path / "none", "--resume"), "--resume: expected a run in", "name an algorithm"
    )
    assert not (tmp_path / "none").exists()
