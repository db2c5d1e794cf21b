"""SQLite files of TensorFlow Federated."""

import io
import lzma
import sqlite3

import numpy as np
import pytest
from PIL import Image

from fedjax_layers.data import load, load_dataset
from tests.data.sources import tff_files

ROWS = [
    *(("train", "f1", tff_files.example(label=[i % 3], pixels=[i / 8] * 16)) for i in range(4)),
    *(("test", "f0", tff_files.example(label=[i % 3], pixels=[i / 8] * 16)) for i in range(4, 6)),
    *(("train", "f0", tff_files.example(label=[i % 3], pixels=[i / 8] * 16)) for i in range(6, 9)),
]


def read(path, **options):
    return load_dataset("tff", path=str(path), **options)


@pytest.fixture
def emnist(tmp_path):
    """A file like ``emnist_all.sqlite``: square pictures of floats, two clients, two splits."""
    return tff_files.write_tff(tmp_path / "own.sqlite", ROWS)


def test_each_client_is_a_natural_client(emnist):
    data = read(emnist)
    assert data.inputs.shape == (9, 4, 4, 1)
    assert data.inputs.dtype == np.float32
    assert (data.inputs[:, 0, 0, 0] * 8).tolist() == [0, 1, 2, 3, 6, 7, 8, 4, 5]  # the split test comes last
    assert data.labels.tolist() == [0, 1, 2, 0, 0, 1, 2, 1, 2]
    assert data.class_names == ("0", "1", "2")
    assert data.client_names == ("f0", "f1")
    assert data.clients.tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0]
    assert data.official_test.tolist() == [False] * 7 + [True] * 2
    clients = load("tff", path=emnist, val_fraction=0.0)
    assert clients.sizes["test"][0] == 2  # a client's own; f1 has none, and gets a share of its other examples


def test_compressed_files_are_read_alike_and_nothing_is_left(emnist, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    for kind, suffix in ((lzma.FORMAT_ALONE, "lzma"), (lzma.FORMAT_XZ, "xz")):
        packed = tmp_path / f"own.sqlite.{suffix}"
        packed.write_bytes(lzma.compress(emnist.read_bytes(), format=kind))
        np.testing.assert_array_equal(read(packed).inputs, read(emnist).inputs)
        packed.write_bytes(packed.read_bytes()[:-40])
        with pytest.raises(ValueError, match="expected a complete LZMA stream, found a broken one"):
            read(packed)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_one_split_and_a_shape(emnist):
    assert len(read(emnist, split=("train",))) == 7
    assert read(emnist, shape=(2, 8)).inputs.shape == (9, 2, 8)
    with pytest.raises(ValueError, match=r"shape: expected 16 numbers as feature pixels has, got \[3, 5\]"):
        read(emnist, shape=(3, 5))


def test_whole_pixels_texts_and_encoded_pictures(tmp_path):
    stream = io.BytesIO()
    Image.new("RGB", (5, 4), (1, 2, 3)).save(stream, "png")
    rows = [
        ("train", f"c{i % 2}", tff_files.example(image=[i] * 12, label=[i], snippets=[b"ab"], jpeg=[stream.getvalue()]))
        for i in range(4)
    ]
    path = tff_files.write_tff(tmp_path / "own.sqlite", rows)
    data = read(path)  # the feature called image
    assert (data.inputs.shape, data.inputs.dtype) == ((4, 2, 2, 3), np.uint8)
    assert read(path, input="snippets", length=3).inputs.tolist() == [[97, 98, 0]] * 4
    assert read(path, input="jpeg").inputs[0, 0, 0].tolist() == [1, 2, 3]


def without_column(path):
    database = sqlite3.connect(path)
    database.executescript("CREATE TABLE examples (split_name TEXT, client_id TEXT)")
    database.close()


def with_view(path):
    """A view may be any computation, here one without an end."""
    database = sqlite3.connect(path)
    database.executescript(
        "CREATE VIEW examples AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n)"
        " SELECT 'train' AS split_name, 'a' AS client_id, x'00' AS serialized_example_proto FROM n;"
    )
    database.close()


def with_rows(*rows):
    return lambda path: tff_files.write_tff(path, rows)


ROW = tff_files.example(label=[1], pixels=[1.0, 2.0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b"no database"), "expected an SQLite database, found another file"),
        (
            lambda path: path.write_bytes(b"SQLite format 3\0" + b"x" * 200),
            "expected an SQLite database, could not read",
        ),
        (without_column, "table examples: expected a column serialized_example_proto, found split_name, client_id"),
        (with_view, "expected a table examples, found none"),
        (with_rows(), "table examples: expected at least one example, found none"),
        (with_rows(("train", "a", b"\x0a")), "split train, client a: expected a tf.train.Example, could not read it"),
        (with_rows(("train", "a", "text")), "expected the client's name and the bytes of an example"),
        (with_rows(("train", "a", tff_files.example(x=[1.0]))), "expected a feature 'label' for the label, found x"),
        (with_rows(("train", "a", ROW), ("x", "a", ROW)), "split: expected names like train and test, found train, x"),
        (
            with_rows(("train", "a", ROW), ("train", "b", tff_files.example(label=[1], pixels=[1.0]))),
            "client b, feature pixels: expected 2 numbers as in the first example, found 1 numbers",
        ),
        (lambda path: None, "expected a file, found none"),
    ],
)
def test_what_is_malformed_is_refused_in_one_line(tmp_path, make, message):
    path = tmp_path / "own.sqlite"
    make(path)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value) or str(caught.value).startswith("split: ")


def test_reading_writes_nothing(emnist):
    before = emnist.read_bytes()
    read(emnist)
    assert emnist.read_bytes() == before
    assert [path.name for path in emnist.parent.iterdir()] == ["own.sqlite"]
