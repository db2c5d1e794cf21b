"""The clients' data on the device: phases one after the other in one pool, and what they may not differ in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers.data import SPLITS, federate, from_arrays, load
from fedjax_layers.data.changes.drift import Phase, exchange_data, without_clients
from fedjax_layers.engine.device_data import to_device


@pytest.fixture(scope="module")
def data():
    """Heart's four hospitals of very different size, and a global test set."""
    return load("heart", global_test=0.1)


def examples(source, split):
    """Inputs of each client's split, read through the device's ranges."""
    ranges, _ = source.split(split)
    return [
        np.asarray(source.pool.inputs[int(s) : int(s) + int(n)])
        for s, n in zip(ranges.start, ranges.count, strict=True)
    ]


def expected(data, split):
    return [data.inputs[data.rows(c, split)] for c in range(data.num_clients)]


def test_without_phases_it_is_the_data_themselves(data):
    source = to_device(data)
    assert source.since == ()
    assert source.num_clients == 4
    assert source.at(7) is source
    for split in SPLITS:
        jax.tree.map(np.testing.assert_array_equal, examples(source, split), expected(data, split))
    assert source.largest == (*(int(data.sizes[split].max()) for split in SPLITS), data.global_test)
    rows = slice(int(source.global_test.start[0]), int(source.global_test.start[0] + source.global_test.count[0]))
    np.testing.assert_array_equal(source.pool.inputs[rows], data.inputs[-data.global_test :])
    np.testing.assert_array_equal(source.pool.labels[rows], data.labels[-data.global_test :])


def test_one_phase_is_no_phase(data):
    one = to_device([Phase(0, data)])
    assert one.since == ()
    assert one.train.count.shape == (4,)


def some_of(data):
    """Two thirds of the examples, in a pool of their own and split anew."""
    owner = np.where(np.arange(len(data.inputs)) % 3, data.places[0], -1)
    return federate(from_arrays(data.inputs, data.labels, missing="mean"), owner, val_fraction=0.4)


def test_every_round_sees_the_data_of_its_phase(data):
    """The phases differ in their pools' lengths, their owners and their largest client; two share their examples."""
    early = without_clients(data, np.array([0]))  # the largest
    phases = [Phase(0, early), Phase(2, some_of(data)), Phase(5, exchange_data(data, np.arange(4)))]
    source = to_device(phases)
    assert source.num_clients == 4
    assert len(source.pool.inputs) == len(data.inputs) + len(phases[1].data.inputs)
    for t, phase in ((0, 0), (1, 0), (2, 1), (4, 1), (5, 2), (99, 2)):
        for split in SPLITS:
            found = examples(source.at(jnp.int32(t)), split)
            jax.tree.map(np.testing.assert_array_equal, found, expected(phases[phase].data, split))
    largest = [max(int(p.data.sizes[split].max()) for p in phases) for split in SPLITS]
    assert source.largest == (*largest, data.global_test)
    assert largest[0] > int(early.sizes["train"].max())
    start = int(source.at(9).global_test.start[0])
    np.testing.assert_array_equal(
        source.pool.inputs[start : start + data.global_test], data.inputs[-data.global_test :]
    )


def test_the_phase_is_chosen_inside_a_compiled_program(data):
    source = to_device([Phase(0, data), Phase(3, without_clients(data, np.array([1])))])
    counts = jax.jit(lambda s, t: s.at(t).train.count)
    sizes = data.sizes["train"].tolist()
    assert counts(source, jnp.int32(2)).tolist() == sizes
    assert counts(source, jnp.int32(3)).tolist() == [sizes[0], 0, *sizes[2:]]


def test_phases_that_do_not_go_together_are_refused(data):
    other, four = (load("digits", partition="iid", clients=n) for n in (3, 4))
    for phases, message in (
        ([], r"phases: expected rounds that start at 0 and go up, got \[\]"),
        ([Phase(1, data)], r"start at 0 and go up, got \[1\]"),
        ([Phase(0, data), Phase(0, data)], r"start at 0 and go up, got \[0, 0\]"),
        ([Phase(0, data), Phase(4, data), Phase(2, data)], r"start at 0 and go up, got \[0, 4, 2\]"),
        ([Phase(0, data), Phase(1, other)], r"phases: expected one number of clients, got \[3, 4\]"),
        ([Phase(0, data), Phase(1, four)], r"phases: expected inputs of one shape and type, got float32 \(10,\) and"),
    ):
        with pytest.raises(ValueError, match=message):
            to_device(phases)
