"""What runs is said while it runs."""

import io
import time

import pytest
from rich.console import Console

from fedjax_layers.cli import status as status_module
from fedjax_layers.cli.interrupt import Interrupt
from fedjax_layers.cli.progress import RoundsProgress, SweepProgress, spoken_seconds
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


def test_between_evaluations_the_rounds_are_counted_with_the_latest_score():
    out = io.StringIO()
    status = Status(Console(file=out, width=80))
    progress = RoundsProgress(status, "fedavg, seed 1", 1000)
    progress.at(100)
    assert status._text == "fedavg, seed 1: round 100 of 1000, compiled"
    progress._started -= 10
    progress._latest = "validation macro-F1 0.500"
    progress.at(150)
    assert status._text == "fedavg, seed 1: round 150 of 1000, 5.0 rounds/s, 2.8 min left, validation macro-F1 0.500"


def test_a_sweep_shows_its_rate_and_the_best_score_so_far():
    status = Status(Console(file=io.StringIO(), width=80))
    progress = SweepProgress(status, 10, 5, Interrupt(status.console))
    progress._started -= 100
    progress.finished([{"personal/val/perplexity": x} for x in (9.0, None, 4.0, float("nan"))])
    progress.finished([{"personal/val/perplexity": 7.0}])
    assert status._text == "5 of 10 runs, 100 s, 20 s a run, 100 s left, best validation perplexity 4.000"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "0.2 s"), (119, "119 s"), (150, "2.5 min"), (7100, "118 min"), (90_000, "25 h")]
)
def test_times_have_a_fitting_unit(seconds, text):
    assert spoken_seconds(seconds) == text
