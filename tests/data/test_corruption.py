"""Bad training data: at the rate asked for, of the clients asked for, of nothing else."""

import numpy as np
import pytest

from fedjax_layers.data import from_arrays
from fedjax_layers.data.changes.corruption import corrupt
from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.federated.federate import federate
from fedjax_layers.data.federated.leaks import range_rows

LENGTH, VOCABULARY, NUMBER = 8, 50, 400
BAD = np.array([False, True, False, True])


def language():
    """Windows of a text: a target is the next input; rows end at places of their own."""
    rng = np.random.default_rng(0)
    text = rng.integers(1, VOCABULARY, (NUMBER, LENGTH + 1))
    ended = np.arange(LENGTH) >= rng.integers(2, LENGTH + 1, NUMBER)[:, None]
    inputs = np.where(ended, 0, text[:, :-1]).astype(np.uint8)
    labels = np.where(ended, -1, text[:, 1:]).astype(np.int32)
    names = tuple(map(str, range(VOCABULARY)))
    return Dataset("words", inputs, labels, names, None, (), None, "made up", "none", task="language_modelling")


def clients(dataset):
    return federate(dataset, np.arange(len(dataset.labels)) % 4, stratified=False)


def rows_of(data, split, chosen):
    start, count = data.ranges[split]
    return range_rows(start[chosen].astype(np.int64), count[chosen].astype(np.int64))


@pytest.mark.parametrize("kind", ["token_noise", "label_flip"])
def test_only_training_examples_of_attacked_clients_change(kind):
    data = clients(language())
    found = corrupt(data, BAD, kind, 1.0, seed=3)
    kept = [rows_of(data, split, np.ones(4, bool)) for split in ("val", "test")] + [rows_of(data, "train", ~BAD)]
    for rows in kept:
        np.testing.assert_array_equal(found.inputs[rows], data.inputs[rows])
        np.testing.assert_array_equal(found.labels[rows], data.labels[rows])
    rows = rows_of(data, "train", BAD)
    assert (found.labels[rows] != data.labels[rows]).any(1).all()
    assert (found.inputs.dtype, found.labels.dtype) == (data.inputs.dtype, data.labels.dtype)
    assert found.partition_hash == data.partition_hash


def test_noise_comes_at_its_rate_and_keeps_text_and_padding():
    data = clients(language())
    found = corrupt(data, BAD, "token_noise", 0.3, seed=3)
    rows = rows_of(data, "train", BAD)
    before, after, targets = data.inputs[rows], found.inputs[rows], found.labels[rows]
    real = before != 0
    np.testing.assert_array_equal(after == 0, ~real)
    np.testing.assert_array_equal(targets >= 0, data.labels[rows] >= 0)
    inner = real[:, 1:] & (targets[:, :-1] >= 0)
    np.testing.assert_array_equal(targets[:, :-1][inner], after[:, 1:][inner])
    expected = 0.3 * (1 - 1 / (VOCABULARY - 1))  # noise may draw the token that is there
    number = real.sum()
    assert (before != after)[real].mean() == pytest.approx(expected, abs=4 * np.sqrt(expected / number))
    assert after.max() < VOCABULARY


def test_flipped_labels_are_the_mirrored_classes():
    data = clients(language())
    found = corrupt(data, BAD, "label_flip", 1.0, seed=3)
    rows = rows_of(data, "train", BAD)
    there = data.labels[rows] >= 0
    np.testing.assert_array_equal(found.labels[rows][there], VOCABULARY - 1 - data.labels[rows][there])
    np.testing.assert_array_equal(found.labels[rows][~there], -1)
    np.testing.assert_array_equal(found.inputs, data.inputs)


def test_the_seed_alone_decides():
    data = clients(language())
    one, same, other = (corrupt(data, BAD, "token_noise", 0.5, seed).inputs for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_nothing_changes_at_rate_zero_or_without_attacked_clients():
    data = clients(language())
    for bad, rate in ((BAD, 0.0), (np.zeros(4, bool), 1.0)):
        found = corrupt(data, bad, "token_noise", rate, seed=3)
        np.testing.assert_array_equal(found.inputs, data.inputs)
        np.testing.assert_array_equal(found.labels, data.labels)


def test_bad_input():
    data = clients(language())
    numbers = np.linspace(0, 1, 40, dtype=np.float32)[:, None]
    line = clients(from_arrays(numbers, numbers[:, 0], name="line"))
    for wrong, message in (
        ((data, BAD, "label_flop", 0.5, 0), "corruption: .* got 'label_flop'; did you mean 'label_flip'"),
        ((data, BAD, "label_flip", 1.5, 0), "rate: expected 0 to 1, got 1.5"),
        ((data, BAD[:3], "label_flip", 0.5, 0), r"bad: expected a flag for each of 4 clients, got shape \(3,\)"),
        (
            (line, BAD, "token_noise", 0.5, 0),
            "corruption: expected token numbers for 'token_noise', got the quantities",
        ),
        (
            (line, BAD, "label_flip", 0.5, 0),
            "corruption: expected classes for 'label_flip', got the regression of line",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            corrupt(*wrong)
