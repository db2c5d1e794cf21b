"""MNIST and Fashion-MNIST: known facts of the real files, both forms of them, parts and ids, damaged files."""

import gzip
import struct

import numpy as np
import pytest

from fedjax_layers.data import DATASETS, load_dataset
from fedjax_layers.data.sources.mnist import images_from_stock
from fedjax_layers.data.tables.cache import CACHE_VARIABLE

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
# Published: the numbers of each digit in LeCun's training and test parts; Fashion-MNIST is balanced.
PER_CLASS = {
    "mnist": (
        [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    ),
    "fashion_mnist": ([6000] * 10, [1000] * 10),
}
FIRST = {"mnist": ([5, 0, 4, 1, 9], [7, 2, 1, 0, 4]), "fashion_mnist": ([9, 0, 0, 3, 0], [9, 2, 1, 1, 6])}


@pytest.mark.data
@pytest.mark.parametrize("name", PER_CLASS)
def test_classes_order_and_moments_are_the_published_ones(data_folder, name):
    data = load_dataset(name, data_folder, split="all")
    assert data.source == f"checked files of {name}"
    assert data.inputs.shape == (70_000, 28, 28, 1)
    assert data.inputs.dtype == np.uint8
    assert data.labels.dtype == np.int32
    parts = slice(0, 60_000), slice(60_000, None)
    assert tuple(np.bincount(data.labels[part]).tolist() for part in parts) == PER_CLASS[name]
    assert tuple(data.labels[part][:5].tolist() for part in parts) == FIRST[name]
    np.testing.assert_array_equal(data.official_test, np.arange(70_000) >= 60_000)
    # Mean and standard deviation are the training pixels', as the literature rounds them.
    counts = np.bincount(data.inputs[:60_000].ravel(), minlength=256)
    levels = np.arange(256) / 255
    mean = counts @ levels / counts.sum()
    std = np.sqrt(counts @ (levels - mean) ** 2 / counts.sum())
    assert (mean, std) == pytest.approx((data.preprocess.mean, data.preprocess.std), abs=1e-3)


@pytest.mark.data
def test_class_names_are_those_of_the_pictures(data_folder):
    data = load_dataset("fashion_mnist", data_folder, limit=10_000)
    assert data.class_names[data.labels[0]] == "Ankle boot"
    assert len(data) == 10_000
    # Trousers leave the outer columns empty, an ankle boot does not.
    width = (data.inputs[..., 0] > 0).any(axis=1).sum(axis=1)
    by_class = {name: width[data.labels == c].mean() for c, name in enumerate(data.class_names)}
    assert min(by_class, key=by_class.get) == "Trouser"


@pytest.mark.data
def test_unzipped_files_are_another_form_of_the_same(data_folder, tmp_path, monkeypatch, assert_identical):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    (tmp_path / "mnist").mkdir()
    for name in FILES:
        content = gzip.decompress((data_folder / "mnist" / f"{name}.gz").read_bytes())
        (tmp_path / "mnist" / name).write_bytes(content)
    unzipped, provenance = DATASETS["mnist"].tables(tmp_path)
    assert provenance == "checked files of mnist (unzipped)"  # their checksums are registered too
    assert_identical(unzipped, DATASETS["mnist"].tables(data_folder)[0])


@pytest.mark.data
@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({}, range(60_000)),
        ({"split": "test"}, range(60_000, 70_000)),
        ({"split": "test", "limit": 5}, range(60_000, 60_005)),
        ({"limit": 7}, range(7)),
        ({"split": "all", "limit": 60_002}, range(60_002)),
    ],
)
def test_an_example_is_the_same_whichever_part_it_is_taken_from(data_folder, options, rows):
    whole = load_dataset("mnist", data_folder, split="all")
    data = load_dataset("mnist", data_folder, **options)
    np.testing.assert_array_equal(data.example_ids, rows)
    np.testing.assert_array_equal(data.inputs, whole.inputs[rows.start : rows.stop])
    np.testing.assert_array_equal(data.labels, whole.labels[rows.start : rows.stop])


@pytest.fixture
def tables():
    """Tables of the form of MNIST's with 3 + 2 images, each filled with its row number."""

    def table(rows):
        return {"image": np.full((len(rows), 28, 28, 1), 0, np.uint8) + np.array(rows, np.uint8)[:, None, None, None],
                "label": np.array(rows, np.int64)}  # fmt: skip

    return {"train": table([0, 1, 2]), "test": table([3, 4])}


def test_one_part_is_not_copied(tables):
    data = DATASETS["mnist"].build(tables, "made up", limit=2)
    assert np.shares_memory(data.inputs, tables["train"]["image"])
    assert data.official_test is None
    assert data.source == "made up"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, r"limit: expected 1\.\.3 for split 'train', got 0"),
        ({"limit": 4}, r"limit: expected 1\.\.3 for split 'train', got 4"),
        ({"limit": 6, "split": "all"}, r"limit: expected 1\.\.5 for split 'all', got 6"),
        ({"split": "trian"}, r"split: expected one of all, test, train, got 'trian'; did you mean 'train'"),
    ],
)
def test_other_parts_and_limits_are_refused(tables, options, message):
    with pytest.raises(ValueError, match=message):
        DATASETS["fashion_mnist"].build(tables, "made up", **options)


def test_the_stock_set_has_our_columns():
    """TFDS gives lists of arrays, and NumPy integers as labels."""
    splits = {
        split: {"image": [np.full((28, 28, 1), r, np.uint8) for r in rows], "label": [np.int64(r % 10) for r in rows]}
        for split, rows in {"test": range(4), "train": range(10, 16)}.items()
    }
    found = images_from_stock(splits)
    assert list(found) == ["train", "test"]
    assert found["train"]["image"][:, 3, 4, 0].tolist() == [10, 11, 12, 13, 14, 15]
    assert found["train"]["label"].tolist() == [0, 1, 2, 3, 4, 5]
    assert found["test"]["image"].shape == (4, 28, 28, 1)
    assert found["test"]["label"].dtype == np.int64


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes(), compresslevel=1)


@pytest.mark.parametrize(
    ("stem", "array", "message"),
    [
        ("train-images-idx3-ubyte", np.zeros((2, 28, 28)), "expected dimensions 60000 x 28 x 28, found 2 x 28 x 28"),
        ("train-images-idx3-ubyte", np.zeros(60_000), "expected dimensions 60000 x 28 x 28, found 60000"),
        ("train-labels-idx1-ubyte", np.zeros(59_999), "expected dimensions 60000, found 59999"),
        ("t10k-labels-idx1-ubyte", np.zeros(60_000), "expected dimensions 10000, found 60000"),
    ],
)
def test_files_of_other_dimensions_are_refused(tmp_path, stem, array, message):
    shapes = dict(zip(FILES, ((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,)), strict=True))
    files = {f"{name}.gz": tmp_path / f"{name}.gz" for name in FILES}
    for name, shape in shapes.items():
        files[f"{name}.gz"].write_bytes(idx(array if name == stem else np.zeros(shape, np.uint8)))
    with pytest.raises(ValueError, match=rf"{stem}\.gz: {message}$"):
        DATASETS["mnist"].layouts[0].read(files)


def test_a_label_that_is_no_digit_is_refused(tmp_path):
    files = {f"{name}.gz": tmp_path / f"{name}.gz" for name in FILES}
    shapes = ((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,))
    for path, shape in zip(files.values(), shapes, strict=True):
        array = np.zeros(shape, np.uint8)
        if "t10k-labels" in path.name:
            array[17] = 10
        path.write_bytes(idx(array))
    source = DATASETS["mnist"]
    unchecked = [type(f)(f.name) for f in source.layouts[0].files]
    layout = type(source.layouts[0])(tuple(unchecked), source.layouts[0].read, source.layouts[0].counts)
    with pytest.raises(ValueError, match=r"^mnist, test, column label: expected a class 0\.\.9, found 10 in row 17$"):
        source.read(layout, files)
