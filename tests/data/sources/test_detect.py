"""The data set ``own``: the reader is found by the files, or named."""

import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from fedjax_layers.data import load, load_dataset
from fedjax_layers.data.sources.own.detect import detect

SAMPLES = pathlib.Path(__file__).parent
TABLE = "a,label\n" + "".join(f"{i},{'xy'[i % 2]}\n" for i in range(8))


def put(path, content=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def plain_parquet(folder):
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    parquet.write_table(pa.table({"a": [1, 2], "label": ["x", "y"]}), folder / "own.parquet")
    return folder / "own.parquet"


def pictures(folder, *places):
    for place in places:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2)).save(folder / place)
    return folder


def pickled(folder):
    """A folder of PFLlib."""
    np.savez(put(folder / "train" / "0.npz"), data=np.array({"x": 1}, object))
    return folder


def converted(folder):
    """The tree that ``data convert`` makes."""
    for part in ("train", "test"):
        put(folder / part / "0" / "data.npz")
    return folder


@pytest.mark.parametrize(
    ("make", "reader"),
    [
        (lambda p: put(p / "own.csv"), "csv"),
        (lambda p: put(p / "own.csv.gz"), "csv"),
        (lambda p: put(p / "own.npz"), "npz"),
        (lambda p: put(p / "own.sqlite.lzma"), "tff"),
        (lambda p: SAMPLES / "tff" / "own.sqlite", "tff"),
        (plain_parquet, "parquet"),
        (lambda p: SAMPLES / "hugging_face" / "shards" / "test-00000-of-00001.parquet", "huggingface"),
        (lambda p: SAMPLES / "hugging_face" / "shards", "huggingface"),
        (lambda p: SAMPLES / "hugging_face" / "saved", "huggingface"),
        (lambda p: SAMPLES / "hugging_face" / "saved" / "train", "huggingface"),
        (lambda p: SAMPLES / "hugging_face" / "partitions", "huggingface"),
        (lambda p: pictures(p, "cat/a.png", "dog/b.png"), "image_folder"),
        (lambda p: pictures(p, "train/cat/a.png", "test/cat/b.png"), "image_folder"),
        (lambda p: pictures(p, "ann/cat/a.png", "bob/cat/b.png"), "client_folder"),
        (lambda p: pictures(p, "train/ann/cat/a.png", "test/ann/cat/b.png"), "client_folder"),
        (lambda p: pictures(p, "ann/train/cat/a.png", "ann/test/cat/b.png"), "client_folder"),
        (lambda p: put(p / "ann" / "train.csv").parents[1], "client_folder"),
        (converted, "client_folder"),
    ],
)
def test_the_reader_is_found(tmp_path, make, reader):
    assert detect(make(tmp_path)) == reader


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: put(p / "own.xlsx"), r"own.xlsx: expected a file .csv, .* found another; format \(--format\) says"),
        (lambda p: put(p / "notes" / "a.txt").parent, "notes: expected a file"),
        (pickled, "fedjax-layers data convert"),
        (lambda p: p / "nothing", "path: expected a file or a folder, found nothing at"),
    ],
)
def test_what_no_reader_fits_is_refused_in_one_line(tmp_path, make, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        detect(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_own_is_the_reader_that_fits_with_its_options(tmp_path):
    path = put(tmp_path / "own.csv", TABLE.encode())
    data = load_dataset("own", path=str(path), label="label")
    assert data.name == "csv"
    np.testing.assert_array_equal(data.inputs, load_dataset("csv", path=str(path), label="label").inputs)
    other = shutil.copy(path, tmp_path / "own.txt")
    assert load("own", path=other, format="csv", label="label", clients=2, partition="iid").name == "csv"


def test_wrong_options_of_own_are_named(tmp_path):
    with pytest.raises(ValueError, match="path: expected the file or the folder of your own data, got none"):
        load_dataset("own")
    with pytest.raises(ValueError, match=r"format: expected one of auto, .*, got 'tfs'; did you mean 'tff'"):
        load_dataset("own", path=str(tmp_path), format="tfs")
    with pytest.raises(ValueError, match=r"option of data set 'huggingface': expected one of .*, got 'shape'"):
        load_dataset("own", path=str(SAMPLES / "hugging_face" / "shards"), shape=(3,))
