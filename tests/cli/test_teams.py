"""Teams on the command line: flags, the line under the table, warnings of unstable coefficients."""

import warnings

import numpy as np
import pytest

from fedjax_layers.data.partitions import consecutive_teams
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.run_directory import RunDirectory
from tests.cli.command import cli
from tests.cli.test_bad_input import assert_refused

DIGITS = "--dataset digits --model logistic_regression --clients 8 --rounds 1 --client-width all --batch-size 128"
TEAMS = f"{DIGITS} --team-rounds 2"


@pytest.fixture(scope="module")
def two_level(tmp_path_factory):
    """A finished run on a partition's three teams, where PerMFL would make four: its folder and what was printed."""
    folder = tmp_path_factory.mktemp("teams") / "run"
    flags = "--partition two_level --teams 3 --team-alpha 0.3 --client-participation 0.5"
    return folder, cli("run", "permfl", *TEAMS.split(), *flags.split(), "--out", folder)


def test_a_run_uses_the_partitions_teams_and_tells_their_models(two_level):
    folder, outcome = two_level
    assert (outcome.code, outcome.err) == (0, "")
    assert "digits: 8 clients in 3 teams of 2 to 3, " in outcome.out
    run = RunDirectory(folder)
    summary = run.read("summary")
    assert (summary["teams"], summary["team_sizes"]) == (3, [3, 3, 2])
    assert run.read_clients()["team_of"].tolist() == consecutive_teams(8, 3).tolist()
    score = summary["team"]["macro_f1"]
    line = f"Team models of permfl, 3 teams: macro-F1 {score['mean']:.3f} ± {score['std']:.3f} over clients, accuracy "
    assert line in outcome.out


def test_going_on_with_a_finished_run_keeps_its_teams(two_level):
    folder, first = two_level
    flags = "--partition two_level --teams 3 --team-alpha 0.3 --client-participation 0.5"
    again = cli("run", "permfl", *TEAMS.split(), *flags.split(), "--out", folder, "--resume")
    assert again.code == 0
    assert next(line for line in first.out.splitlines() if line.startswith("Team models")) in again.out


@pytest.mark.slow
def test_a_comparison_gives_teams_to_those_that_have_some(tmp_path):
    flags = "--team-formation by_labels --distance total_variation --size-ratio 1 --permfl.num-teams 2"
    outcome = cli("compare", "fedavg,permfl", *DIGITS.split(), *flags.split(), "--out", tmp_path / "c")
    assert (outcome.code, outcome.err) == (0, "")
    read = [RunDirectory(tmp_path / "c" / name / "seed-0") for name in ("fedavg", "permfl")]
    configs = [run.read("config") for run in read]
    assert [c["team_formation"] for c in configs] == [None, "by_labels"]
    asked = [RunConfig.from_mapping(c).team_options for c in configs]
    assert asked == [{}, {"distance": "total_variation", "size_ratio": 1.0}]
    assert [run.read("summary")["team_sizes"] for run in read] == [None, [4, 4]]
    assert "Team models of permfl, 2 teams: macro-F1" in outcome.out
    assert "Team models of fedavg" not in outcome.out


def test_unstable_coefficients_are_one_line_and_the_run_goes_on(tmp_path):
    """Warnings are errors in tests, and nobody catches this one but the command line."""
    outcome = cli("run", "permfl", *TEAMS.split(), "--beta", 3, "--out", tmp_path / "run")
    assert outcome.code == 0
    (line,) = outcome.err.splitlines()
    assert line.startswith("warning: permfl: the server ")
    assert line.endswith("got 3.5")
    assert np.isfinite(RunDirectory(tmp_path / "run").read("summary")["team"]["accuracy"]["mean"])


def test_other_warnings_follow_the_filters_and_nothing_is_left_changed(monkeypatch):
    from fedjax_layers.cli import doctor  # noqa: PLC0415

    def noisy(_):
        warnings.warn("first\nsecond", DeprecationWarning, stacklevel=1)

    monkeypatch.setattr(doctor, "command", noisy)
    before = warnings.showwarning
    with pytest.raises(DeprecationWarning, match="first"):  # pytest's filter: errors
        cli("doctor")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert cli("doctor").err == "warning: first second\n"
    assert warnings.showwarning is before


BAD = [
    (f"run permfl {TEAMS} --team-formation by_label", "--team-formation: ", "did you mean 'by_labels'?"),
    (f"run fedavg {DIGITS} --team-formation by_labels", "--team-formation: ", "none for fedavg, which has no teams"),
    (f"compare fedavg,local {DIGITS} --team-formation by_labels", "--team-formation: ", "none for fedavg"),
    (f"compare fedavg,permfl {DIGITS} --team-formation by_label", "--team-formation: ", "did you mean 'by_labels'?"),
    (f"run permfl {TEAMS} --team-of 0,1,x", "--team-of: ", "expected whole numbers separated by commas, got '0,1,x'"),
    (f"run permfl {TEAMS} --team-of 0,1,0", "--team-of: ", "expected an integer for each of 8 clients"),
    (f"run permfl {TEAMS} --team-of 0,1,0,1,0,1,0,5", "--team-of: ", "got none in team 2"),
    (f"run permfl {TEAMS} --distance hellinger", "--distance: ", "an option of team formations by_labels and hierarch"),
    (f"run permfl {TEAMS} --team-formation by_labels --distanc hellinger", "flag: ", "did you mean '--distance'?"),
    (f"run permfl {TEAMS} --team-formation average_case --overlap 2", "overlap: ", "expected a share in [0, 1], got 2"),
    (f"run permfl {TEAMS} --num-teams 9", "--num-teams: ", "expected 1..8, the number of clients, got 9"),
    (f"run permfl {TEAMS} --partition two_level --teams 2 --num-teams 4", "--num-teams: ", "the partition's 2 teams"),
    (
        f"run permfl {TEAMS} --client-participation 1.5",
        "--client-participation: ",
        "expected more than 0 and at most 1, got 1.5",
    ),
]


@pytest.mark.parametrize(("line", "names", "tells"), BAD, ids=[line for line, *_ in BAD])
def test_bad_teams_are_one_line_and_leave_nothing(line, names, tells, tmp_path):
    assert_refused(cli(*line.split()), names, tells)
    assert list(tmp_path.iterdir()) == []
