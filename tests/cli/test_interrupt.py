"""Ctrl-C: a run stops after its interval and goes on where it stopped."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from rich.console import Console

from fedjax_layers.cli import run as run_command
from fedjax_layers.cli.interrupt import graceful_interrupt
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.storage import locked
from tests.cli.command import SMALL, assert_refused, cli

ROUNDS = 400
RUN = f"run player_fl --dataset heart --rounds {ROUNDS} --cohort 3 --client-width all --batch-size 128"


def start(*arguments, programs=None):
    """A process of the command; ``programs``: a folder in which those of one test keep all compiled ones."""
    code = "import sys; from fedjax_layers.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    if programs is not None:
        environment |= {"JAX_ENABLE_COMPILATION_CACHE": "true", "JAX_COMPILATION_CACHE_DIR": str(programs)}
        environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for_lines(path, number, process):
    deadline = time.monotonic() + 120
    while not path.exists() or path.read_bytes().count(b"\n") < number:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that got no signal; its compiled programs are in the folder beside it."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    process = start(*RUN.split(), "--out", folder / "whole", programs=folder / "programs")
    assert process.communicate(timeout=300)[1] == ""
    assert process.returncode == 0
    return folder / "whole"


@pytest.mark.slow
def test_a_run_that_got_a_real_sigint_ends_as_one_that_got_none(whole, tmp_path):
    part = start(*RUN.split(), "--out", tmp_path / "part", programs=whole.with_name("programs"))
    wait_for_lines(tmp_path / "part" / "rounds.jsonl", 3, part)
    part.send_signal(signal.SIGINT)
    out, err = part.communicate(timeout=120)
    assert part.returncode == 130
    assert err == ""
    assert f"Stopped. To continue, repeat the command with --out {tmp_path / 'part'} --resume" in out
    done = len((tmp_path / "part" / "rounds.jsonl").read_text().splitlines())
    assert 3 <= done < ROUNDS
    assert not (tmp_path / "part" / "summary.json").exists()

    rest = start(*RUN.split(), "--out", tmp_path / "part", "--resume", programs=whole.with_name("programs"))
    assert rest.communicate(timeout=300)[1] == ""
    assert rest.returncode == 0
    one, other = RunDirectory(whole), RunDirectory(tmp_path / "part")
    assert [line["round"] for line in other.read_rounds()] == list(range(1, ROUNDS + 1))
    assert one.read_rounds() == other.read_rounds()
    for key in ("personal", "by_model_and_round", "cut", "layer_scores", "bytes_up", "bytes_down", "controls"):
        assert one.read("summary")[key] == other.read("summary")[key], key
    clients, again = one.read_clients(), other.read_clients()
    assert clients.keys() == again.keys()
    for name, values in clients.items():
        assert values.tobytes() == again[name].tobytes(), name


def test_an_interrupted_run_and_comparison_go_on(tmp_path, monkeypatch):
    """In this process: Ctrl-C while the first round is computed, then again with ``--resume``."""
    flags = "--dataset heart --rounds 3 --client-width all --batch-size 128 --evaluated-models trained --out there"
    append = RunDirectory.append_round

    def interrupted(self, record):
        append(self, record)
        if record["round"] == 1:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(RunDirectory, "append_round", interrupted)
    stopped = cli("compare", "local,fedavg", *flags.split())
    assert stopped.code == 130
    assert stopped.err == ""
    assert "Stopped. To continue, repeat the command with --out there --resume" in stopped.out
    lines = (tmp_path / "there" / "local" / "seed-0" / "rounds.jsonl").read_text().splitlines()
    # The signal came after the first round was shown: the second one tells it.
    assert [json.loads(line)["round"] for line in lines] == [1, 2]

    monkeypatch.setattr(RunDirectory, "append_round", append)
    rest = cli("compare", "local,fedavg", *flags.split(), "--resume")
    assert rest.code == 0
    for name in ("local", "fedavg"):
        run = RunDirectory(tmp_path / "there" / name / "seed-0")
        assert [line["round"] for line in run.read_rounds()] == [1, 2, 3]
        assert np.isfinite(run.read_clients()["trained/best/test/macro_f1"]).all()


def test_an_interruption_before_the_first_round_is_one_line(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_command, "command", interrupted)
    outcome = cli("run", "fedavg")
    assert (outcome.code, outcome.out, outcome.err) == (130, "", "fedjax-layers: interrupted\n")


def test_ctrl_c_before_the_first_round_ends_is_one_line_and_the_folder_goes_on(tmp_path, monkeypatch):
    """A signal that comes while the start is compiled, when there is nothing to save."""
    command = ["run", "local", *SMALL, "--model", "logistic_regression", "--out", tmp_path / "run"]

    def interrupted(*_):
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("fedjax_layers.experiment.run.start_state", interrupted)
        outcome = cli(*command)
    assert (outcome.code, outcome.err) == (130, "fedjax-layers: interrupted\n")
    assert cli(*command, "--resume").code == 0


def test_an_interrupted_process_does_not_wait_for_the_threads_of_its_libraries():
    """Threads that still compile at Python's own ending crash it, with another exit code."""
    code = "import sys, atexit; atexit.register(print, 'late'); from fedjax_layers import cli; "
    code += "cli._command = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt); sys.exit(cli.main())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "fedjax-layers: interrupted\n")


DEAF = """
import time
from rich.console import Console
from fedjax_layers.cli.interrupt import graceful_interrupt
class Deaf:
    def __del__(self):  # an exception ends here, as in a callback of a library
        print("ready", flush=True)
        time.sleep(60)
with graceful_interrupt(Console(), grace=0):
    Deaf()
    time.sleep(60)
"""


def test_a_process_that_goes_on_although_it_was_interrupted_is_ended():
    deaf = subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert deaf.stdout.readline() == "ready\n"
    deaf.send_signal(signal.SIGINT)
    assert deaf.communicate(timeout=20)[0] == "Stopped at once.\n"
    assert deaf.returncode == 130


def test_the_second_interruption_stops_at_once_and_the_handler_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    with graceful_interrupt(Console()) as interrupt:
        assert not interrupt.asked
        signal.raise_signal(signal.SIGINT)
        assert interrupt.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


BUSY = """
import hashlib, sys
from rich.console import Console
from fedjax_layers.cli.interrupt import graceful_interrupt
with graceful_interrupt(Console(), grace=int(sys.argv[1])):
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # one instruction that lets other threads run, as a compilation
"""


@pytest.mark.parametrize(("grace", "answers"), [(0, ["Stopped at once."]), (1, ["Stopping", "Stopped at once."])])
def test_an_interruption_is_answered_at_once_though_the_main_thread_does_not_hear_it(grace, answers):
    busy = subprocess.Popen([sys.executable, "-c", BUSY, str(grace)], stdout=subprocess.PIPE, text=True)
    overdue = threading.Timer(30, busy.kill)
    overdue.start()
    assert busy.stdout.readline() == "ready\n"
    for answer in answers:
        time.sleep(0.1)
        asked = time.monotonic()
        busy.send_signal(signal.SIGINT)
        assert busy.stdout.readline().startswith(answer)
        assert time.monotonic() - asked < 5
    assert busy.wait(10) == 130
    busy.stdout.close()
    overdue.cancel()


def test_a_signal_waits_for_imports_to_end():
    reached = []

    def importing():
        with graceful_interrupt(Console(), grace=0) as interrupt:
            with interrupt.held():
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
                reached.append("the end of the imports")
            reached.append("what follows")

    with pytest.raises(KeyboardInterrupt):
        importing()
    assert reached == ["the end of the imports"]


@pytest.fixture(params=["SIGTERM", "SIGHUP"])
def signal_as_usual(request):
    """A signal with its usual effect, also where these tests run under nohup."""
    number = getattr(signal, request.param)
    before = signal.signal(number, signal.SIG_DFL)
    yield number
    signal.signal(number, before)


def test_the_system_s_signals_ask_however_often_they_come_and_give_their_code(signal_as_usual):
    number, shown = signal_as_usual, Console(file=io.StringIO())
    with graceful_interrupt(shown) as interrupt:
        assert not interrupt.asked
        for _ in range(3):
            os.kill(os.getpid(), number)
        assert interrupt.asked
        assert interrupt.code == 128 + number
    assert shown.file.getvalue().count(signal.Signals(number).name) == 1
    assert signal.getsignal(number) == signal.SIG_DFL


def test_a_signal_that_nohup_ignores_stays_ignored(signal_as_usual):
    signal.signal(signal_as_usual, signal.SIG_IGN)
    with graceful_interrupt(Console(file=io.StringIO())) as interrupt:
        os.kill(os.getpid(), signal_as_usual)
        assert not interrupt.asked
    assert signal.getsignal(signal_as_usual) == signal.SIG_IGN


def test_a_run_beside_another_in_its_folder_is_refused_in_one_line(tmp_path):
    command = [*RUN.replace(str(ROUNDS), "1").split(), "--out", tmp_path / "run"]
    cli(*command)
    with locked(tmp_path / "run"):
        assert_refused(cli(*command, "--resume"), "expected no other run in this folder")


@pytest.mark.slow
def test_a_run_that_got_sigterm_saves_and_goes_on_to_the_same_numbers(whole, tmp_path):
    part = start(*RUN.split(), "--out", tmp_path / "part", programs=whole.with_name("programs"))
    wait_for_lines(tmp_path / "part" / "rounds.jsonl", 3, part)
    part.send_signal(signal.SIGTERM)
    out, err = part.communicate(timeout=120)
    assert (part.returncode, err) == (143, "")
    assert "since the system asks for it (SIGTERM)" in out
    rest = start(*RUN.split(), "--out", tmp_path / "part", "--resume", programs=whole.with_name("programs"))
    assert rest.communicate(timeout=300)[1] == ""
    assert RunDirectory(whole).read_rounds() == RunDirectory(tmp_path / "part").read_rounds()
