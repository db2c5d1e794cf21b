import os
from pathlib import Path

import pytest

from fedjax_layers.data import DATA_DIR_VARIABLE

DATA = os.environ.get(DATA_DIR_VARIABLE)  # read before the tests lose it


@pytest.fixture
def data_dir():
    """The folder of real data sets, to be named by a flag."""
    if not DATA:
        pytest.skip(f"{DATA_DIR_VARIABLE} names no data folder")
    return Path(DATA)


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch, tmp_path):
    """A folder of its own and no data folder; a slow machine prints no other lines than a fast one."""
    monkeypatch.setattr("fedjax_layers.cli.status.BEAT_SECONDS", float("inf"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(DATA_DIR_VARIABLE, raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
