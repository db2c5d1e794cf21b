"""``fedjax-layers doctor``."""

import jax
import pytest

from fedjax_layers.data import DATA_DIR_VARIABLE
from tests.cli.command import cli


@pytest.mark.slow
def test_it_tells_versions_devices_and_runs_a_round(monkeypatch, tmp_path):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path / "nowhere"))
    outcome = cli("doctor")
    assert outcome.code == 0
    assert outcome.err == ""
    lines = {line.split()[0]: line for line in outcome.out.splitlines()}
    assert jax.__version__ in lines["jax"]
    assert "8 × cpu" in lines["devices"]
    assert "(no such folder)" in lines[DATA_DIR_VARIABLE]
    assert "ran (1 of 1)" in lines["one"]
