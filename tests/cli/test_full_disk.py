"""A disk that is full, or cannot be written any more: one line, and the run goes on from what was written before."""

import errno
import os
import shutil

import numpy as np
import pytest
from pyarrow import parquet
from safetensors import SafetensorError

from fedjax_layers import ops, storage
from fedjax_layers.engine import checkpoint
from fedjax_layers.experiment.records import run_directory as records
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.experiment.records.saved_models import save_models
from fedjax_layers.models import params_file
from fedjax_layers.storage import StorageError
from fedjax_layers.types import Models
from tests.cli.command import SMALL, cli
from tests.cli.test_resume import assert_same

FLAGS = ["local_adaptation", *SMALL, "--rounds", "4", "--model", "logistic_regression"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert cli("run", *FLAGS, "--out", folder).code == 0
    return folder


def failing(function, call, number):
    """The function, which fails at a call and from then on, as the system would."""
    calls = []

    def wrapped(*arguments, **options):
        calls.append(arguments)
        if len(calls) >= call:
            raise OSError(number, os.strerror(number))
        return function(*arguments, **options)

    return wrapped


# What fails, at which of its calls, how; the file named, and the rounds of the newest checkpoint.
FAILURES = {
    "the clients' scores": (parquet, "write_table", 8, errno.ENOSPC, "history/clients/000000002-000000003.parquet", 2),
    "read-only all at once": (parquet, "write_table", 4, errno.EROFS, "history/rounds/000000001-000000002.parquet", 1),
    "the last phase's scores": (parquet, "write_table", 13, errno.ENOSPC, "history/clients/000000004-000000005", 4),
    "a line": (storage, "_text", 3, errno.ENOSPC, "rounds.jsonl", 2),
    "the results": (records.np.lib.format, "write_array", 2, errno.EDQUOT, "clients.npz", 4),
}


@pytest.mark.parametrize("case", FAILURES)
def test_it_is_one_line_and_the_run_goes_on_to_the_same_end(whole, tmp_path, monkeypatch, case):
    owner, name, call, number, path, saved = FAILURES[case]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, failing(getattr(owner, name), call, number))
        outcome = cli("run", *FLAGS, "--save-every", 0, "--out", tmp_path / "run")
    assert outcome.code == 2
    (line,) = (line for line in outcome.err.splitlines() if line.startswith("fedjax-layers:"))
    assert "Traceback" not in outcome.err + outcome.out
    for part in (str(tmp_path / "run" / path), os.strerror(number), "what was written before is kept"):
        assert part in line
    assert checkpoint.saved_rounds(tmp_path / "run" / "checkpoints") == saved
    assert not list(tmp_path.rglob(".*.tmp"))
    assert cli("run", "--out", tmp_path / "run", "--resume").code == 0
    assert_same(whole, tmp_path / "run")


def test_no_room_for_a_checkpoint_is_seen_before_it_is_begun(whole, tmp_path, monkeypatch):
    """The writer's own threads would fill the screen."""
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 5, 5))
        outcome = cli("run", *FLAGS, "--out", tmp_path / "run")
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith(
        f"fedjax-layers: {tmp_path / 'run' / 'checkpoints'}: cannot be written: "
    )
    assert "5 are free" in outcome.err
    assert RunDirectory(tmp_path / "run").read_rounds()
    assert cli("run", "--out", tmp_path / "run", "--resume").code == 0
    assert_same(whole, tmp_path / "run")


def test_records_that_are_gone_are_one_line(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "history" / "clients")
    before = (tmp_path / "run" / "summary.json").read_bytes()
    outcome = cli("run", "--out", tmp_path / "run", "--resume")
    assert outcome.code == 2
    assert "expected the records of 4 rounds" in outcome.err.splitlines()[-1]
    assert (tmp_path / "run" / "summary.json").read_bytes() == before


def test_a_model_that_cannot_be_saved_is_one_line_and_leaves_no_part(tmp_path, monkeypatch):
    def full(*_):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(params_file, "save_file", full)
    params = {"dense": {"w": np.ones(3)}}
    with pytest.raises(StorageError, match=r"model.safetensors: cannot be written: No space left on device; what was"):
        save_models(tmp_path, Models(global_model=params), None, ops.layer_map(params))
    assert list(tmp_path.iterdir()) == []


def test_a_comparison_that_could_not_save_a_model_saves_it_when_it_is_resumed(tmp_path, monkeypatch):
    """Its run counts as finished once there is a summary, which therefore comes last."""
    line = ("compare", "local", *SMALL, "--model", "logistic_regression", "--save-model", "--out", tmp_path / "all")
    with monkeypatch.context() as patch:
        patch.setattr(params_file, "save_file", failing(params_file.save_file, 1, errno.ENOSPC))
        outcome = cli(*line)
    assert (outcome.code, outcome.out.count("Traceback")) == (2, 0)
    assert cli(*line, "--resume").code == 0
    assert (tmp_path / "all" / "local" / "seed-0" / "personal.safetensors").is_file()
