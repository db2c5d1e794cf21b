"""Files appear whole or not at all, whoever writes them and whatever goes wrong."""

import ast
import errno
import os
import pathlib

import numpy as np
import pytest

import fedjax_layers
from fedjax_layers.models.params_file import save_params
from fedjax_layers.storage import JsonLines, StorageError, beside, locked, replacing


@pytest.fixture
def path(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    return tmp_path / "file"


def names(path):
    return [p.name for p in path.parent.iterdir()]


def test_a_file_takes_its_place_at_the_end_of_the_block(path):
    with beside(path) as unfinished:
        unfinished.write_bytes(b"new")
        assert path.read_bytes() == b"old"
        assert unfinished.name.startswith(".")  # what a killed process leaves is known by its name
        assert unfinished.suffix == ".tmp"
    assert path.read_bytes() == b"new"
    assert names(path) == ["file"]


def test_a_folder_takes_its_place_unless_there_is_one(tmp_path):
    with beside(tmp_path / "folder") as unfinished:
        unfinished.mkdir()
        (unfinished / "file").write_bytes(b"new")
        assert not (tmp_path / "folder").exists()
    assert (tmp_path / "folder" / "file").read_bytes() == b"new"

    def again():
        with beside(tmp_path / "folder") as unfinished:
            unfinished.mkdir()

    with pytest.raises(OSError, match="not empty"):
        again()
    assert names(tmp_path / "folder") == ["folder"]
    assert (tmp_path / "folder" / "file").read_bytes() == b"new"


@pytest.mark.parametrize("stop", [RuntimeError("out of paper"), KeyboardInterrupt()])
@pytest.mark.parametrize("writer", [beside, replacing])
def test_what_is_interrupted_changes_nothing(path, stop, writer):
    def write():
        with writer(path) as unfinished:
            (unfinished.write_bytes if writer is beside else unfinished.write)(b"half")
            raise stop

    with pytest.raises(type(stop)):
        write()
    assert path.read_bytes() == b"old"
    assert names(path) == ["file"]


def test_a_file_of_a_run_that_cannot_be_written_is_one_line(tmp_path):
    with (
        pytest.raises(StorageError, match=r"gone/file: cannot be written: No such file or directory; what was written"),
        replacing(tmp_path / "gone" / "file"),
    ):
        pass


def test_parameters_that_cannot_be_written_leave_the_old_ones(path):
    class Layers:
        leaf_paths = ("w", "w too many")

    with pytest.raises(ValueError, match="shorter"):
        save_params(path, {"w": np.zeros(3)}, Layers())
    assert path.read_bytes() == b"old"
    assert names(path) == ["file"]


def moves(tree):
    """Calls that move files: ``rename``, and ``replace`` of a path, which takes one argument alone."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute))
    return [
        call.func.attr
        for call in calls
        if call.func.attr == "rename" or (call.func.attr == "replace" and len(call.args) == 1 and not call.keywords)
    ]


def test_nobody_else_writes_beside_and_moves():
    package = pathlib.Path(fedjax_layers.__file__).parent
    found = {str(path.relative_to(package)): moves(ast.parse(path.read_text())) for path in package.rglob("*.py")}
    assert {path for path, calls in found.items() if calls} == {
        "storage.py",
        "data/tables/builders.py",  # what TFDS has written
        "data/sources/own/pfllib/convert.py",  # a folder that is converted as a whole
        "models/adapters/nnx.py",  # replaces a part of a module, no file
        "experiment/records/run_directory.py",  # a summary that is whole gives way to a later one
    }


def test_lines_are_read_in_their_order_by_whoever_opens_the_file(tmp_path):
    lines = JsonLines(tmp_path / "lines.jsonl")
    assert lines.read() == []
    lines.append([{"n": 1}, {"n": 2, "name": "ü"}])
    lines.append([{"n": 3}])
    assert [line["n"] for line in JsonLines(tmp_path / "lines.jsonl").read()] == [1, 2, 3]
    lines.rewrite([{"n": 4}])
    lines.append([{"n": 5}])
    assert (tmp_path / "lines.jsonl").read_text() == '{"n": 4}\n{"n": 5}\n'


@pytest.mark.parametrize("cut", [1, 4, 20])  # the newline alone, in the middle of a character, all but a byte
def test_a_last_line_that_was_cut_short_counts_for_nothing_and_goes_with_the_next_one(tmp_path, cut):
    path = tmp_path / "lines.jsonl"
    JsonLines(path).append([{"n": 1}, {"name": "xüyüü"}])
    torn = path.read_bytes()[:-cut]
    path.write_bytes(torn)
    assert JsonLines(path).read() == [{"n": 1}]
    assert path.read_bytes() == torn, "reading changes nothing: another process may be writing the line"
    lines = JsonLines(path)
    lines.append([{"n": 2}])
    lines.append([{"n": 3}])
    assert path.read_text() == '{"n": 1}\n{"n": 2}\n{"n": 3}\n'


def test_a_whole_line_that_is_no_json_is_told(tmp_path):
    (tmp_path / "lines.jsonl").write_text('{"n": 1\n{"n": 2}\n')
    with pytest.raises(StorageError, match=r"lines\.jsonl: expected a JSON object in each line, found none in line 1"):
        JsonLines(tmp_path / "lines.jsonl").read()


def test_lines_that_could_not_be_written_whole_are_taken_away_with_the_next_one(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "lines.jsonl"
    lines = JsonLines(path, sync=True)
    lines.append([{"n": 1}])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"lines\.jsonl: cannot be written: No space left on device; what was"):
            lines.append([{"n": 2}])
    path.write_bytes(path.read_bytes()[:-4])
    lines.append([{"n": 3}])
    assert path.read_text() == '{"n": 1}\n{"n": 3}\n'


def test_a_folder_is_one_process_s_until_it_lets_go(tmp_path):
    refused = pytest.raises(StorageError, match=f"{tmp_path}: expected no other run in this folder")
    with locked(tmp_path), refused, locked(tmp_path):
        raise AssertionError("two have it")
    with locked(tmp_path):
        pass
