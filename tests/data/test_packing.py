"""One copy of the examples: moved inside the data set's own array where that is nobody's, and never written again."""

import importlib
import pathlib
import tracemalloc

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_layers import data
from fedjax_layers.data import packing
from fedjax_layers.data.federated import client_data, leaks
from fedjax_layers.data.sources import synthetic
from fedjax_layers.engine.device_data import to_device

federating = importlib.import_module("fedjax_layers.data.federated.federate")  # its function has the same name


@st.composite
def choices(draw):
    """Rows of an array, kept in blocks of which each is shuffled: all, or some of them."""
    total = draw(st.integers(1, 300))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = np.flatnonzero(rng.random(total) < draw(st.sampled_from([0.3, 0.9, 1.0])))
    edges = np.sort(rng.integers(0, len(rows) + 1, draw(st.integers(0, 20))))
    return total, np.concatenate([rng.permutation(part) for part in np.split(rows, edges)]).astype(np.int64)


@settings(deadline=None, max_examples=150)
@given(case=choices(), width=st.sampled_from([(), (1,), (5, 7)]), at_once=st.sampled_from([1, 64, 2**24]))
def test_rows_are_packed_alike_with_and_without_a_second_array(case, width, at_once):
    total, rows = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_AT_ONCE", at_once)
        array = packing.aligned_empty((total, *width), np.float32)
        array[...] = np.random.default_rng(0).random(array.shape)
        expected = array[rows]
        copied = packing.pack_rows(array, rows)
        moved = packing.pack_rows(array, rows, reuse=True)
    for found in (copied, moved):
        np.testing.assert_array_equal(found, expected)
        assert packing.is_aligned(found)
        assert not found.flags.writeable
    assert moved.base is not None
    assert np.shares_memory(moved, array) or not len(rows)
    assert not np.shares_memory(copied, array)


@settings(deadline=None, max_examples=100)
@given(case=choices())
def test_cuts_are_the_places_that_no_row_crosses(case):
    _, rows = case
    expected = [p for p in range(1, len(rows)) if rows[:p].max() < rows[p:].min()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_AT_ONCE", 24)  # three numbers at a time
        assert packing._cuts(rows).tolist() == expected if len(rows) else True


@settings(deadline=None, max_examples=100)
@given(owners=st.lists(st.integers(-1, 6), min_size=1, max_size=60), most=st.integers(1, 40), in_order=st.booleans())
def test_client_blocks_hold_each_clients_rows_once(owners, most, in_order):
    client_of = np.array(sorted(owners) if in_order else owners)
    seen = []
    for some, rows in packing.client_blocks(client_of, 7, most):
        expected = np.concatenate([np.flatnonzero(client_of == c) for c in range(some.start, some.stop)])
        np.testing.assert_array_equal(rows, expected)
        assert len(rows) <= most or some.stop - some.start == 1
        seen += list(range(some.start, some.stop))
    assert seen == list(range(7))


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int32", "bool"])
def test_settled_arrays_are_taken_by_a_cpu_device_as_they_lie(dtype):
    array = packing.settled(np.ones((1000, 7), dtype))
    assert packing.settled(array) is array
    for device in jax.devices():
        there = jax.device_put(array, device, may_alias=True)
        assert there.unsafe_buffer_pointer() == array.ctypes.data


def test_data_made_here_take_little_more_memory_than_they_have(monkeypatch):
    for module, name, value in (
        *((synthetic, "_CLIENTS_AT_ONCE", 64), (synthetic, "_ROWS_AT_ONCE", 256), (packing, "_AT_ONCE", 2**18)),
        *((module, "_ROWS_AT_ONCE", 2**12) for module in (federating, leaks, client_data)),
    ):
        monkeypatch.setattr(module, name, value)  # what is held beside the examples does not grow with them
    data.load("synthetic", clients=2)  # modules that are imported late
    tracemalloc.start()
    try:
        clients = data.load("synthetic", clients=1500, min_samples=40, max_samples=60, partition="natural")
        pool = to_device(clients).pool
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    held = clients.inputs.nbytes + clients.labels.nbytes
    assert pool.inputs.unsafe_buffer_pointer() == clients.inputs.ctypes.data
    assert pool.labels.unsafe_buffer_pointer() == clients.labels.ctypes.data
    assert peak < 1.5 * held, f"{peak / held:.2f} times the data"


@pytest.mark.parametrize("clients", [{}, {"feature_shift": "rotation"}])
def test_every_data_set_is_used_as_it_lies(clients):
    loaded = data.load("digits", clients=3, **clients)
    pool = loaded.pool()
    assert pool.inputs.unsafe_buffer_pointer() == loaded.inputs.ctypes.data
    with pytest.raises(ValueError, match="read-only"):
        loaded.inputs[0] = 0


def test_a_data_set_that_is_federated_twice_stays_as_it_is(make_dataset):
    dataset = make_dataset(n=30)
    before = dataset.inputs.copy()
    one, two = (data.federate(dataset, np.arange(30) % 3) for _ in range(2))
    np.testing.assert_array_equal(dataset.inputs, before)
    np.testing.assert_array_equal(one.inputs, two.inputs)


@pytest.mark.skipif(not pathlib.Path("/proc/self/status").exists(), reason="the pages of files are told on Linux alone")
def test_pages_of_a_file_are_let_go_of_while_its_rows_are_packed(tmp_path, monkeypatch):
    def pages():
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssFile:"))

    size = 2**25
    np.save(tmp_path / "large.npy", np.arange(size, dtype=np.uint8).reshape(-1, 256))
    stored = np.load(tmp_path / "large.npy", mmap_mode="r")
    monkeypatch.setattr(packing, "_AT_ONCE", 2**20)
    before = pages()
    packed = packing.pack_rows(stored[:], np.arange(len(stored))[::-1])
    assert pages() - before < size / 8
    np.testing.assert_array_equal(packed, stored[::-1])
    assert pages() - before > size / 2, "the last line has read it all"
