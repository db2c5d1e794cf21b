"""Numbers and picture of a split: counted by hand, and a file that opens."""

import sys

import numpy as np
import pytest
from PIL import Image

from fedjax_layers.data import federate, from_arrays, load
from fedjax_layers.data.federated.partition_report import plot_partition, skew


def test_counts_are_those_of_heart_by_hospital():
    counts = load("heart").stratum_counts()
    assert counts.sum(1).tolist() == [303, 261, 46, 130]
    assert counts[0].tolist() == [164, 55, 36, 35, 13]  # Cleveland, as published
    assert (counts[1] > 0).sum() == 2  # the Hungarian file says ill or not, no more


def test_neither_unused_nor_global_test_examples_are_counted(make_dataset):
    owner = np.array([0] * 9 + [1] * 11 + [-1] * 20)
    apart = np.arange(40) >= 30
    counts = federate(make_dataset(), owner, global_test=apart).stratum_counts()
    assert counts.tolist() == [[3, 2, 2, 2], [2, 3, 3, 3]]


def test_data_without_classes_have_one_stratum():
    numbers = np.linspace(0, 1, 20, dtype=np.float32)
    counts = federate(from_arrays(numbers[:, None], numbers), np.arange(20) % 2).stratum_counts()
    assert counts.tolist() == [[10], [10]]


@pytest.mark.parametrize(
    ("counts", "distance", "held"),
    [
        ([[5, 5], [50, 50]], 0, 2),
        ([[10, 0], [0, 10]], 0.5, 1),
        ([[10, 0, 0, 0], [0, 10, 0, 0], [0, 0, 10, 0], [0, 0, 0, 10]], 0.75, 1),
        # Shares together are 3/4 and 1/4: client 0 is 1/4 from them, client 1 3/4, weighted 3 to 1.
        ([[30, 0], [0, 10]], 0.375, 1),
    ],
)
def test_distance_is_the_weighted_total_variation(counts, distance, held):
    found = skew(np.array(counts))
    assert found.distance == pytest.approx(distance)
    assert found.strata_held == held


def test_sizes_are_those_of_the_clients():
    found = skew(np.array([[1, 2], [10, 0], [4, 4], [0, 0]]))
    assert (found.smallest, found.median, found.largest) == (0, 5.5, 10)
    assert found.strata_held == pytest.approx(5 / 4)


@pytest.mark.parametrize("clients", [3, 60])
def test_the_picture_opens(clients, tmp_path):
    data = load("digits", partition="iid", clients=clients)
    plot_partition(data, tmp_path / "split.png")
    with Image.open(tmp_path / "split.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert min(pixels.shape[:2]) > 250
    for colour in ("4c72b0", "dd8452", "55a868"):  # the bars of train, val and test
        assert (pixels == np.frombuffer(bytes.fromhex(colour), np.uint8)).all(-1).sum() > 100


def test_an_unknown_ending_or_a_missing_matplotlib_is_one_line(tmp_path, monkeypatch):
    data = load("heart")
    with pytest.raises(ValueError, match="plot: Format 'sgv' is not supported") as caught:
        plot_partition(data, tmp_path / "split.sgv")
    assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match=f"plot: expected a folder {tmp_path}/none, found none"):
        plot_partition(data, tmp_path / "none" / "split.png")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ValueError, match=r"plot: expected matplotlib, found none; pip install fedjax-layers\[plot\]"):
        plot_partition(data, tmp_path / "split.png")
