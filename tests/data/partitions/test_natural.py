"""The clients that the data come with, alone or in groups."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_layers.data import load
from fedjax_layers.data.partitions import natural, natural_grouped


def test_natural_is_the_given_assignment():
    clients = np.array([2, 0, 1, 1, -1])
    owner = natural(np.zeros(5, int), clients=clients)
    np.testing.assert_array_equal(owner, clients)
    assert owner.dtype == np.int32
    with pytest.raises(ValueError, match="num_clients: expected 3, the natural clients of the data, got 4"):
        natural(np.zeros(5, int), 4, clients=clients)
    with pytest.raises(ValueError, match=r"clients: expected 5 integers, got shape \(4,\)"):
        natural(np.zeros(5, int), clients=clients[:4])
    with pytest.raises(ValueError, match=r"clients: .* got -1\.\.-1"):
        natural(np.zeros(5, int), clients=np.full(5, -1))
    with pytest.raises(ValueError, match=r"clients: .* got -2\.\.2"):
        natural(np.zeros(5, int), clients=np.array([2, 0, 1, 1, -2]))
    np.testing.assert_array_equal(natural(np.zeros(3, int), clients=np.array([1, 0, 1], np.uint8)), [1, 0, 1])


@settings(deadline=None, max_examples=150)
@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=40).filter(any), data=st.data())
def test_groups_hold_whole_clients_equally_many_and_nearly_equally_large(sizes, data):
    present = np.count_nonzero(sizes)
    groups = data.draw(st.integers(1, present))
    clients = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    clients = np.concatenate([clients, [-1, -1]])
    owner = natural_grouped(np.zeros(len(clients), int), groups, data.draw(st.integers(0, 2**31)), clients=clients)
    assert owner[clients < 0].tolist() == [-1, -1]
    pairs = np.unique(np.stack([clients, owner])[:, clients >= 0], axis=1)
    assert pairs.shape[1] == present  # each client in one group
    members = np.bincount(pairs[1], minlength=groups)
    assert members.max() - members.min() <= 1
    totals = np.bincount(owner[owner >= 0], minlength=groups)
    assert totals.max() - totals.min() <= max(sizes)


def test_groups_of_a_data_set():
    data = load("heart", partition="natural_grouped", clients=2, seed=1)
    assert data.num_clients == 2
    assert data.client_names == ()
    assert sorted(sum(data.sizes.values()).tolist()) in [[303 + 46, 261 + 130], [303 + 130, 261 + 46], [176, 564]]
    with pytest.raises(ValueError, match=r"partition: expected .* for digits, got 'natural_grouped'"):
        load("digits", partition="natural_grouped")


def test_no_more_groups_than_clients():
    with pytest.raises(ValueError, match=r"num_clients: expected 1\.\.2, the natural clients of the data, got 3"):
        natural_grouped(np.zeros(5, int), 3, clients=np.array([7, 7, 0, 0, -1]))
