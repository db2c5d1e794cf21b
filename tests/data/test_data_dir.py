"""Where data files are looked for."""

import pytest

from fedjax_layers.data import DATA_DIR_VARIABLE, resolve_data_dir


def test_data_dir_is_argument_then_variable_then_tfds(tmp_path, monkeypatch):
    for name in ("argument", "variable", "tfds"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path / "variable"))
    assert resolve_data_dir(tmp_path / "argument") == tmp_path / "argument"
    assert resolve_data_dir() == tmp_path / "variable"
    monkeypatch.delenv(DATA_DIR_VARIABLE)
    assert resolve_data_dir() == tmp_path / "tfds"
    with pytest.raises(FileNotFoundError, match=r"data_dir: expected an existing folder, found none at .*/nowhere"):
        resolve_data_dir(tmp_path / "nowhere")
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError, match=f"{DATA_DIR_VARIABLE}: expected an existing folder"):
        resolve_data_dir()


def test_the_users_folder_is_spelled_out(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    assert resolve_data_dir("~/data") == tmp_path / "data"
    monkeypatch.setenv(DATA_DIR_VARIABLE, "~/data")
    assert resolve_data_dir() == tmp_path / "data"


def test_without_any_name_it_is_the_folder_of_tfds(tmp_path, monkeypatch):
    """Which need not exist: what is inside the package can be loaded all the same."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(DATA_DIR_VARIABLE, "")
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    assert resolve_data_dir() == tmp_path / "tensorflow_datasets"
    assert not resolve_data_dir().exists()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match="data_dir: expected an existing folder") as error:
        resolve_data_dir(tmp_path / "file")
    assert "\n" not in str(error.value)
