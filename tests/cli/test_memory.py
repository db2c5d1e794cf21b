"""The memory of a run on the command line: told before it, and one line where it cannot fit."""

import pytest

from fedjax_layers.cli import run as run_command
from fedjax_layers.engine.memory import program as program_memory
from fedjax_layers.experiment.setup import foreseen
from tests.cli.command import assert_refused, cli

RUN = ["--dataset", "synthetic", "--clients", 30, "--max-samples", 60, "--model", "logistic_regression", "--rounds", 1]
MODEL = "model: expected one that fits into the free 400 MB, got 2.44 kB"


@pytest.fixture
def memory(monkeypatch):
    """A function that says how many bytes are free."""
    return lambda size: monkeypatch.setattr(foreseen, "free_memory", lambda: size)


@pytest.mark.parametrize(
    ("command", "size", "parts"),
    [
        ("run fedper --client-width 4", 400_300_000, ("clients: expected at most ", "state 9", "2.44 kB a client")),
        ("compare fedavg,local --client-width 1", 400_300_000, ("clients: expected at most ", "got 30 (data ")),
        ("run pfedla --client-width 1 --model mlp", 430_000_000, ("cohort: expected at most ", "stacked models ")),
        ("run fedavg --client-width 1", 400_000_000, (MODEL,)),
        ("sweep fedprox --vary mu=0.1,0.2 --client-width 1", 400_000_000, (MODEL,)),
    ],
)
def test_a_run_that_cannot_fit_is_one_line(memory, tmp_path, monkeypatch, command, size, parts):
    monkeypatch.chdir(tmp_path)
    memory(size)
    name, *rest = command.split()
    assert_refused(cli(name, *RUN, *rest, "--out", "there"), *parts)
    assert list(tmp_path.iterdir()) == []


def test_rounds_that_the_compiler_finds_too_large_are_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(program_memory, "free_memory", lambda: 1000)
    outcome = cli("run", "fedavg", *RUN, "--client-width", 2, "--out", tmp_path / "run")
    assert outcome.code == 2
    assert outcome.err.startswith("fedjax-layers: client_width: expected less, so that the compiled rounds fit into ")
    assert outcome.err.count("\n") == 1


def test_doctor_tells_the_memory_of_a_run_and_refuses_it_as_run_would(memory):
    memory(10**12)
    outcome = cli("doctor", "fedper", *RUN, "--client-width", 2)
    assert (outcome.code, outcome.err) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in outcome.out.splitlines() if len(line.split()) > 1)
    assert rows["memory"].endswith("for fedper on synthetic")
    assert "2.44 kB a client" in rows["state"]
    memory(1000)
    again = cli("doctor", "fedper", *RUN, "--client-width", 2)
    assert again.code == 2
    assert again.err.startswith("fedjax-layers: --model: expected one that fits")
    assert "state" in again.out
    assert_refused(cli("doctor", "fedpr", "--rounds", 2), "algorithm: ", "did you mean 'fedper'?")
    assert_refused(cli("doctor", "fedper", "--fast"), "flag: ", "got '--fast'")


def test_a_run_says_what_memory_it_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(run_command, "run_one", lambda *_, **__: None)
    outcome = cli("run", "fedper", *RUN, "--client-width", 2, "--out", tmp_path / "run")
    line = next(line for line in outcome.out.splitlines() if line.startswith("memory: "))
    assert "data 4" in line
    assert "2.44 kB a client" in line
