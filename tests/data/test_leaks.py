"""Copies by content, and examples listed twice: counted right in cases made by hand."""

import dataclasses

import numpy as np
import pytest

from fedjax_layers.data import federate, load
from fedjax_layers.data.federated.leaks import (
    Duplicates,
    assert_disjoint,
    content_groups,
    count_duplicates,
    later_copies,
    range_rows,
)

TRAIN, VAL, TEST, NOBODY = 0, 1, 2, -1


def count(*examples):
    """Duplicates among examples ``(content, client, split)`` with ids in the order given."""
    groups, client, split = (np.array(column) for column in zip(*examples, strict=True))
    return count_duplicates(groups, np.arange(len(groups)) * 10, client, split)


CASES = {
    "none": ([(0, 0, TRAIN), (1, 0, TEST), (2, 1, TRAIN), (3, NOBODY, TEST)], (0, 0, 0, 0)),
    "within one split": ([(0, 0, TRAIN), (0, 0, TRAIN), (0, 0, TRAIN), (1, 0, TEST)], (2, 0, 0, 0)),
    "across splits of a client": ([(0, 0, TRAIN), (0, 0, VAL), (1, 0, VAL), (1, 0, TEST)], (2, 2, 0, 0)),
    "in all splits of a client, once": ([(0, 0, TRAIN), (0, 0, VAL), (0, 0, TEST)], (2, 1, 0, 1)),
    "across clients": ([(0, 0, TRAIN), (0, 1, TRAIN), (0, 2, TRAIN)], (2, 0, 1, 0)),
    "trained here, tested there": ([(0, 0, TRAIN), (0, 1, TEST)], (1, 0, 1, 1)),
    "validated here, tested there": ([(0, 0, VAL), (0, 1, TEST)], (1, 0, 1, 0)),
    "trained and in the global test set": ([(0, 0, TRAIN), (0, NOBODY, TEST)], (1, 0, 0, 1)),
    "tested and in the global test set": ([(0, 0, TEST), (0, NOBODY, TEST)], (1, 0, 0, 0)),
    "twice in the global test set": ([(0, NOBODY, TEST), (0, NOBODY, TEST), (1, 0, TRAIN)], (1, 0, 0, 0)),
    "two groups side by side": ([(0, 0, TRAIN), (0, 1, TEST), (1, 2, TRAIN), (1, 2, TEST)], (2, 1, 1, 2)),
}


@pytest.mark.parametrize("case", CASES)
def test_copies_are_counted_where_they_are(case):
    examples, expected = CASES[case]
    for order in (slice(None), slice(None, None, -1)):
        assert count(*examples[order]) == Duplicates(*expected)


def test_content_is_inputs_and_labels_byte_by_byte():
    inputs = np.array([[1, 2], [1, 2], [2, 1], [1, 2], [1, 3]], np.uint8)
    groups = content_groups(inputs, np.array([0, 0, 0, 1, 0], np.int32))
    assert (groups[:, None] == groups).tolist() == [
        [True, True, False, False, False],
        [True, True, False, False, False],
        [False, False, True, False, False],
        [False, False, False, True, False],
        [False, False, False, False, True],
    ]
    assert sorted(set(groups.tolist())) == [0, 1, 2, 3]
    missing = np.array([[np.nan], [np.nan], [0.0]], np.float32)
    one, other, zero = content_groups(missing, np.zeros((3, 2), np.float32))
    assert one == other != zero
    rows = np.arange(12).reshape(2, 6)
    apart = content_groups(rows[:, ::2], np.zeros(2, int))  # rows that are not contiguous
    assert apart[0] != apart[1]


def test_later_copies_keep_the_smallest_id():
    groups, ids = np.array([5, 3, 5, 3, 5, 1]), np.array([9, 4, 2, 40, 7, 1])
    np.testing.assert_array_equal(ids[later_copies(groups, ids)], [9, 40, 7])


def test_the_copy_in_heart_is_found_and_can_be_dropped():
    data = load("heart")
    assert data.duplicates == Duplicates(1, 0, 0, 0)
    dropped = load("heart", duplicates="drop")
    assert dropped.duplicates == Duplicates(0, 0, 0, 0)
    (gone,) = np.setdiff1d(data.example_ids, dropped.example_ids)
    table = np.concatenate([data.inputs, data.labels[:, None]], axis=1)
    same = data.example_ids[(table == table[data.example_ids == gone]).all(1)]
    assert len(same) == 2
    assert gone == same.max()
    assert dropped.partition["duplicates"] == "drop"


def test_copies_are_counted_in_real_places(make_dataset):
    """Rows 0, 1 and 2 are one content: owned by two clients and by the global test set."""
    dataset = make_dataset(n=12, classes=1)
    inputs = dataset.inputs.copy()
    inputs[1:3] = inputs[0]
    dataset = dataclasses.replace(dataset, inputs=inputs)
    owner = np.array([0, 1, -1, 0, 0, 0, 1, 1, 1, -1, 0, 1])
    data = federate(dataset, owner, global_test=owner < 0, test_fraction=0, val_fraction=0)
    assert data.duplicates == Duplicates(copies=2, across_splits=0, across_clients=1, train_test=1)


PLACES = {"train": ([0, 3], [2, 1]), "val": ([2, 4], [1, 1]), "test": ([5, 5], [0, 2]), "global test set": ([7], [3])}


def places(**changes):
    spans = {name.replace("_", " "): value for name, value in changes.items()}
    return {name: (np.array(start), np.array(size)) for name, (start, size) in (PLACES | spans).items()}


def test_disjoint_places_are_accepted():
    assert_disjoint(np.arange(10), places())
    assert_disjoint(np.arange(10), places(), ("north", "south"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val": ([1, 4], [2, 1])}, "found example id 101 in train of client 0 (north) and val of client 0 (north)"),
        ({"val": ([3, 4], [1, 1])}, "found example id 103 in train of client 1 (south) and val of client 0 (north)"),
        ({"global_test_set": ([6], [4])}, "found example id 106 in test of client 1 (south) and global test set"),
        ({"global_test_set": ([7], [4])}, "ranges: expected rows 0..9 of the pool, got 0..10"),
        ({"train": ([-1, 3], [2, 1])}, "ranges: expected rows 0..9 of the pool, got -1..9"),
    ],
)
def test_the_first_example_listed_twice_is_named(changes, message):
    with pytest.raises(ValueError, match="expected") as caught:
        assert_disjoint(100 + np.arange(10), places(**changes), ("north", "south"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_id_twice_in_one_split_is_a_leak():
    ids = np.arange(10)
    ids[1] = 0
    with pytest.raises(ValueError, match="example id 0 in train of client 0 and train of client 0"):
        assert_disjoint(ids, places())


def test_range_rows_follow_each_other():
    assert range_rows(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]
