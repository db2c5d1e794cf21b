"""Folders in PFLlib's layout, whose files hold pickled dictionaries: refused, and converted by a command."""

import os
import pickle
import re
import shutil

import numpy as np
import pytest

from fedjax_layers.cli import main
from fedjax_layers.data import load_dataset
from fedjax_layers.data.sources.own.pfllib import convert as converting
from fedjax_layers.data.sources.own.pfllib.convert import convert

X = np.arange(2 * 5 * 3 * 4 * 4, dtype=np.float32).reshape(2, 5, 3, 4, 4)


def write(path, data):
    """Write a file as PFLlib does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        np.savez_compressed(stream, data=data)


@pytest.fixture
def tree(tmp_path):
    """Two clients with five pictures each, channels first, as PFLlib writes them; three are for training."""
    for client in range(2):
        y = np.arange(5) % 2 + client
        write(tmp_path / "MNIST" / "train" / f"{client}.npz", {"x": X[client, :3], "y": y[:3]})
        write(tmp_path / "MNIST" / "test" / f"{client}.npz", {"x": X[client, 3:], "y": y[3:]})
    (tmp_path / "MNIST" / "config.json").write_text("{}")
    return tmp_path / "MNIST"


@pytest.mark.parametrize(("reader", "file"), [("client_folder", ""), ("own", ""), ("npz", "train/0.npz")])
def test_it_is_refused_with_the_command_that_converts_it(tree, reader, file):
    with pytest.raises(ValueError, match=re.escape(f"fedjax-layers data convert {tree} --out NEW_FOLDER")) as caught:
        load_dataset(reader, path=str(tree / file))
    assert "\n" not in str(caught.value)


def test_plain_files_of_such_names_are_not_called_pickled(tree):
    for path in (tree / "train").iterdir():
        np.savez(path, x=X[0, :, 0], y=np.arange(5) % 2)
    assert len(load_dataset("npz", path=str(tree / "train" / "0.npz"))) == 5
    with pytest.raises(ValueError, match=r"expected a folder for each client, found the file config\.json"):
        load_dataset("client_folder", path=str(tree))


def test_the_command_makes_a_folder_that_is_read(tree, tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    assert main(["data", "convert", str(tree), "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "2 clients, train 6, test 4 examples of float32 [4, 4, 3]" in told
    assert f"--dataset client_folder --path {out}" in told
    data = load_dataset("client_folder", path=str(out))
    assert data.client_names == ("0", "1")
    np.testing.assert_array_equal(data.inputs[:6], np.moveaxis(X[:, :3].reshape(6, 3, 4, 4), 1, 3))
    np.testing.assert_array_equal(data.inputs[6:], np.moveaxis(X[:, 3:].reshape(4, 3, 4, 4), 1, 3))
    assert data.labels.tolist() == [0, 1, 0, 1, 2, 1, 1, 0, 2, 1]
    assert data.official_test.tolist() == [False] * 6 + [True] * 4
    assert sorted(os.listdir(tmp_path / "new")) == ["folder"]
    assert main(["data", "convert", str(tree), "--out", str(out)]) == 2  # nothing is replaced
    assert "--out: expected a new folder" in capsys.readouterr().err


def test_without_a_test_part(tree, tmp_path):
    shutil.rmtree(tree / "test")
    convert(tree, tmp_path / "out")
    data = load_dataset("client_folder", path=str(tmp_path / "out"))
    assert len(data) == 6
    assert data.official_test is None


@pytest.fixture(scope="module")
def child():
    with converting._child() as one:
        yield one


def ask(child, content, tmp_path):
    """Convert the bytes of a pickle, or any object, behind the header of an array of objects."""
    content = content if isinstance(content, bytes) else pickle.dumps(content)
    header = str({"descr": "|O", "fortran_order": False, "shape": ()}).ljust(117) + "\n"
    whole = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + content
    result = converting._asked(child, tmp_path / "own.npz", whole)
    (tmp_path / "own.npz").write_bytes(result)
    with np.load(tmp_path / "own.npz", allow_pickle=False) as box:
        return box["x"], box["y"]


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize(
    "x",
    [
        np.arange(6, dtype=np.float32).reshape(3, 2),
        np.asfortranarray(np.arange(6).reshape(3, 2)),
        np.arange(6, dtype=">i2").reshape(3, 2),
        np.array([[True, False]] * 3),
        [[1, 2], [3, 4], [5, 6]],
        [np.arange(2.0), np.arange(2.0), np.ones(2)],
    ],
)
def test_arrays_of_every_kind_come_out_as_they_were(child, tmp_path, x, protocol):
    found, y = ask(child, pickle.dumps({"x": x, "y": [0, 1, 2]}, protocol), tmp_path)
    np.testing.assert_array_equal(found, np.array(x))
    assert y.tolist() == [0, 1, 2]


def test_rows_of_objects_and_scalars_become_numbers(child, tmp_path):
    x = np.empty(2, object)
    x[:] = [np.arange(3), np.arange(3) + 1]
    found, y = ask(child, {"x": x, "y": [np.int64(4), np.int64(5)]}, tmp_path)
    assert found.tolist() == [[0, 1, 2], [1, 2, 3]]
    assert y.tolist() == [4, 5]


class Hostile:
    """An object whose pickle calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile(function, *arguments):
    return {"x": Hostile(function, *arguments), "y": [0]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (hostile(os.system, "touch {mark}"), "the name 'posix.system', which no array needs"),
        (hostile(eval, "open('{mark}', 'w')"), "the name 'builtins.eval', which no array needs"),
        (hostile(getattr, "text", "upper"), "the name 'builtins.getattr'"),
        (hostile(np.save, "{mark}", 1), "which no array needs"),
        (b"cnumpy\nload\n(S'/etc/passwd'\ntR.", "the name 'numpy.load', which no array needs"),
        (b"cnumpy\ndtype.__init__\n.", "the name 'numpy.dtype.__init__', which no array needs"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0ectypeslib.load\x93.", "the name 'numpy.ctypeslib.load', which no array needs"),
        (b"Pxyz\n.", "a reference to something outside"),
        ({"x": np.zeros((2, 2)), "y": {1: 2}}, "a value of type 'dict'"),
        ({"x": np.zeros((2, 2))}, "expected a dictionary of the arrays x and y, found x"),
        ([1, 2], "found list"),
        ({"x": np.zeros((2, 2)), "y": np.zeros(3)}, r"found x float64 \[2, 2\] and y float64 \[3\]"),
        ({"x": [[1, 2], [3]], "y": [0, 1]}, "entries of different shapes"),
        ({"x": np.zeros(2, "i4,f4"), "y": [0, 1]}, "an array of type 'V8'"),
        ({"x": np.zeros(2, "M8[s]"), "y": [0, 1]}, "an array of type 'M8"),
        (b"\x80\x04junk", "a damaged one"),
    ],
)
def test_nothing_else_is_loaded_and_nothing_runs(child, tmp_path, content, message):
    mark = tmp_path / "mark"
    if isinstance(content, dict) and isinstance(content.get("x"), Hostile):
        function, arguments = content["x"].call
        content = hostile(function, *(str(a).format(mark=mark) if isinstance(a, str) else a for a in arguments))
    with pytest.raises(ValueError, match=message) as caught:
        ask(child, content, tmp_path)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def laughs():
    """Lists of the same list, ten times each: a pickle of two hundred bytes with ten to the eighth numbers."""
    lists = [1.0] * 10
    for _ in range(7):
        lists = [lists] * 10
    return lists


@pytest.mark.parametrize(
    ("limit", "most", "x", "message"),
    [
        ("_MEMORY", 2**26, [np.zeros(2**17)] * 200, "more than the memory that it may take"),
        ("_SECONDS", 1, laughs(), "one that takes more than 1.07 GB and 1 seconds"),
    ],
)
def test_memory_and_time_are_limited(tmp_path, monkeypatch, limit, most, x, message):
    monkeypatch.setattr(converting, limit, most)
    with converting._child() as child, pytest.raises(ValueError, match=message) as caught:
        ask(child, {"x": x, "y": [0]}, tmp_path)
    assert "\n" not in str(caught.value)


def damaged(tree):
    (tree / "train" / "1.npz").write_bytes((tree / "train" / "1.npz").read_bytes()[:-30])


def other_shape(tree):
    write(tree / "test" / "1.npz", {"x": np.zeros((2, 5)), "y": np.zeros(2)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damaged, "train/1.npz: expected a complete zip archive, found a broken one"),
        (other_shape, r"test/1.npz, x: expected entries float32 \[4, 4, 3\] as in .*0.npz, found float64 \[5\]"),
        (lambda tree: np.savez(tree / "train" / "0.npz", x=X), "train/0.npz: expected an array data, found none"),
        (
            lambda tree: np.savez(tree / "train" / "0.npz", data=X),
            "expected a dictionary of the arrays x and y",
        ),
        (lambda tree: write(tree / "train" / "0.npz", hostile(os.system, "true")), "0.npz: .* the name 'posix.system'"),
        (lambda tree: (tree / "train" / "notes.txt").touch(), "train: expected files <client>.npz, found notes.txt"),
    ],
)
def test_a_folder_with_a_bad_file_is_not_converted(tree, tmp_path, change, message):
    change(tree)
    with pytest.raises(ValueError, match=message):
        convert(tree, tmp_path / "out")
    assert os.listdir(tmp_path) == ["MNIST"]
