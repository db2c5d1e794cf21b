"""``--dp-noise``: epsilon beside the result, and the refusal of runs in which it would be wrong."""

import numpy as np
import pytest

from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.sweeps.results import SweepFolder, rank
from tests.cli.command import SMALL, cli

UNIFORM = ("--dp-noise", 1, "--weighting", "uniform")
PRIVATE = (*SMALL, "--dp-noise", 2, "--weighting", "uniform")


def classical(noise, rounds, delta):
    """Epsilon by Mironov 2017: RDP of Gaussian noise, composed and converted by the first formula."""
    orders = np.linspace(1.01, 200, 20_000)
    return (rounds * orders / (2 * noise**2) + np.log(1 / delta) / (orders - 1)).min()


def test_epsilon_is_printed_and_recorded(tmp_path):
    outcome = cli("run", "fedper", *PRIVATE, "--dp-clip", 0.5, "--dp-delta", 1e-3, "--out", tmp_path / "a")
    assert outcome.code == 0, outcome.err
    told = RunDirectory(tmp_path / "a").read("summary")["privacy"]
    bound = classical(2, 2, 1e-3)
    assert 0.6 * bound < told["epsilon"] <= bound
    assert f"Privacy of a client: epsilon {told['epsilon']:.3g} at delta 1.0e-03" in outcome.out


def test_a_cohort_has_the_neighbours_of_its_sampling(tmp_path):
    outcome = cli("run", "fedavg", *PRIVATE, "--cohort", 2, "--out", tmp_path / "a")
    assert outcome.code == 0, outcome.err
    told = RunDirectory(tmp_path / "a").read("summary")["privacy"]
    assert told["adjacency"] == "replace one"
    assert told["delta"] == pytest.approx(4**-1.1)
    assert 0 < told["epsilon"] <= classical(1, 2, told["delta"])  # sampling only helps


def test_an_adapted_bound_works_with_few_clients_and_with_one_that_adapts_at_the_end(tmp_path):
    outcome = cli("run", "fedper", *PRIVATE, "--dp-quantile", 0.5, "--unseen", 1, "--out", tmp_path / "a")
    assert outcome.code == 0, outcome.err


def test_what_sends_nothing_is_compared_without_privacy(tmp_path):
    outcome = cli("compare", "local,fedavg", *PRIVATE, "--dp-clip", 0.5, "--out", tmp_path / "c")
    assert outcome.code == 0, outcome.err
    told = [RunDirectory(tmp_path / "c" / n / "seed-0").read("summary")["privacy"] for n in ("local", "fedavg")]
    assert told[0] is None
    assert told[1]["noise"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("fedavg", "--dp-noise", 1),
            "--dp-noise: expected --weighting uniform, as all clients must count alike",
        ),
        (
            ("player_fl", "--dp-noise", 1, "--weighting", "uniform"),
            "--dp-noise: expected an algorithm whose clients",
        ),
        (
            ("permfl", "--dp-noise", 1, "--weighting", "uniform"),
            "--dp-noise: expected an algorithm whose server",
        ),
        (
            ("fedavg", "--dp-noise", 1, "--weighting", "uniform", "--aggregate", "coordinate_median"),
            "--dp-noise: expected the mean",
        ),
        (("fedavg", "--dp-clip", 1), "--dp-clip: "),
        (("local", "--dp-noise", 1), "--dp-noise: expected none for local, whose clients send nothing"),
    ],
)
def test_a_run_that_would_break_the_promise_is_refused(arguments, message, tmp_path):
    outcome = cli("run", *arguments, *SMALL, "--out", tmp_path / "a")
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def test_every_row_of_a_sweep_has_its_epsilon(tmp_path):
    flags = ("--weighting", "uniform", "--dp-noise", 2, "--dp-delta", 1e-3, "--model", "logistic_regression")
    outcome = cli("sweep", "fedavg", *SMALL, *flags, "--vary", "dp-clip=0.5,1", "--out", tmp_path / "s")
    assert outcome.code == 0, outcome.err
    for row in SweepFolder(tmp_path / "s").ordered_rows:
        assert 0.6 * classical(2, 2, 1e-3) < row["epsilon"] <= classical(2, 2, 1e-3)
        assert row["delta"] == 1e-3
        assert outcome.out.count(f"{row['epsilon']:.3g}") == 2, "one in each row"
    assert "epsilon: the privacy of a client" in outcome.out


def test_the_epsilon_of_a_setting_is_the_largest_of_its_seeds():
    scores = {"personal/val/macro_f1": 0.5, "personal/test/macro_f1": 0.5, "rounds": 2, "why": "finished"}
    private = [{"mu": 1, "epsilon": 2.0, **scores}, {"mu": 1, "epsilon": 3.0, **scores}]
    without_noise = [{"mu": 2, "epsilon": 2.0, **scores}, {"mu": 2, "epsilon": None, **scores}]
    assert [line["epsilon"] for line in rank([*private, *without_noise], ["mu"])] == [3.0, None]
    assert "epsilon" not in rank([{"mu": 1, **scores}], ["mu"])[0]
