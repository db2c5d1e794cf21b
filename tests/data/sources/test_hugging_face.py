"""A user's data in Hugging Face's shapes: Parquet shards, folders of ``save_to_disk``, and flwr's partitions.

``datasets`` 5.2.0 wrote the files in ``hugging_face/``: eight pictures of 3 x 2 pixels, five of them in train.
"""

import io
import json
import pathlib
import shutil

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from fedjax_layers.data import load, load_dataset

REAL = pathlib.Path(__file__).parent / "hugging_face"
PIXELS = (np.arange(18).reshape(3, 2, 3) + 20 * np.arange(8)[:, None, None, None]).astype(np.uint8)
LABELS = [0, 2, 1, 0, 2, 1, 0, 2]


def read(path, **options):
    return load_dataset("huggingface", path=str(path), **options)


def png(pixels, mode=None):
    stream = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8), mode).save(stream, "png")
    return stream.getvalue()


def schema_of(table, features):
    """Put the features into the metadata as ``datasets`` does."""
    about = {"info": {"features": features}}
    return table.replace_schema_metadata({"huggingface": json.dumps(about)})


def write_parquet(path, columns, features=None):
    table = pa.table(columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table if features is None else schema_of(table, features), path)
    return path


def write_saved(folder, columns, features=None, names=("data-00000-of-00001.arrow",)):
    """Write a folder as ``save_to_disk`` does."""
    table = pa.table(columns)
    folder.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_stream(folder / "data-00000-of-00001.arrow", table.schema) as stream:
        stream.write_table(table)
    state = {"_data_files": [{"filename": name} for name in names], "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    return folder


@pytest.mark.parametrize("shape", ["shards", "saved"])
def test_real_files_are_read_as_datasets_wrote_them(shape):
    data = read(REAL / shape, client="writer")
    np.testing.assert_array_equal(data.inputs, PIXELS)
    assert data.inputs.dtype == np.uint8
    assert data.labels.tolist() == LABELS
    assert data.class_names == ("cat", "dog", "cow")  # in the order of the files, not of the alphabet
    assert data.official_test.tolist() == [False] * 5 + [True] * 3
    assert data.client_names == ("w0", "w1")
    assert data.clients.tolist() == [0, 1, 0, 1, 0, 1, 0, 1]


def test_each_partition_of_flwr_is_a_client():
    data = read(REAL / "partitions")
    np.testing.assert_array_equal(data.inputs, PIXELS[:5])
    assert data.labels.tolist() == LABELS[:5]
    assert data.client_names == ("0", "1")
    assert data.clients.tolist() == [0, 0, 0, 1, 1]
    assert data.official_test is None


def test_nobody_trains_on_the_split_test():
    clients = load("huggingface", path=REAL / "shards", client="writer", val_fraction=0.0)
    assert clients.sizes["test"].tolist() == [1, 2]
    assert clients.sizes["train"].tolist() == [3, 2]


def test_one_file_or_one_split_alone_is_no_test_part():
    data = read(REAL / "shards" / "test-00000-of-00001.parquet")
    np.testing.assert_array_equal(data.inputs, PIXELS[5:])
    assert data.official_test is None
    assert len(read(REAL / "saved" / "train")) == 5
    assert len(read(REAL / "shards", split=("train",))) == 5


def test_partitions_with_splits_of_their_own(tmp_path):
    for client in ("partition_10", "partition_2"):
        for split in ("train", "test"):
            shutil.copytree(REAL / "saved" / split, tmp_path / client / split)
        shutil.copy(REAL / "saved" / "dataset_dict.json", tmp_path / client)
    data = read(tmp_path)
    assert data.client_names == ("2", "10")
    assert data.official_test.sum() == 6
    for split in ("train", "test"):  # the same the other way round
        for client in ("partition_10", "partition_2"):
            shutil.copytree(REAL / "saved" / split, tmp_path / "other" / split / client)
    again = read(tmp_path / "other")
    assert again.client_names == ("2", "10")
    assert again.official_test.tolist() == data.official_test.tolist()


def test_pictures_in_grey_get_one_channel_unless_told(tmp_path):
    pictures = [{"bytes": png(np.full((2, 3), i)), "path": None} for i in range(4)]
    path = write_parquet(tmp_path / "train.parquet", {"image": pictures, "label": ["a", "b"] * 2})
    data = read(path)
    assert data.inputs.shape == (4, 2, 3, 1)
    assert data.inputs[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert data.class_names == ("a", "b")
    assert read(path, grey=False).inputs.shape == (4, 2, 3, 3)
    assert read(path, size=(5, 5)).inputs.shape == (4, 5, 5, 1)


def test_arrays_texts_and_tables(tmp_path):
    columns = {
        "m": [np.full((2, 3), i, np.float32).tolist() for i in range(4)],
        "t": ["one", "two", "one", "three"],
        "y": [0, 1, 0, 1],
    }
    arrow = {"m": pa.array(columns["m"], pa.list_(pa.list_(pa.float32())))} | {k: columns[k] for k in ("t", "y")}
    features = {"m": {"_type": "Array2D", "shape": [2, 3], "dtype": "float32"}}
    for path in (write_parquet(tmp_path / "a.parquet", arrow, features), write_saved(tmp_path / "b", arrow, features)):
        data = read(path, label="y")  # the only column of arrays
        assert data.inputs.dtype == np.float32
        np.testing.assert_array_equal(data.inputs, columns["m"])
        texts = read(path, label="y", input="t", length=4)
        assert texts.inputs[:, 0].tolist() == [ord("o"), ord("t"), ord("o"), ord("t")]
        table = read(path, label="y", features=("t",))
        assert table.inputs.tolist() == [[1, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]]
        assert table.preprocess == "standardise"


def test_a_class_of_a_table_is_its_name_and_minus_one_is_missing(tmp_path):
    names = {"_type": "ClassLabel", "names": ["zebra", "ape"]}
    columns = {"a": [1.0, 2.0, 3.0], "kind": [0, 1, 0], "label": [1, 0, -1]}
    path = write_parquet(tmp_path / "x.parquet", columns, {"kind": names, "label": names})
    with pytest.raises(ValueError, match=r"x.parquet, row 3, column label: expected a value, found none"):
        read(path, label="label")
    data = read(path, label="label", missing="drop")
    assert data.class_names == ("zebra", "ape")
    assert data.labels.tolist() == [1, 0]
    assert data.inputs.tolist() == [[1, 0, 1], [2, 1, 0]]  # a, then ape and zebra


def bad_shards(tmp_path):
    shutil.copy(REAL / "shards" / "train-00001-of-00002.parquet", tmp_path)
    return tmp_path


def bad_picture(tmp_path, cell):
    cells = pa.array([cell, cell], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    return write_parquet(tmp_path / "own.parquet", {"image": cells, "label": ["a", "b"]})


def bad_state(tmp_path, **state):
    shutil.copytree(REAL / "saved" / "train", tmp_path / "own")
    (tmp_path / "own" / "state.json").write_text(json.dumps(state))
    return tmp_path / "own"


def compressed(tmp_path):
    folder = write_saved(tmp_path / "own", {"a": [1] * 1000, "label": ["a", "b"] * 500})
    path = folder / "data-00000-of-00001.arrow"
    table = pa.ipc.open_stream(path.read_bytes()).read_all()
    with pa.ipc.new_stream(path, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_table(table)
    return folder


def two_configurations(tmp_path):
    for name in ("plain", "augmented"):
        write_parquet(tmp_path / name / "train-00000-of-00001.parquet", {"a": [1], "label": ["a"]})
    return tmp_path


def other_columns(tmp_path):
    write_parquet(tmp_path / "train.parquet", {"a": [1, 2], "label": ["a", "b"]})
    write_parquet(tmp_path / "test.parquet", {"a": ["x", "y"], "label": ["a", "b"]})
    return tmp_path


def ragged(tmp_path):
    return write_parquet(tmp_path / "own.parquet", {"v": [[1.0, 2.0], [3.0]], "label": ["a", "b"]})


def truncated(tmp_path):
    shutil.copytree(REAL / "saved" / "train", tmp_path / "own")
    path = tmp_path / "own" / "data-00000-of-00001.arrow"
    path.write_bytes(path.read_bytes()[:900])
    return tmp_path / "own"


def far_class(tmp_path):
    features = {"label": {"_type": "ClassLabel", "names": ["a", "b"]}}
    return write_parquet(tmp_path / "own.parquet", {"a": [1, 2], "label": [0, 7]}, features)


def empty(tmp_path):
    (tmp_path / "own").mkdir()
    return tmp_path / "own"


def rows_without_content(tmp_path):
    """A column of nulls has no bytes, so that a batch may announce any number of rows."""
    nothing = pa.NullArray.from_buffers(pa.null(), 10**9, [None])
    return write_saved(tmp_path / "own", {"a": nothing, "label": nothing})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (bad_shards, r"expected 2 files of the split train, found no train-00000-of-00002"),
        (
            lambda p: bad_picture(p, {"bytes": None, "path": "/etc/passwd"}),
            "row 1, column image: expected a picture wi",
        ),
        (lambda p: bad_picture(p, None), r"own.parquet, row 1, column image: expected a picture with its bytes"),
        (lambda p: bad_picture(p, {"bytes": b"x", "path": None}), "column image: expected a picture, could not"),
        (lambda p: bad_state(p, _data_files=[{"filename": "../../etc/passwd"}]), "expected a path inside"),
        (lambda p: bad_state(p, _data_files=[{"filename": "no.arrow"}]), "expected the file no.arrow, which its state"),
        (lambda p: bad_state(p, _data_files=3), "state.json: expected _data_files with a filename each, found '3'"),
        (compressed, "expected record batches as datasets.save_to_disk writes them, found compressed ones"),
        (rows_without_content, "expected record batches with their content, found one of 1000000000 rows in 0 bytes"),
        (two_configurations, "expected one configuration, found the split train in augmented and in plain"),
        (other_columns, r"test.parquet, column a: expected .* as in .*train.parquet, found texts"),
        (ragged, "own.parquet, row 2, column v: expected 2 entries on axis 0 as before or as declared, found 1"),
        (truncated, "data-00000-of-00001.arrow: expected a file in Arrow's stream format, could not read it"),
        (far_class, r"own.parquet, row 2, column label: expected a class 0..1, got 7"),
        (empty, r"own: expected Parquet files, or folders of datasets.save_to_disk .*, found an empty folder"),
        (lambda p: p / "nowhere", "path: expected a file or a folder, found nothing at"),
    ],
)
def test_what_is_malformed_is_refused_in_one_line(tmp_path, make, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        read(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_link_that_leaves_the_folder_is_refused(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "train.parquet").symlink_to(REAL / "shards" / "test-00000-of-00001.parquet")
    with pytest.raises(ValueError, match="expected a path inside"):
        read(tmp_path / "own")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "nope"}, r"label: expected a column of .*, got 'nope'; its columns are image \(pictures\), label"),
        ({"client": "image", "input": "image"}, "input, label, client, features: expected different columns"),
        ({"split": ("dev",)}, "split: expected one of test, train, got 'dev'"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        read(REAL / "shards", **options)


def test_splits_of_unclear_names_have_to_be_named(tmp_path):
    for name in ("train", "extra"):
        write_parquet(tmp_path / f"{name}.parquet", {"a": [1, 2], "label": ["a", "b"]})
    with pytest.raises(ValueError, match="split: expected names like train and test, found train, extra; name those"):
        read(tmp_path)
    assert len(read(tmp_path, split=("train", "extra"))) == 4


def test_repeated_bytes_are_not_written_out(tmp_path):
    """Parquet stores equal cells once: six hundred noisy pictures are as small as one."""
    noise = png(np.random.default_rng(0).integers(0, 255, (100, 100, 3)))
    cells = pa.array([{"bytes": noise, "path": None}] * 600)
    path = write_parquet(tmp_path / "own.parquet", {"image": cells, "label": ["a", "b"] * 300})
    assert path.stat().st_size < 2 * len(noise)
    from fedjax_layers.data.formats.arrow_files import read_parquet_table  # noqa: PLC0415

    assert read_parquet_table(path).nbytes < 20 * len(noise)  # once for each batch of rows
