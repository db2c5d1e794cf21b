import gzip
import shutil
import struct
import sys
from importlib import resources
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from fedjax_layers.data import DATA_DIR_VARIABLE, DATASETS, load_dataset, resolve_data_dir
from fedjax_layers.data.sources import mnist, synthetic


def test_digits_are_the_real_ones():
    data = load_dataset("digits")
    assert data.inputs.shape == (1797, 8, 8, 1)
    assert data.inputs.dtype == np.uint8
    assert (data.inputs.min(), data.inputs.max()) == (0, 16)
    assert np.bincount(data.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    seen = data.preprocess(data.inputs)
    assert abs(seen.mean()) < 1e-3
    assert abs(seen.std() - 1) < 1e-3


def test_heart_counts_are_those_of_the_four_hospitals():
    data = load_dataset("heart")
    assert data.client_names == ("cleveland", "hungarian", "switzerland", "va")
    assert np.bincount(data.clients).tolist() == [303, 261, 46, 130]
    assert data.inputs.shape == (740, 10)
    # Cleveland's published class distribution; no row of it is left out.
    assert np.bincount(data.labels[data.clients == 0]).tolist() == [164, 55, 36, 35, 13]
    np.testing.assert_allclose(data.inputs[0], [63, 1, 1, 145, 233, 1, 2, 150, 0, 2.3], rtol=1e-6)


def test_heart_ids_are_rows_of_the_files():
    data = load_dataset("heart")
    # The third Hungarian row (row 303 + 2) has no cholesterol and is left out.
    assert 305 not in data.example_ids
    assert {303, 304} <= set(data.example_ids.tolist())
    assert data.example_ids.max() < 303 + 294 + 123 + 200
    assert (np.diff(data.example_ids) > 0).all()


def test_heart_z_scores_seven_columns_and_leaves_three():
    data = load_dataset("heart")
    seen = data.preprocess(data.inputs).astype(np.float64)
    raw = [1, 5, 8]  # sex, fbs, exang
    np.testing.assert_array_equal(seen[:, raw], data.inputs[:, raw])
    scored = np.delete(seen, raw, axis=1)
    np.testing.assert_allclose(scored.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(scored.std(0), 1, rtol=1e-5)


def test_heart_ships_with_its_attribution():
    folder = resources.files("fedjax_layers.data") / "uci_heart"
    text = (folder / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for words in ("Janosi", "Steinbrunn", "Pfisterer", "Detrano", "CC BY 4.0"):
        assert words in text


def test_synthetic_matches_its_definition():
    data = load_dataset("synthetic", alpha=0.0, beta=0.0, clients=400, min_samples=50, max_samples=50, seed=1)
    assert data.inputs.shape == (20_000, 60)
    assert data.inputs.dtype == np.float32
    np.testing.assert_array_equal(data.clients, np.repeat(np.arange(400), 50))
    by_client = data.inputs.reshape(400, 50, 60).astype(np.float64)
    within = by_client.var(axis=1, ddof=1).mean(axis=0)
    np.testing.assert_allclose(within, np.arange(1, 61) ** -1.2, rtol=0.05)  # 7 standard errors
    centres = by_client.mean(axis=1)
    assert abs(centres.mean()) < 0.03  # 4.5 standard errors: v_k ~ N(0, 1), 24,000 of them
    assert centres.var() == pytest.approx(1 + (np.arange(1, 61) ** -1.2).mean() / 50, rel=0.04)


def test_synthetic_beta_moves_the_inputs_of_whole_clients():
    data = load_dataset("synthetic", alpha=0.0, beta=3.0, clients=400, min_samples=20, max_samples=20)
    offset = data.inputs.reshape(400, 20, 60).mean(axis=(1, 2))
    # B_k ~ N(0, 3) as a standard deviation, and the mean of 60 entries of v_k around it
    assert offset.std() == pytest.approx(np.sqrt(9 + 1 / 60), rel=0.15)


def test_synthetic_labels_are_the_argmax_of_one_linear_model_per_client():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 60)).astype(np.float32)
    owner = np.sort(rng.integers(0, 4, 50))
    weight, bias = rng.normal(size=(4, 60, 10)), rng.normal(size=(4, 10))
    expected = [np.argmax(x[i] @ weight[k] + bias[k]) for i, k in enumerate(owner)]
    np.testing.assert_array_equal(synthetic._argmax(x, owner, weight, bias), expected)


def test_synthetic_sizes_are_lognormal_and_capped():
    sizes = np.bincount(load_dataset("synthetic", clients=1000, max_samples=500).clients)
    assert (sizes.min(), sizes.max()) == (50, 500)
    assert np.median(sizes) == pytest.approx(50 + np.exp(4), rel=0.2)
    five = np.bincount(load_dataset("synthetic", clients=200, max_samples=2500, size_factor=5).clients)
    assert five.min() == 250
    assert (five % 5 == 0).all()


def test_synthetic_is_reproducible_across_blocks():
    one, two = (load_dataset("synthetic", clients=1500, min_samples=2, max_samples=3, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.inputs, two.inputs)
    np.testing.assert_array_equal(one.labels, two.labels)
    assert not np.array_equal(one.inputs[:9], load_dataset("synthetic", clients=9, seed=5).inputs[:9])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": -1}, "alpha: expected a finite number of at least 0, got -1"),
        ({"beta": float("nan")}, "beta: .* got nan"),
        ({"clients": 0}, "clients: expected at least 1, got 0"),
        ({"max_samples": 10}, "max_samples: expected at least min_samples=50, got 10"),
    ],
)
def test_synthetic_errors(options, message):
    with pytest.raises(ValueError, match=message):
        load_dataset("synthetic", **options)


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """A folder with an MNIST of 30 + 20 images, each filled with its row number."""
    monkeypatch.setattr(mnist, "_SPLITS", {"train": ("train", 30, 0), "test": ("t10k", 20, 30)})
    folder = tmp_path / "mnist"
    folder.mkdir()
    for stem, size, first in mnist._SPLITS.values():
        rows = first + np.arange(size)
        write_idx(folder / f"{stem}-images-idx3-ubyte.gz", np.ones((1, 28, 28), int) * rows[:, None, None])
        write_idx(folder / f"{stem}-labels-idx1-ubyte.gz", rows % 10)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({}, range(30)),
        ({"split": "test"}, range(30, 50)),
        ({"split": "all"}, range(50)),
        ({"limit": 7}, range(7)),
        ({"split": "all", "limit": 35}, range(35)),
    ],
)
def test_mnist_parts_and_ids(small_mnist, options, rows):
    data = load_dataset("mnist", small_mnist, **options)
    assert data.inputs.shape == (len(rows), 28, 28, 1)
    np.testing.assert_array_equal(data.example_ids, rows)
    np.testing.assert_array_equal(data.inputs[:, 5, 5, 0], rows)
    np.testing.assert_array_equal(data.labels, np.array(rows) % 10)


@pytest.mark.parametrize("limit", [0, 31, -1])
def test_mnist_limit_out_of_range(small_mnist, limit):
    with pytest.raises(ValueError, match=rf"limit: expected 1\.\.30 for split 'train' of mnist, got {limit}"):
        load_dataset("mnist", small_mnist, limit=limit)


def test_mnist_unknown_split(small_mnist):
    with pytest.raises(ValueError, match=r"split: expected one of all, test, train, got 'trian'; did you mean 'train'"):
        load_dataset("mnist", small_mnist, split="trian")


def test_mnist_missing_companion_is_named(small_mnist):
    (small_mnist / "mnist" / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"train-labels-idx1-ubyte\.gz: expected an IDX file, found none"):
        load_dataset("mnist", small_mnist)


def test_mnist_absent_says_what_and_where(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected the files .* found neither; put the files there") as error:
        load_dataset("mnist", tmp_path)
    assert DATA_DIR_VARIABLE in str(error.value)


def test_mnist_from_tfds(small_mnist, monkeypatch):
    """Prepared TFDS data are read record by record and never downloaded."""
    shutil.rmtree(small_mnist / "mnist")
    (small_mnist / "mnist" / "3.0.1").mkdir(parents=True)

    class Records(list):
        def __getitems__(self, rows):
            return [{"image": np.full((28, 28, 1), r, np.uint8), "label": r % 10} for r in rows]

    builder = SimpleNamespace(
        info=SimpleNamespace(full_name="mnist/3.0.1"),
        as_data_source=lambda split: Records(range({"train": 30, "test": 20}[split])),
    )
    fake = ModuleType("tensorflow_datasets")
    fake.builder = lambda name, data_dir: builder
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake)
    data = load_dataset("mnist", small_mnist, split="all")
    assert data.source == "TFDS mnist/3.0.1"
    np.testing.assert_array_equal(data.inputs[:, 0, 0, 0], [*range(30), *range(20)])
    np.testing.assert_array_equal(data.example_ids, range(50))
    builder.as_data_source = lambda split: Records(range(12))
    with pytest.raises(ValueError, match="expected 30 images in mnist's split 'train', found 12"):
        load_dataset("mnist", small_mnist)


def test_unprepared_tfds_folder_is_no_data(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    (tmp_path / "mnist").mkdir()
    with pytest.raises(FileNotFoundError, match="expected mnist prepared by TFDS as array_record") as error:
        load_dataset("mnist", tmp_path)
    assert "\n" not in str(error.value)


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


MNIST_TRAIN = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


@pytest.mark.data
@pytest.mark.parametrize(("name", "train"), [("mnist", MNIST_TRAIN), ("fashion_mnist", [6000] * 10)])
def test_real_images(data_folder, name, train):
    data = load_dataset(name, data_folder, split="all")
    assert data.inputs.shape == (70_000, 28, 28, 1)
    assert data.inputs.dtype == np.uint8
    assert np.bincount(data.labels[:60_000]).tolist() == train
    # Mean and standard deviation are the training pixels', as the literature rounds them.
    counts = np.bincount(data.inputs[:60_000].ravel(), minlength=256)
    mean = counts @ np.arange(256) / 255 / counts.sum()
    std = np.sqrt(counts @ (np.arange(256) / 255 - mean) ** 2 / counts.sum())
    assert (mean, std) == pytest.approx((data.preprocess.mean, data.preprocess.std), abs=1e-3)


@pytest.mark.data
def test_fashion_mnist_is_in_official_order(data_folder):
    data = load_dataset("fashion_mnist", data_folder, limit=10_000)
    assert data.class_names[data.labels[0]] == "Ankle boot"
    assert len(data) == 10_000


def test_every_data_set_is_registered_under_its_own_name():
    for name in ("digits", "heart", "synthetic"):
        assert load_dataset(name).name == name
    assert sorted(DATASETS) == list(DATASETS)
