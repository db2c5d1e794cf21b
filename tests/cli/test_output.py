"""What a command prints for scripts: its folder alone, or one JSON object; and no colours where none are wanted."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fedjax_layers.cli import main
from fedjax_layers.cli.output import Output
from fedjax_layers.cli.status import Status
from fedjax_layers.experiment.records.run_directory import RunDirectory
from tests.cli.command import assert_refused, cli

ROOT = Path(__file__).parents[2]
TINY = ["--dataset", "heart", "--model", "logistic_regression", "--rounds", 1, "--client-width", "all"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run: its folder, and what was printed with ``--json``."""
    folder = tmp_path_factory.mktemp("runs") / "é b"
    return folder, cli("run", "fedavg", *TINY, "--json", "--out", folder)


def test_json_is_the_summary_alone_and_the_rest_goes_to_stderr(run):
    folder, outcome = run
    assert outcome.code == 0
    assert outcome.out.count("\n") == 1
    assert json.loads(outcome.out) == {"folder": str(folder), **RunDirectory(folder).read("summary")}
    assert "round 1 of 1" in outcome.err
    assert f"Run directory: {folder}" in outcome.err


def test_quiet_prints_the_folder_alone(run):
    folder, _ = run
    again = cli("run", "--out", folder, "--resume", "--quiet")
    assert (again.code, again.out, again.err) == (0, f"{folder}\n", "")


def test_quiet_still_prints_errors(run):
    folder, _ = run
    assert_refused(cli("run", "fedavg", *TINY, "--out", folder, "--quiet"), "the folder is not empty")
    assert_refused(cli("run", "fedavg", *TINY, "--out", folder, "--json"), "the folder is not empty")


def test_a_diverged_run_says_so_though_quiet(tmp_path):
    outcome = cli("run", "fedavg", *TINY, "--learning-rate", 1e30, "--out", tmp_path / "run", "--quiet")
    assert outcome.code == 3
    assert outcome.out == f"{tmp_path / 'run'}\n"
    (line,) = outcome.err.splitlines()
    assert line.startswith("fedjax-layers: fedavg, seed 0: diverged: ")


def test_the_clients_of_a_run_as_json(run):
    folder, _ = run
    found = json.loads(cli("inspect", folder, "--json").out)
    clients = RunDirectory(folder).read_clients()
    assert [one["client_names"] for one in found["clients"]] == clients["client_names"].tolist()
    assert found["clients"][1]["trained/best/test/loss"] == clients["trained/best/test/loss"][1]
    assert (found["scored_model"], found["scored_round"]) == ("trained", "best")
    assert_refused(cli("inspect", folder, "--json", "--csv"), "--csv")


def test_a_verdict_as_json_and_as_an_exit_code(run):
    folder, _ = run
    outcome = cli("verify", folder, "--json")
    found = json.loads(outcome.out)
    assert (outcome.code, found["same"], found["runs"][0]["rounds"]) == (0, True, 1)
    assert "repeats bit for bit" in outcome.err
    quiet = cli("verify", folder, "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_data_sets_and_a_split_as_json():
    found = {one["name"]: one for one in json.loads(cli("data", "list", "--json").out)["data_sets"]}
    assert (found["digits"]["classes"], found["digits"]["examples"]) == (10, 1797)
    assert found["heart"]["here"]["there"]
    split = json.loads(cli("data", "show", "heart", "--json").out)
    assert [one["name"] for one in split["clients"]] == ["cleveland", "hungarian", "switzerland", "va"]
    assert sum(map(sum, (one["strata"] for one in split["clients"]))) == 740
    assert len(split["partition_hash"]) == 64


def test_the_memory_of_a_run_as_json():
    found = json.loads(cli("doctor", "fedavg", "--dataset", "heart", "--json").out)
    assert found["memory"]["bytes"] > 0
    assert found["versions"]["jax"]


def test_a_command_without_the_flag_refuses_it():
    assert_refused(cli("data", "prepare", "digits", "--json"), "--json")


def test_warnings_are_no_errors(monkeypatch, recwarn):
    monkeypatch.setattr("fedjax_layers.cli._command", lambda *_: __import__("warnings").warn("told", stacklevel=1) or 0)
    assert cli("run").err == "warning: told\n"
    assert cli("run", "--quiet").err == ""


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7]|38;)")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize(("no_color", "colours"), [("", True), ("1", False)])
def test_no_color_is_honoured(monkeypatch, stream, no_color, colours):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    terminal = Terminal()
    monkeypatch.setattr(sys, stream, terminal)
    output = Output(json=stream == "stderr")
    with Status(output.console(), output) as status:
        status.show("fedavg", "a line", detail="1/2", done=1, total=2)
    assert "fedavg" in terminal.getvalue()
    assert bool(COLOUR.search(terminal.getvalue())) == colours


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stdout", Terminal())
    with Status(Output().console()) as status:
        status.show("fedavg", "a line", detail="1/2", done=1, total=2)
        status.print_line()
    assert sys.stdout.getvalue() == "a line\n"


def test_what_is_printed_at_the_end_reaches_stdout_from_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    terminal, out = Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", out)
    output = Output(json=True)
    with Status(output.console(), output) as status:
        status.say("working")
        status.print_result({"score": float("nan")}, Path("runs/a"))
    assert json.loads(out.getvalue()) == {"folder": "runs/a", "score": None}


def test_help_and_version_import_no_jax():
    code = "import sys; from fedjax_layers.cli import main; main(['--help']); main(['--version']); main([]);"
    code += "print([name for name in ('jax', 'numpy', 'flax', 'scipy') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.count("COMMAND ...") == 2
    assert found.stdout.endswith("[]\n")
    assert main(["--version"]) == 0
