"""Compiled programs are kept for the next start, by JAX."""

import json
import os
import subprocess
import sys

import pytest

from fedjax_layers.cli import compilation_cache
from tests.cli.command import SMALL, assert_refused, cli

FEDAVG = ["run", "fedavg", *SMALL, "--model", "logistic_regression"]


def start(cache, *arguments):
    code = "import sys; from fedjax_layers.cli import main; sys.exit(main(sys.argv[1:]))"
    environment = os.environ | {
        "JAX_ENABLE_COMPILATION_CACHE": "true",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_NUM_CPU_DEVICES": "2",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "FEDJAX_LAYERS_CACHE": str(cache),
    }
    del environment["JAX_COMPILATION_CACHE_DIR"]  # of the tests
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True)


def test_a_second_start_finds_the_programs_and_the_same_numbers(tmp_path):
    first, second = runs = [tmp_path / name for name in ("first", "second")]
    for run in runs:
        assert start(tmp_path / "cache", *FEDAVG, "--out", run).stderr == ""
    read = {name: [json.loads((run / f"{name}.json").read_text()) for run in runs] for name in ("manifest", "summary")}
    (kept,) = {manifest["compilation_cache"] for manifest in read["manifest"]}
    assert kept.startswith(str(tmp_path / "cache" / "compiled"))
    assert os.stat(kept).st_mode & 0o077 == 0, "nobody else may put programs there"
    before, after = (summary["compilations"] for summary in read["summary"])
    assert before > 0
    assert after == 0
    for name in ("rounds.jsonl", "clients.npz"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


@pytest.mark.slow
def test_damaged_programs_are_compiled_again_and_processes_share_the_folder(tmp_path):
    first = start(tmp_path / "cache", *FEDAVG, "--out", tmp_path / "first")
    assert first.stderr == ""
    for path in (tmp_path / "cache" / "compiled").rglob("*-cache"):
        path.write_bytes(path.read_bytes()[:-40])
    again = start(tmp_path / "cache", *FEDAVG, "--out", tmp_path / "again")
    assert "Error reading persistent compilation cache entry" in again.stderr
    assert "Traceback" not in again.stderr
    start(tmp_path / "cache", *FEDAVG, "--out", tmp_path / "off", "--compilation-cache", "off")
    assert json.loads((tmp_path / "off" / "manifest.json").read_text())["compilation_cache"] is None
    for name in ("rounds.jsonl", "clients.npz"):
        assert len({(tmp_path / run / name).read_bytes() for run in ("first", "again", "off")}) == 1, name


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    outcome = cli(*FEDAVG, "--compilation-cache", tmp_path / "file" / "in")
    assert_refused(outcome, "--compilation-cache: expected off or a folder that can be written")


def test_the_oldest_programs_go_first(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation_cache, "_MOST_BYTES", 100)
    for age in range(5):
        path = tmp_path / f"program-{age}"
        path.write_bytes(bytes(20))
        os.utime(path, (1000 - age, 1000 - age))
    compilation_cache._prune(tmp_path)
    assert len(list(tmp_path.iterdir())) == 5, "it is not too large yet"
    (tmp_path / "program-5").write_bytes(bytes(1))
    compilation_cache._prune(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"program-0", "program-1", "program-5"}
