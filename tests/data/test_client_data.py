import dataclasses
import hashlib
import json
import struct

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_layers.data import SPLITS, Dataset, Preprocess, assert_no_leak, federate
from fedjax_layers.types import Pool, Ranges


def toy(n, ids=None):
    labels = np.zeros(n, np.int32)
    ids = None if ids is None else np.asarray(ids, np.int64)
    return Dataset("toy", np.zeros((n, 1), np.uint8), labels, ("only",), None, (), Preprocess(), "made up", "none", ids)


def members(data):
    """{(client, split): list of example ids}, read off the ranges."""
    return {
        (c, split): data.example_ids[data.rows(c, split)].tolist() for c in range(data.num_clients) for split in SPLITS
    }


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    unused=st.integers(0, 5),
    fractions=st.tuples(st.floats(0, 0.95), st.floats(0, 0.95)),
    seed=st.integers(0, 2**31),
)
def test_federate_splits_every_used_example_once(sizes, unused, fractions, seed):
    client_of = np.repeat(np.arange(-1, len(sizes)), [unused, *sizes])
    client_of = np.random.default_rng(seed).permutation(client_of)
    ids = np.random.default_rng(seed).permutation(10 * len(client_of))[: len(client_of)]
    data = federate(
        toy(len(client_of), ids), client_of, test_fraction=fractions[0], val_fraction=fractions[1], seed=seed
    )
    for c, size in enumerate(sizes):
        own = [i for split in SPLITS for i in members(data)[c, split]]
        assert sorted(own) == sorted(ids[client_of == c])
        assert len(own) == size
        assert data.sizes["train"][c] >= 1


def test_ranges_are_contiguous_by_client_then_split():
    data = federate(toy(50), np.arange(50) % 3)
    start = np.stack([data.ranges[s][0] for s in SPLITS], axis=1).ravel()
    count = np.stack([data.ranges[s][1] for s in SPLITS], axis=1).ravel()
    np.testing.assert_array_equal(start, np.cumsum(count) - count)
    assert count.sum() == len(data.inputs) == 50


def test_inputs_and_labels_follow_their_example(make_dataset):
    dataset = make_dataset(n=40, ids=np.arange(40) * 7 + 3)
    data = federate(dataset, np.arange(40) % 3)
    np.testing.assert_array_equal(data.inputs[:, 0], data.example_ids)
    np.testing.assert_array_equal(data.labels, (data.example_ids - 3) // 7 % 4)


@pytest.mark.parametrize(
    ("n", "expected"),
    # ceil(0.2 n) test, then ceil(0.2 of the rest) validation; the first two give back what training needs
    [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (5, (3, 1, 1)), (35, (22, 6, 7)), (100, (64, 16, 20))],
)
def test_split_sizes(n, expected):
    sizes = federate(toy(n), np.zeros(n, int)).sizes
    assert tuple(int(sizes[s][0]) for s in SPLITS) == expected


def test_split_of_a_client_does_not_depend_on_the_others():
    alone = federate(toy(60), np.where(np.arange(60) < 20, 0, -1))
    together = federate(toy(60), np.arange(60) // 20)
    for split in SPLITS:
        assert members(alone)[0, split] == members(together)[0, split]


def test_split_depends_on_the_seed_and_looks_random():
    tests = [federate(toy(1000), np.zeros(1000, int), seed=s).example_ids[-200:] for s in (1, 1, 2)]
    np.testing.assert_array_equal(tests[0], tests[1])
    # Two independent fifths share 40 of 1000 on average, with a standard deviation of 5.
    assert 20 <= len(np.intersect1d(tests[0], tests[2])) <= 60
    assert abs(tests[0].mean() - 499.5) < 4 * 288.7 / np.sqrt(200)


def test_hash_is_the_documented_digest():
    data = federate(toy(12), np.arange(12) % 2)
    parts = members(data)
    numbers = [2, *(len(parts[c, s]) for c in range(2) for s in SPLITS)]
    numbers += [i for c in range(2) for s in SPLITS for i in sorted(parts[c, s])]
    assert data.partition_hash == hashlib.sha256(struct.pack(f"<{len(numbers)}q", *numbers)).hexdigest()


def test_hash_golden_value():
    # Written down once: a change means that runs of different versions are not on the same split.
    hashes = [federate(toy(12), np.arange(12) % 2, stratified=s).partition_hash for s in (False, True)]
    assert hashes == [
        "264f5279dc67a0094b7f759d9c573a733692f795a2e1de3d06cc3687bf7e8d25",
        "733625d1b05930c47d88f0c52fccd0758ec290b0de0a7cdbb67f69f589e5eeb1",
    ]


def test_hash_sees_owners_and_splits_only():
    client_of = np.arange(30) % 3
    data = federate(toy(30), client_of)
    shuffled = np.random.default_rng(0).permutation(30)
    assert federate(toy(30, shuffled), client_of[shuffled]).partition_hash == data.partition_hash
    assert federate(toy(30), client_of, seed=1).partition_hash != data.partition_hash
    assert federate(toy(30), (client_of + 1) % 3).partition_hash != data.partition_hash


def replace_range(data, split, start, count):
    ranges = {**data.ranges, split: (np.asarray(start, np.int32), np.asarray(count, np.int32))}
    return dataclasses.replace(data, ranges=ranges)


def test_leak_between_splits_is_named():
    data = federate(toy(20), np.arange(20) % 2)
    start, count = data.ranges["val"]
    leaky = replace_range(data, "val", start, count + np.array([0, 1]))  # runs on into the client's test range
    leaked = data.example_ids[data.ranges["test"][0][1]]
    with pytest.raises(ValueError, match=rf"leak: .* example id {leaked} in val of client 1 and test of client 1"):
        assert_no_leak(leaky)


def test_leak_between_clients_is_named():
    data = federate(toy(20), np.arange(20) % 2, client_names=("north", "south"))
    ids = data.example_ids.copy()
    ids[data.rows(1, "train").start] = ids[data.rows(0, "test").start]
    with pytest.raises(ValueError, match=r"train of client 1 \(south\) and test of client 0 \(north\)"):
        assert_no_leak(dataclasses.replace(data, example_ids=ids))


def test_range_outside_the_pool_is_refused():
    data = federate(toy(20), np.arange(20) % 2)
    with pytest.raises(ValueError, match=r"ranges: expected rows 0\.\.19 of the pool, got 0\.\.20"):
        assert_no_leak(replace_range(data, "test", *(data.ranges["test"] + np.array([[0], [1]]))))


def test_federate_refuses_a_repeated_example_id():
    with pytest.raises(ValueError, match="example id 7 in"):
        federate(toy(6, [5, 7, 9, 11, 7, 13]), np.array([0, 0, 0, 1, 1, 1]))


@pytest.mark.parametrize(
    ("client_of", "options", "message"),
    [
        ([0, 0, 2, 2], {}, "training example for each client, got none for client 1$"),
        ([0, 0, 2, 2], {"client_names": ("a", "b", "c")}, r"none for client 1 \(b\)$"),
        ([0, 0, 0, 0], {"num_clients": 3}, r"none for client 1 \(and 1 more clients\)"),
        ([0, 0, 0, 1], {"num_clients": 1}, r"ids from -1 to 0, some not -1, got 0\.\.1"),
        ([-1, -1, -1, -1], {}, r"client_of: .* got -1\.\.-1"),
        ([-2, 0, 0, 0], {}, r"client_of: .* got -2\.\.0"),
        ([0, 0, 0], {}, r"client_of: expected 4 integers, got shape \(3,\)"),
        ([0.0, 0.0, 0.0, 0.0], {}, "client_of: expected 4 integers, got .* float64"),
        ([0, 0, 0, 0], {"test_fraction": 1.0}, r"test_fraction: expected a number in \[0, 1\), got 1.0"),
        ([0, 0, 0, 0], {"val_fraction": float("nan")}, "val_fraction: .* got nan"),
        ([0, 0, 0, 0], {"client_names": ("a", "b")}, "client_names: expected 1 names, got 2"),
    ],
)
def test_federate_errors(client_of, options, message):
    with pytest.raises(ValueError, match=message) as error:
        federate(toy(4), np.array(client_of), **options)
    assert "\n" not in str(error.value)


def test_unused_examples_do_not_enter_the_pool():
    data = federate(toy(10), np.array([0, -1] * 5))
    np.testing.assert_array_equal(np.sort(data.example_ids), np.arange(0, 10, 2))


def test_arrays_are_read_only_and_the_partition_is_json():
    data = federate(toy(10), np.zeros(10, int), partition={"scheme": "iid", "seed": 3})
    with pytest.raises(ValueError, match="read-only"):
        data.labels[0] = 1
    again = json.loads(json.dumps(data.partition))
    assert again["scheme"] == "iid"
    assert again["split"] == {
        "test_fraction": 0.2,
        "val_fraction": 0.2,
        "stratified": True,
        "in_order": False,
        "seed": 42,
    }


def test_the_global_test_set_is_hashed_placed_and_nobodys():
    owner = np.array([0, 1, 0, 1, 0, 1, -1, -1, -1, -1])
    without = federate(toy(10), owner)
    hashes = {without.partition_hash}
    for apart in ([6, 7], [6, 8], [6, 7, 8, 9]):
        flags = np.isin(np.arange(10), apart)
        data = federate(toy(10), owner, global_test=flags)
        assert data.example_ids[-len(apart) :].tolist() == apart
        assert members(data) == members(without)
        client, split = data.places
        assert client.tolist() == [0] * 3 + [1] * 3 + [-1] * len(apart)
        assert (split[-len(apart) :] == 2).all()
        hashes.add(data.partition_hash)
    assert len(hashes) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"global_test": np.ones(5, bool)}, r"global_test: expected 6 flags, got shape \(5,\) of bool"),
        ({"global_test": np.ones(6, int)}, r"global_test: expected 6 flags, got shape \(6,\) of int64"),
        (
            {"global_test": np.arange(6) > 3},
            "global_test: expected examples that are no client's, got row 4 of client 1",
        ),
        ({"teams": np.zeros(3, int)}, r"teams: expected 2 integers, got shape \(3,\)"),
    ],
)
def test_what_does_not_fit_the_clients_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        federate(toy(6), np.array([0, 0, 0, 1, 1, -1]), **options)


def test_pool_and_ranges_on_the_device():
    data = federate(toy(20), np.arange(20) % 2)
    pool, ranges = data.pool(), data.device_ranges("val")
    assert isinstance(pool, Pool)
    assert isinstance(ranges, Ranges)
    assert all(isinstance(x, jax.Array) for x in (*pool, *ranges))
    assert (pool.inputs.dtype, pool.labels.dtype, ranges.start.dtype) == (np.uint8, np.int32, np.int32)
    np.testing.assert_array_equal(ranges.count, data.sizes["val"])
    with pytest.raises(ValueError, match="split: expected one of train, val, test, got 'dev'"):
        data.device_ranges("dev")
