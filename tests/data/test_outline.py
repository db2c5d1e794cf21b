"""Generated data before they are generated: the same shapes and sizes, and no memory."""

import numpy as np
import pytest

from fedjax_layers import data
from fedjax_layers.data import SPLITS
from fedjax_layers.data.outline import outline_clients
from fedjax_layers.data.tables import source


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"clients": 40, "max_samples": 90, "seed": 3},
        {
            "clients": 12,
            "data.max_samples": 60,
            "unseen": 3,
            "split_seed": 5,
            "test_fraction": 0.5,
            "stratified": False,
        },
        {"partition": "natural", "clients": 3, "unseen": (0, 2), "size_factor": 2, "max_samples": 200},
    ],
)
def test_an_outline_has_the_shapes_and_sizes_of_the_data(options):
    outline = outline_clients("synthetic", **options)
    real = data.load("synthetic", **options)
    for field in ("inputs", "labels", "example_ids", "strata"):
        there, found = getattr(real, field), getattr(outline, field)
        assert (found.shape, found.dtype) == (there.shape, there.dtype), field
        assert not any(found.strides), "one entry for all"
    for split in SPLITS:
        for found, there in zip(outline.ranges[split], real.ranges[split], strict=True):
            np.testing.assert_array_equal(found, there)
    np.testing.assert_array_equal(outline.unseen, real.unseen)
    for field in ("num_clients", "num_classes", "class_names", "name", "preprocess", "task", "strata_names", "teams"):
        assert getattr(outline, field) == getattr(real, field), field


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("digits", {}),
        ("nothing", {}),
        ("synthetic", {"partition": "iid"}),
        ("synthetic", {"reserve": 0.1}),
        ("synthetic", {"smallest_client": 60}),
        ("synthetic", {"global_test": 0.1}),
        ("synthetic", {"feature_shift": "rotation"}),
    ],
)
def test_where_only_the_data_tell_there_is_none(name, options):
    assert outline_clients(name, **options) is None


def test_options_out_of_range_are_refused_as_by_the_data():
    with pytest.raises(ValueError, match="clients: expected at least 1, got 0"):
        outline_clients("synthetic", clients=0)


def test_data_that_cannot_fit_are_refused_before_they_are_made(monkeypatch):
    """A hundred clients of ten examples: 1,000 rows of 60 + 1 numbers, and 40 bytes each for splitting."""
    needed = 1000 * (61 * 4 + 40)
    options = {"clients": 100, "min_samples": 10, "max_samples": 10}
    monkeypatch.setattr(source, "free_host_memory", lambda: needed)
    assert data.load("synthetic", **options).num_clients == 100
    monkeypatch.setattr(source, "free_host_memory", lambda: needed - 1)
    with pytest.raises(ValueError, match="clients: expected at most 99 for the free 284 kB, got 100 with 1,000"):
        data.load("synthetic", **options)
    monkeypatch.setattr(source, "free_host_memory", lambda: None)
    assert data.load("synthetic", **options).num_clients == 100
