import pytest

from fedjax_layers.data import DATA_DIR_VARIABLE


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch, tmp_path):
    """A folder of its own and no data folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(DATA_DIR_VARIABLE, raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
