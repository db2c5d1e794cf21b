"""What runs is said while it runs."""

import io
import time

from rich.console import Console

from fedjax_layers.cli import status as status_module
from fedjax_layers.cli.progress import RoundsProgress
from fedjax_layers.cli.status import Status
from fedjax_layers.engine.history.history import History


def test_a_pipe_gets_a_line_again_and_again_until_it_ends(monkeypatch):
    monkeypatch.setattr(status_module, "BEAT_SECONDS", 0.2)
    out = io.StringIO()
    with Status(Console(file=out, width=80)) as status:
        status.say("measuring [bold]")
        time.sleep(1.3)
        status.say("compiling")
        time.sleep(0.4)
        status.stop()
        lines = out.getvalue().splitlines()
        time.sleep(0.4)
    assert out.getvalue().splitlines() == lines, "the table stays the last thing"
    assert lines.count("measuring [bold]") >= 2
    assert "measuring [bold] (1 s)" in lines, "since when, from a second on"
    assert lines[-1] == "compiling"


def test_what_is_quick_is_not_said():
    out = io.StringIO()
    with Status(Console(file=out, width=80)) as status:
        status.say("loading")
    assert out.getvalue() == ""


def test_a_long_run_prints_ever_less_often(monkeypatch):
    monkeypatch.setattr(status_module, "BEAT_SECONDS", 0.1)
    out = io.StringIO()
    status = Status(Console(file=out, width=80))
    status._started -= 3600 * 10  # ten hours ago
    with status:
        time.sleep(0.5)
    assert out.getvalue() == ""


def test_the_last_round_is_a_line():
    out = io.StringIO()
    status = Status(Console(file=out, width=80))
    progress = RoundsProgress(status, "fedavg, seed 1", 2)
    progress(1, History())
    assert out.getvalue() == ""
    progress(2, History())
    assert out.getvalue().startswith("fedavg, seed 1: round 2 of 2, ")
