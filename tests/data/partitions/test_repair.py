"""Clients under a least size are topped up."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_layers.data.partitions import ensure_min_size
from fedjax_layers.data.partitions.counting import raise_sizes, top_up


def sequential(sizes, min_size):
    """What ensure_min_size must reach: each missing example in turn from whoever is largest then."""
    sizes = np.array(sizes)
    for c in np.flatnonzero(sizes < min_size):
        while sizes[c] < min_size:
            sizes[sizes.argmax()] -= 1
            sizes[c] += 1
    return sizes


@settings(deadline=None, max_examples=150)
@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=10).filter(any), data=st.data())
def test_min_size_repair_takes_from_the_largest(sizes, data):
    min_size = data.draw(st.integers(0, sum(sizes) // len(sizes)))
    before = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    after = ensure_min_size(before, len(sizes), min_size)
    repaired = np.bincount(after, minlength=len(sizes))
    np.testing.assert_array_equal(np.sort(repaired), np.sort(sequential(sizes, min_size)))
    short = np.array(sizes) < min_size
    assert (repaired[short] == min_size).all()
    assert (before != after).sum() == np.maximum(min_size - np.array(sizes), 0).sum()  # and nothing else moved
    np.testing.assert_array_equal(raise_sizes(np.array(sizes), min_size), repaired)


def test_min_size_repair_by_hand():
    owner = np.repeat([0, 1, 3], [6, 9, 1])  # sizes 6, 9, 0, 1; clients 2 and 3 lack 3 and 2
    after = ensure_min_size(owner, 4, 3)
    # Five from the largest: 9 -> 6, then 6 and 6 in turn -> 5 and 5.
    np.testing.assert_array_equal(np.bincount(after), [5, 5, 3, 3])
    np.testing.assert_array_equal(owner, np.repeat([0, 1, 3], [6, 9, 1]))  # the argument is left alone


@settings(deadline=None, max_examples=100)
@given(pairs=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=10))
def test_each_client_may_have_a_least_size_of_its_own(pairs):
    sizes, least = np.array(pairs).T
    least = least * sizes.sum() // max(least.sum(), 1)  # no more than there is
    owner = np.repeat(np.arange(len(sizes)), sizes)
    repaired = np.bincount(top_up(owner, least, np.random.default_rng(0)), minlength=len(sizes))
    assert (repaired >= least).all()
    assert repaired.sum() == sizes.sum()
    assert (repaired[sizes < least] == least[sizes < least]).all()
    assert (repaired <= np.maximum(sizes, least)).all()
