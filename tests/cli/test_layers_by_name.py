"""``run fixed_sharing --shared ...``: one layer, several, none, and one that the model does not have."""

import pytest

from fedjax_layers.experiment.records.run_directory import RunDirectory
from tests.cli.command import SMALL, assert_refused, cli

RUN = ("run", "fixed_sharing", *SMALL, "--rounds", 1, "--hidden", "6,5", "--out", "run")


@pytest.mark.parametrize(("flag", "shared"), [("Dense_1", ["Dense_1"]), ("Dense_2,Dense_0", ["Dense_0", "Dense_2"])])
def test_the_layers_named_are_the_ones_that_are_uploaded(flag, shared):
    outcome = cli(*RUN, "--shared", flag)
    assert outcome.code == 0, outcome.err
    summary = RunDirectory("run").read("summary")
    assert summary["layers"] == ["Dense_0", "Dense_1", "Dense_2"]
    assert summary["shared_layers"] == shared
    entries = {"Dense_0": 10 * 6 + 6, "Dense_1": 6 * 5 + 5, "Dense_2": 5 * 5 + 5}
    assert summary["bytes_up"] == 4 * 4 * sum(entries[layer] for layer in shared)


def test_an_unknown_layer_and_none_at_all_are_refused_before_anything_is_written(tmp_path):
    assert_refused(cli(*RUN, "--shared", "Dense_3"), "shared", "Dense_0, Dense_1, Dense_2", "did you mean 'Dense_")
    assert_refused(cli(*RUN), "shared: expected names of layers, of Dense_0, Dense_1, Dense_2, got none")
    assert not (tmp_path / "run").exists()
