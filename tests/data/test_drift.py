"""Data that change: what moves, what is left alone, and that no example ever changes its split."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_layers.data import SPLITS, assert_no_leak, federate, from_arrays, load, load_dataset
from fedjax_layers.data.changes.drift import drift_phases, exchange_data, shift_inputs, swap_classes, without_clients

SOME = np.array([1, 3, 4])
OTHERS = np.array([0, 2, 5])


@pytest.fixture(scope="module")
def data():
    """Six clients of the digits and a global test set."""
    return load("digits", clients=6, alpha=0.5, seed=1, global_test=0.1)


def held(data, client):
    """Ids of a client's examples, by split."""
    return tuple(tuple(np.sort(data.example_ids[data.rows(client, split)]).tolist()) for split in SPLITS)


def rows_of(data, clients):
    return np.isin(data.places[0], clients)


def assert_same_split(before, after):
    """Who owns an example may change; whether it is for training may not."""
    assert_no_leak(after)
    np.testing.assert_array_equal(after.example_ids, before.example_ids)
    owned = after.places[0] >= 0
    np.testing.assert_array_equal(after.places[1][owned], before.places[1][owned])
    assert after.global_test == before.global_test
    assert not owned[len(owned) - after.global_test :].any()


@settings(deadline=None, max_examples=30)
@given(clients=st.sets(st.integers(0, 5), min_size=2), seed=st.integers(0, 2**31))
def test_label_shift_passes_whole_clients_on_in_one_circle(data, clients, seed):
    after = exchange_data(data, np.array(sorted(clients)), seed)
    before = [held(data, c) for c in range(6)]
    source = [before.index(held(after, c)) for c in range(6)]
    assert [source[c] for c in range(6) if c not in clients] == [c for c in range(6) if c not in clients]
    circle = [min(clients)]
    while source[circle[-1]] != circle[0]:
        circle.append(source[circle[-1]])
    assert sorted(circle) == sorted(clients)
    assert_same_split(data, after)
    assert after.inputs is data.inputs
    assert after.labels is data.labels


def test_the_circle_depends_on_the_seed(data):
    everybody = np.arange(6)
    assert len({held(exchange_data(data, everybody, seed), 0) for seed in range(12)}) > 1
    one, other = (exchange_data(data, everybody, 3).partition_hash for _ in range(2))
    assert one == other != data.partition_hash


def test_one_client_has_nobody_to_pass_its_data_to(data):
    with pytest.raises(ValueError, match="drift: expected at least 2 clients for label_shift, got 1"):
        exchange_data(data, np.array([2]))
    with pytest.raises(ValueError, match="drift: expected at least 2 clients for label_shift, got 1"):
        drift_phases(data, ["label_shift@3:0.1"])


def test_a_class_swap_relabels_the_clients_concerned_in_all_splits(data):
    after = swap_classes(data, SOME)
    rows = rows_of(data, SOME)
    expected = np.array([1, 0, 3, 2, 5, 4, 7, 6, 9, 8])
    np.testing.assert_array_equal(after.labels[rows], expected[data.labels[rows]])
    np.testing.assert_array_equal(after.labels[~rows], data.labels[~rows])
    np.testing.assert_array_equal(after.strata, after.labels)
    assert (after.labels.dtype, after.strata.dtype) == (data.labels.dtype, data.strata.dtype)
    assert_same_split(data, after)
    assert after.inputs is data.inputs
    np.testing.assert_array_equal(swap_classes(after, SOME).labels, data.labels)


def test_the_last_of_an_odd_number_of_classes_keeps_its_place():
    heart = load("heart")
    after = swap_classes(heart, np.arange(4))
    np.testing.assert_array_equal(after.labels, np.array([1, 0, 3, 2, 4])[heart.labels])


def test_strata_that_are_not_the_classes_stay(make_dataset):
    strata = (np.arange(40) % 2).astype(np.int32)
    dataset = dataclasses.replace(make_dataset(), strata=strata, strata_names=("even", "odd"))
    data = federate(dataset, np.arange(40) % 4)
    after = swap_classes(data, np.array([0, 1]))
    assert (after.labels != data.labels).any()
    np.testing.assert_array_equal(after.strata, data.strata)


def test_a_regression_has_no_classes_to_swap():
    numbers = np.linspace(0, 1, 20, dtype=np.float32)
    data = federate(from_arrays(numbers[:, None], numbers, name="line"), np.arange(20) % 2)
    for change in (lambda: swap_classes(data, np.array([0])), lambda: drift_phases(data, ["class_swap@1"])):
        with pytest.raises(ValueError, match=r"expected a classification for class_swap, got line \(regression\)"):
            change()


def test_rotation_turns_the_clients_concerned_and_nobody_else(data):
    after = shift_inputs(data, SOME, kind="rotation")
    assert after.inputs.dtype == data.inputs.dtype == np.uint8
    # Three clients and one that stays: quarters of a circle.
    for quarter, client in enumerate(SOME, start=1):
        rows = data.places[0] == client
        np.testing.assert_array_equal(after.inputs[rows], np.rot90(data.inputs[rows], quarter, axes=(1, 2)))
    rows = rows_of(data, SOME)
    np.testing.assert_array_equal(after.inputs[~rows], data.inputs[~rows])
    assert after.labels is data.labels
    assert_same_split(data, after)


@pytest.mark.parametrize("kind", ["noise", "blur", "contrast"])
def test_shifted_inputs_keep_their_dtype_and_the_others_theirs(data, kind):
    after = shift_inputs(data, SOME, 4, kind=kind)
    assert after.inputs.dtype == np.uint8
    assert after.inputs.max() <= 16
    for client in SOME:
        rows = data.places[0] == client
        assert (after.inputs[rows] != data.inputs[rows]).mean() > 0.05
    rows = rows_of(data, SOME)
    np.testing.assert_array_equal(after.inputs[~rows], data.inputs[~rows])


def test_a_shift_of_what_are_no_images_is_refused():
    with pytest.raises(ValueError, match="expected images"):
        drift_phases(load("heart"), ["rotation@2"])


def test_clients_without_data_own_nothing(data):
    before = without_clients(data, SOME)
    for split in SPLITS:
        assert before.sizes[split][SOME].tolist() == [0, 0, 0]
        np.testing.assert_array_equal(before.sizes[split][OTHERS], data.sizes[split][OTHERS])
    for client in OTHERS:
        assert held(before, client) == held(data, client)
    assert_same_split(data, before)


def test_new_clients_are_absent_before_and_there_after(data):
    first, second = drift_phases(data, ["new_clients@4:0.34"], seed=2)
    assert (first.since, second.since) == (0, 4)
    absent = np.flatnonzero(first.data.sizes["train"] == 0)
    assert len(absent) == 2  # a third of six
    assert all((first.data.sizes[split][absent] == 0).all() for split in SPLITS)
    assert [held(second.data, c) for c in range(6)] == [held(data, c) for c in range(6)]


def test_new_clients_that_come_later_stay_away_longer(data):
    phases = drift_phases(data, ["new_clients@2:0.34", "new_clients@5:0.34"], seed=0)
    absent = [set(np.flatnonzero(p.data.sizes["train"] == 0).tolist()) for p in phases]
    assert [p.since for p in phases] == [0, 2, 5]
    assert len(absent[1]) == 2
    assert absent[0] > absent[1] > absent[2] == set()


def test_leaving_clients_are_there_before_and_absent_from_then_on(data):
    phases = drift_phases(data, ["leaving_clients@4:0.34", "noise@6:1"], seed=2)
    first, second, third = (set(np.flatnonzero(p.data.sizes["train"] == 0).tolist()) for p in phases)
    assert [p.since for p in phases] == [0, 4, 6]
    assert first == set()
    assert len(second) == 2  # a third of six
    assert third == second
    assert all((phases[1].data.sizes[split][list(second)] == 0).all() for split in SPLITS)


EVERYTHING = (
    "label_shift@2",
    "new_clients@3:0.2",
    "class_swap@5:1",
    "noise@8:0.5",
    "rotation@9",
    "leaving_clients@10:0.2",
    "label_shift@11:1",
)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_changes_no_example_changes_its_split(data, seed):
    phases = drift_phases(data, EVERYTHING, seed)
    assert [p.since for p in phases] == [0, 2, 3, 5, 8, 9, 10, 11]
    for _, after in phases:
        assert_same_split(data, after)
        assert after.num_clients == 6


def test_changes_add_up(data):
    """After the swap and the noise the labels are still swapped, and at the owners that the label shift made."""
    phases = [p.data for p in drift_phases(data, ["label_shift@1:1", "class_swap@2:0.5", "noise@3:0.5"], seed=1)]
    assert held(phases[3], 0) == held(phases[1], 0) != held(data, 0)
    np.testing.assert_array_equal(phases[3].labels, phases[2].labels)
    swapped = np.unique(phases[2].places[0][phases[2].labels != data.labels])
    np.testing.assert_array_equal(np.unique(phases[1].places[0][phases[2].labels != data.labels]), swapped)
    assert len(swapped) == 3
    noisy = (phases[3].inputs != data.inputs).any(axis=(1, 2, 3))
    assert len(np.unique(phases[3].places[0][noisy])) == 3
    np.testing.assert_array_equal(phases[2].inputs, data.inputs)


@pytest.mark.parametrize(("share", "number"), [("", 3), (":1", 6), (":0.5", 3), (":.17", 1), (":0.01", 1)])
def test_a_share_of_the_clients_is_concerned_at_least_one(data, share, number):
    _, after = drift_phases(data, [f"class_swap@7{share}"])
    assert len(np.unique(data.places[0][after.data.labels != data.labels])) == number


def test_who_is_concerned_depends_on_the_seed_alone(data):
    def concerned(seed):
        labels = drift_phases(data, ["class_swap@1"], seed)[1].data.labels
        return tuple(np.unique(data.places[0][labels != data.labels]))

    assert concerned(5) == concerned(5)
    assert len({concerned(seed) for seed in range(8)}) > 3


def test_without_changes_there_is_one_phase(data):
    ((since, only),) = drift_phases(data, [])
    assert since == 0
    assert only is data


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["clas_swap@3"], "drift: expected one of .* got 'clas_swap'; did you mean 'class_swap'"),
        (["label_shft@3"], "got 'label_shft'; did you mean 'label_shift'"),
        (["new_client@3"], "got 'new_client'; did you mean 'new_clients'"),
        (["rotate@3"], "got 'rotate'; did you mean 'rotation'"),
        (["class_swap"], "expected name@round or name@round:share, got 'class_swap'"),
        (["class_swap@"], "expected name@round or name@round:share, got 'class_swap@'"),
        (["class_swap@three"], "expected name@round or name@round:share"),
        (["class_swap@-1"], "expected name@round or name@round:share"),
        (["class_swap@3:"], "expected name@round or name@round:share"),
        (["class_swap@3:half"], "expected name@round or name@round:share"),
        (["class_swap@3:-0.5"], "expected name@round or name@round:share"),
        (["class_swap@3;noise@5"], "expected name@round or name@round:share"),
        ([" class_swap@3"], "expected name@round or name@round:share"),
        ([""], "expected name@round or name@round:share, got ''"),
        (["class_swap@3:0"], r"expected a share of clients in \(0, 1\], got 'class_swap@3:0'"),
        (["class_swap@3:0.0"], r"expected a share of clients in \(0, 1\]"),
        (["class_swap@3:1.1"], r"expected a share of clients in \(0, 1\], got 'class_swap@3:1.1'"),
        (["class_swap@0"], "expected rounds that go up from 1, got 'class_swap@0' after round 0"),
        (["noise@5", "class_swap@5"], "expected rounds that go up from 1, got 'class_swap@5' after round 5"),
        (["noise@5", "class_swap@3"], "expected rounds that go up from 1, got 'class_swap@3' after round 5"),
        (["new_clients@5:1"], "expected some clients with data from round 0 on, got none"),
        (["leaving_clients@5:1"], "expected some clients with data from round 5 on, got none"),
        (
            ["new_clients@5:0.9", "new_clients@6:0.9", "new_clients@7:0.9"],
            "expected some clients with data from round 0",
        ),
        (["colour@2"], "expected 'invert' for grey images"),
    ],
)
def test_changes_that_make_no_sense_are_refused_in_one_line(data, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        drift_phases(data, changes)
    assert "\n" not in str(caught.value)


def test_the_digits_themselves_are_untouched(data):
    drift_phases(data, EVERYTHING)
    digits = load_dataset("digits")
    np.testing.assert_array_equal(data.inputs, digits.inputs[data.example_ids])
    np.testing.assert_array_equal(data.labels, digits.labels[data.example_ids])
