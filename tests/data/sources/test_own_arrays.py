"""Data sets of arrays in memory."""

import numpy as np
import pytest

from fedjax_layers.data import Preprocess, from_arrays

X = np.arange(12, dtype=np.float64).reshape(4, 3)


def test_arrays_become_a_data_set():
    data = from_arrays(X, ["dog", "cat", "dog", "cow"], [10, 2, 10, 2])
    assert data.class_names == ("cat", "cow", "dog")
    assert data.labels.tolist() == [2, 0, 2, 1]
    assert data.client_names == ("2", "10")
    assert data.clients.tolist() == [1, 0, 1, 0]
    assert data.inputs.dtype == np.float32
    np.testing.assert_array_equal(data.inputs, X)
    assert (data.task, data.preprocess) == ("classification", "standardise")


def test_floats_are_targets_of_a_regression():
    data = from_arrays(X, np.array([0.5, 1, 2, 3]))
    assert (data.task, data.class_names) == ("regression", ())
    np.testing.assert_array_equal(data.labels, [0.5, 1, 2, 3])
    assert from_arrays(X, np.array([0.0, 1, 2, 0]), task="classification").labels.tolist() == [0, 1, 2, 0]


def test_integers_count_along_the_classes():
    data = from_arrays(X, np.array([0, 2, 2, 1]), classes=("low", "middle", "high"))
    assert data.labels.tolist() == [0, 2, 2, 1]
    named = from_arrays(X, ["5", "7", "7", "5"], classes=("7", "5"))
    assert named.labels.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("inputs", "shape", "preprocess"),
    [
        (np.zeros((4, 28, 28), np.uint8), (4, 28, 28, 1), Preprocess(scale=1 / 255)),
        (np.zeros((4, 8, 8, 3), np.uint8), (4, 8, 8, 3), Preprocess(scale=1 / 255)),
        (np.zeros((4, 5), np.float32), (4, 5), "standardise"),
        (np.zeros((4, 5), bool), (4, 5), "standardise"),
        (np.zeros((4, 8, 8, 3), np.float32), (4, 8, 8, 3), Preprocess()),
        (np.zeros((4, 9), np.int64), (4, 9), None),
    ],
)
def test_preprocessing_follows_from_the_type(inputs, shape, preprocess):
    data = from_arrays(inputs, [0, 1, 0, 1])
    assert data.inputs.shape == shape
    assert data.preprocess == preprocess


def test_gaps_are_dropped_with_all_that_belongs_to_them():
    gaps = X.copy()
    gaps[1, 2] = np.nan
    flags = np.array([False, False, True, True])
    data = from_arrays(gaps, [0, 1, 1, 0], ["a", "b", "c", "a"], missing="drop", official_test=flags)
    assert data.example_ids.tolist() == [0, 2, 3]
    assert data.client_names == ("a", "c")
    assert data.official_test.tolist() == [False, True, True]
    assert np.isnan(from_arrays(gaps, [0, 1, 1, 0], missing="mean").inputs).sum() == 1


def with_entry(value):
    array = X.copy()
    array[2, 1] = value
    return array


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"inputs": with_entry(np.nan)},
            r"inputs\[2, 1\]: expected a number, got NaN.*missing='drop' .*missing='mean' ",
        ),
        ({"inputs": with_entry(np.inf)}, r"inputs\[2, 1\]: expected a finite number, got infinity"),
        ({"inputs": with_entry(1e39)}, r"inputs\[2, 1\]: expected a finite number, got infinity"),
        ({"inputs": np.array([["a"]] * 4)}, "inputs: expected numbers"),
        ({"inputs": np.arange(4)}, "inputs: expected numbers .* of rank 2 or more"),
        ({"inputs": np.full((4, 2), 2**40)}, "inputs: expected integers of 32 bits, got 0..1099511627776"),
        (
            {"inputs": np.zeros((4, 3, 32, 32), np.uint8)},
            r"inputs: expected pictures \[N, H, W, C\], got \(4, 3, 32, 32\)",
        ),
        ({"inputs": np.full((4, 2), np.nan), "missing": "drop"}, "inputs: .* without a gap, got none"),
        ({"inputs": np.zeros((0, 2)), "labels": []}, "inputs: expected at least one example, got none"),
        ({"labels": [0, 1]}, "labels: expected 4 entries, one for each example, got 2"),
        ({"labels": np.eye(4)}, r"labels: expected shape \[N\], got \(4, 4\)"),
        ({"labels": ["a", "b", 3, "a"]}, r"labels\[2\]: expected a text as before it, got a number"),
        ({"labels": [1, 1, 1, 1]}, "labels: expected at least two classes, got only 1"),
        ({"labels": [0, 1, 5, 0], "classes": ("a", "b")}, r"labels\[2\]: expected a class 0..1, got '5'"),
        ({"labels": ["a", "b", "c", "a"], "classes": ("a", "b")}, r"labels\[2\]: expected one of .* a, b, got 'c'"),
        ({"classes": ("a", "a")}, "classes: expected distinct names, got a, a"),
        ({"labels": ["a", "b", "c", "a"], "task": "regression"}, "labels: expected numbers for a regression"),
        ({"labels": [0.5, np.nan, 1, 2]}, r"labels\[1\]: expected a finite number, got nan"),
        ({"labels": [0.5, 1, 1, 2], "task": "classification"}, "labels: expected integers or texts, got float64"),
        ({"clients": ["a", 1, "b", "b"]}, r"clients\[1\]: expected a text as before it, got a number"),
        ({"clients": np.array([1.0, 2, 3, 3])}, "clients: expected integers or texts, got float64"),
        ({"clients": ["a", None, "b", "b"]}, r"clients\[1\]: expected a text as before it, got a NoneType"),
        ({"example_ids": np.array([4, 9, 4, 1])}, "example_ids: expected distinct ids, got 4 in rows 0 and 2"),
        ({"missing": "mean", "preprocess": "none"}, "preprocess: expected 'standardise' with missing='mean'"),
        ({"preprocess": "z"}, "preprocess: expected one of auto, none, scale, standardise, got 'z'"),
        ({"missing": "skip"}, "missing: expected one of drop, error, mean, got 'skip'"),
    ],
)
def test_bad_arrays_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        from_arrays(**{"inputs": X, "labels": [0, 1, 1, 0], **arguments})
