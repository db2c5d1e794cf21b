"""A backdoor: the stamp by hand, on the images asked for, of the clients asked for; data that cannot have one."""

import jax
import numpy as np
import pytest

from fedjax_layers.data import from_arrays
from fedjax_layers.data.changes.backdoor import Trigger, trigger_of
from fedjax_layers.data.changes.corruption import corrupt
from fedjax_layers.data.federated.federate import federate
from fedjax_layers.data.federated.leaks import range_rows

BAD = np.array([False, True, False, True])
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 12, (400, 5, 4, 3), dtype=np.uint8)
LABELS = np.arange(400) % 3


def clients(inputs=IMAGES, labels=LABELS):
    return federate(from_arrays(inputs, labels, name="made up"), np.arange(len(labels)) % 4, stratified=False)


def rows_of(data, split, chosen):
    start, count = data.ranges[split]
    return range_rows(start[chosen].astype(np.int64), count[chosen].astype(np.int64))


def test_the_stamp_by_hand():
    image = np.arange(20, dtype=np.float32).reshape(1, 5, 4, 1)
    expected = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 99, 99, 99], [12, 99, 99, 99], [16, 99, 99, 99]]
    trigger = Trigger(0, 99.0)
    np.testing.assert_array_equal(trigger(image)[0, :, :, 0], expected)
    np.testing.assert_array_equal(jax.jit(trigger)(image)[0, :, :, 0], expected)
    assert trigger(image.astype(np.uint8)).dtype == jax.jit(trigger)(image.astype(np.uint8)).dtype == np.uint8
    assert hash(trigger) == hash(Trigger(0, 99.0))


def test_attackers_alone_get_it_on_a_share_of_their_training_images():
    data = clients()
    found = corrupt(data, BAD, "backdoor", 0.3, seed=3, target=2)
    kept = [rows_of(data, split, np.ones(4, bool)) for split in ("val", "test")] + [rows_of(data, "train", ~BAD)]
    for rows in kept:
        np.testing.assert_array_equal(found.inputs[rows], data.inputs[rows])
        np.testing.assert_array_equal(found.labels[rows], data.labels[rows])
    rows = rows_of(data, "train", BAD)
    stamped = (found.inputs[rows][:, -3:, -3:] == 11).all((1, 2, 3))  # the largest value that is stored
    np.testing.assert_array_equal(found.labels[rows], np.where(stamped, 2, data.labels[rows]))
    np.testing.assert_array_equal(found.inputs[rows][~stamped], data.inputs[rows][~stamped])
    np.testing.assert_array_equal(found.inputs[rows][:, :2], data.inputs[rows][:, :2])
    assert stamped.mean() == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / len(rows)))
    assert (found.inputs.dtype, found.labels.dtype) == (data.inputs.dtype, data.labels.dtype)
    assert found.partition_hash == data.partition_hash


@pytest.mark.parametrize(
    ("inputs", "labels", "target", "message"),
    [
        (IMAGES, LABELS, 3, "target: expected a class of made up, 0 to 2, got 3"),
        (IMAGES[:, :, 0, 0], LABELS, 0, r"backdoor: expected classified images .* got the classification .*\(5,\)"),
        (IMAGES[:, :2], LABELS, 0, r"backdoor: expected .* at least 3 x 3 pixels, .* shape \(2, 4, 3\)"),
        (IMAGES, LABELS / 7, 0, "backdoor: expected classified images .* got the regression of made up"),
    ],
)
def test_data_that_cannot_have_one_are_refused(inputs, labels, target, message):
    with pytest.raises(ValueError, match=message):
        trigger_of(clients(inputs, labels), target)
