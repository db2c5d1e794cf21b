"""``fedjax-layers report``, and the page that other commands write at their end."""

import argparse
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from fedjax_layers.cli.report import add_report, scores_in
from fedjax_layers.cli.status import Status
from tests.cli.command import assert_refused, cli
from tests.report.made_runs import made_comparison, made_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made_comparison(tmp_path_factory.mktemp("report") / "all", ("local", "fedavg"), (0,), rounds=1)


def test_the_page_of_a_folder_is_in_it(folder):
    outcome = cli("report", folder)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"Report: {folder / 'report.html'}, ")
    assert (folder / "report.html").read_text().startswith("<!doctype html>")


def test_the_page_of_several_folders_is_here(folder):
    other = made_run("other", "fedprox", rounds=1)
    assert cli("report", folder, other.path, "--quiet").out == "report.html\n"
    told = json.loads(cli("report", other.path, "--out", "named.html", "--json").out)
    assert told == {"file": "named.html", "bytes": Path("named.html").stat().st_size}
    assert "3 methods" in Path("report.html").read_text()


def test_bad_input_is_one_line(folder, tmp_path):
    assert_refused(cli("report", "nowhere"), "expected a run directory, found none at nowhere")
    assert_refused(cli("report", folder, "--rounds", 3), "expected no flags but its own, got '--rounds'")
    Path("notes.txt").write_text("mine")
    assert_refused(cli("report", folder, "--out", "notes.txt"), "expected a new file or an earlier report")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert_refused(cli("report", empty), "not a run directory")
    (empty / "config.json").write_text("{")
    assert_refused(cli("report", empty), "config.json")


def added(folder, *, report=True, scores=1):
    out = io.StringIO()
    console = Console(file=out, width=200, highlight=False)
    add_report(argparse.Namespace(status=Status(console), report=report), folder, scores)
    return out.getvalue()


def test_other_commands_write_it_unless_it_is_switched_off_or_takes_long(tmp_path):
    run = made_run(tmp_path / "run", rounds=1).path
    assert added(run, report=False) == ""
    assert added(run, scores=10**7) == f"For a report: fedjax-layers report {run}\n"
    assert not (run / "report.html").exists()
    assert added(run) == f"Report: {run / 'report.html'}\n"
    assert (run / "report.html").exists()
    assert scores_in({"clients": 10, "rounds": 50}, 20) == 30


def test_a_page_that_cannot_be_made_costs_a_line(tmp_path):
    run = made_run(tmp_path / "run", rounds=1).path
    (run / "clients.npz").write_text("nothing")
    (line,) = added(run).splitlines()
    assert line.startswith("No report: ")
    assert "clients.npz" in line
