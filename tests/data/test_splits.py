"""Splits within clients and the global test set: exact sizes, kept shares, fair and independent choices."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_layers.data.federated.splits import assign_splits, random_keys, set_apart, split_counts

SEEDS = 1500


@st.composite
def federations(draw):
    """``(client_of, ids, strata, counts, seed)``: up to six clients, up to five classes, ids with gaps, any order."""
    sizes = np.array(draw(st.lists(st.integers(1, 40), min_size=1, max_size=6)))
    n = int(sizes.sum())
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    client_of = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    ids = rng.choice(10 * n, n, replace=False)
    strata = rng.choice(draw(st.integers(1, 5)), n, p=None) * 3  # numbered with gaps
    fractions = draw(st.floats(0, 0.9)), draw(st.floats(0, 0.9))
    return client_of, ids, strata, split_counts(sizes, *fractions), draw(st.integers(0, 2**31))


def exact_counts(n, test, val):
    """The documented rule in rational numbers."""
    test = math.ceil(test * n)
    val = math.ceil(val * (n - test))
    if test + val == n and n > 0:
        test, val = (test, val - 1) if val else (test - 1, val)
    return [n - test - val, val, test]


def within_rounding(found, wanted, size, of):
    """``found`` is ``of * wanted / size``, rounded up or down."""
    return of * wanted // size <= found <= -(-of * wanted // size)


@settings(deadline=None, max_examples=200)
@given(n=st.integers(0, 5000), test=st.integers(0, 99), val=st.integers(0, 99))
def test_counts_are_rounded_as_in_exact_arithmetic(n, test, val):
    expected = exact_counts(n, Fraction(test, 100), Fraction(val, 100))
    assert split_counts(np.array([n]), test / 100, val / 100).tolist() == [expected]


@settings(deadline=None, max_examples=100)
@given(case=federations(), stratified=st.booleans())
def test_every_client_has_exactly_the_counts(case, stratified):
    client_of, ids, strata, counts, seed = case
    split = assign_splits(client_of, ids, strata if stratified else None, counts, seed)
    found = np.zeros_like(counts)
    np.add.at(found, (client_of, split), 1)
    np.testing.assert_array_equal(found, counts)


@settings(deadline=None, max_examples=100)
@given(case=federations())
def test_every_class_of_a_client_has_its_share_in_each_split(case):
    client_of, ids, strata, counts, seed = case
    split = assign_splits(client_of, ids, strata, counts, seed)
    for c, (train, val, test) in enumerate(counts):
        for k in np.unique(strata):
            own = split[(client_of == c) & (strata == k)]
            rest = own[own != 2]
            assert within_rounding(len(own) - len(rest), test, train + val + test, of=len(own))
            assert within_rounding((rest == 1).sum(), val, train + val, of=len(rest))


@settings(deadline=None, max_examples=100)
@given(case=federations(), stratified=st.booleans(), data=st.data())
def test_neither_the_order_of_rows_nor_other_clients_matter(case, stratified, data):
    client_of, ids, strata, counts, seed = case
    strata = strata if stratified else np.zeros_like(strata)
    split = assign_splits(client_of, ids, strata if stratified else None, counts, seed)
    order = data.draw(st.permutations(range(len(ids))))
    some = np.array([row for row in order if client_of[row] == client_of[order[0]]])
    alone = np.zeros(len(some), int)
    mine = counts[[client_of[order[0]]]]
    again = assign_splits(alone, ids[some], strata[some] if stratified else None, mine, seed)
    np.testing.assert_array_equal(again, split[some])


# A client of 31 examples in three classes, none of which divides evenly.
CLASSES = np.repeat([0, 1, 2], [5, 9, 17])
IDS = np.arange(31) * 7 + 2
COUNTS = split_counts(np.array([31]), 0.25, 0.3)


def assert_chance(times, chance, draws=SEEDS):
    """``times`` [n] of independent draws each have this chance: each within 5 sigma, and all together."""
    variance = draws * chance * (1 - chance)
    deviations = (times - draws * chance) / np.sqrt(variance)
    assert np.abs(deviations).max() < 5
    # The sum of n squares has mean n at most; its spread is that of chi-square, 2n, or less.
    assert (deviations**2).sum() < len(times) + 5 * np.sqrt(2 * len(times))


@pytest.mark.parametrize("strata", [CLASSES, None], ids=["stratified", "not stratified"])
def test_every_example_is_in_each_split_equally_often(strata):
    splits = np.stack([assign_splits(np.zeros(31, int), IDS, strata, COUNTS, seed) for seed in range(SEEDS)])
    for number, count in enumerate(COUNTS[0]):
        assert_chance((splits == number).sum(0), count / 31)


def test_every_pair_of_a_class_is_tested_together_equally_often():
    """Fair chances alone would also hold for blocks of neighbours that always go together."""
    counts = np.array([[12, 0, 8]])
    classes = np.repeat([0, 1], 10)
    rows = [assign_splits(np.zeros(20, int), np.arange(20), classes, counts, s) == 2 for s in range(SEEDS)]
    test = np.stack(rows).astype(int)
    together = (test.T @ test)[:10, :10][np.triu_indices(10, 1)]  # 4 of 10 are drawn
    assert_chance(together, 4 / 10 * 3 / 9)


def test_clients_draw_on_their_own():
    """Of two clients of a single odd example each, a test example of one tells nothing of the other's."""
    client_of, counts = np.repeat([0, 1], 10), np.array([[9, 0, 1], [9, 0, 1]])
    classes = np.tile(np.arange(10), 2)
    tests = [np.flatnonzero(assign_splits(client_of, np.arange(20), classes, counts, s) == 2) for s in range(SEEDS)]
    first, second = np.array(tests).T
    assert_chance(np.bincount(first * 10 + second - 10, minlength=100), 1 / 100)


@settings(deadline=None, max_examples=100)
@given(case=federations(), share=st.floats(0.01, 0.99))
def test_a_global_test_set_has_its_size_and_every_class_its_share(case, share):
    _, ids, strata, _, seed = case
    n = len(ids)
    flags = set_apart(ids, strata, share, seed)
    wanted = math.ceil(share * n - 1e-9)
    assert flags.sum() == wanted
    for k in np.unique(strata):
        assert within_rounding(flags[strata == k].sum(), wanted, n, of=int((strata == k).sum()))
    order = np.random.default_rng(seed).permutation(n)
    np.testing.assert_array_equal(set_apart(ids[order], strata[order], share, seed), flags[order])


def test_a_global_test_set_and_what_is_left_are_drawn_fairly():
    """Both draws use the same random keys: who is left over must not be likelier in one split than in another."""
    apart, tests = np.zeros(31, int), np.zeros(31, int)
    for seed in range(SEEDS):
        flags = set_apart(IDS, CLASSES, 0.3, seed)
        apart += flags
        left = np.flatnonzero(~flags)
        counts = split_counts(np.array([len(left)]), 0.25, 0.3)
        split = assign_splits(np.zeros(len(left), int), IDS[left], CLASSES[left], counts, seed)
        tests[left] += split == 2
    assert_chance(apart, 10 / 31)
    assert_chance(tests, (21 / 31) * (6 / 21))


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match=rf"global_test: expected a share in \(0, 1\), got {share}"):
        set_apart(IDS, CLASSES, share, 0)


def test_keys_are_the_published_splitmix64(monkeypatch):
    """Outputs of the reference implementation in C from the state 1234567 (Vigna; Rosetta Code)."""

    class State:
        def __init__(self, seed):
            self.seed = seed

        def generate_state(self, words, dtype):
            return np.array([self.seed] * words, dtype)

    monkeypatch.setattr(np.random, "SeedSequence", State)
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert random_keys(np.arange(1, 6), 1234567).tolist() == expected


def test_in_order_the_last_ids_are_test_and_the_first_training():
    client_of, ids = np.array([0, 1, 0, 0, 1, 0, 0]), np.array([9, 3, 1, 40, 2, 7, 8])
    counts = np.array([[2, 1, 2], [1, 0, 1]])
    for seed, strata in ((0, None), (5, np.array([0, 1, 1, 0, 0, 1, 1]))):
        split = assign_splits(client_of, ids, strata, counts, seed, in_order=True)
        assert split.tolist() == [2, 2, 0, 2, 0, 0, 1]


def test_no_examples_are_split_into_nothing():
    for strata in (None, np.empty(0, int)):
        assert assign_splits(np.empty(0, int), np.empty(0, int), strata, np.zeros((1, 3), int), 0).tolist() == []
