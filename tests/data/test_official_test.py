"""What becomes of a test part that the data come with: nobody trains on it."""

import numpy as np
import pytest

from fedjax_layers.data import SPLITS, federate, from_arrays, load, load_dataset


def write(path, rows, clients=True):
    """An npz of rows ``(client, whether test)``, each row's input its number; test rows of client ``""`` have none."""
    owner, test = np.array([c for c, _ in rows]), np.array([t for _, t in rows], bool)
    x, y = np.arange(len(rows), dtype=np.float32)[:, None], np.arange(len(rows)) % 2
    arrays = {"x": x[~test], "y": y[~test], "x_test": x[test], "y_test": y[test]}
    if clients:
        arrays["client"] = owner[~test]
    if clients and (owner[test] != "").all():
        arrays["client_test"] = owner[test]
    np.savez(path, **arrays)
    return {"name": "npz", "path": str(path)}


def inputs(data, client, split):
    """Row numbers in the file of one client's split."""
    return set(data.inputs[data.rows(client, split), 0].astype(int).tolist())


def apart(data):
    """Row numbers of the global test set."""
    return set(data.inputs[len(data.inputs) - data.global_test :, 0].astype(int).tolist())


MIXED = [("a", 0)] * 10 + [("b", 0)] * 15 + [("a", 1)] * 2 + [("b", 1)] * 3


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data.npz"


def test_a_clients_own_test_examples_are_its_test_split(path):
    data = load(**write(path, MIXED))
    assert [inputs(data, c, "test") for c in (0, 1)] == [{25, 26}, {27, 28, 29}]
    # A fifth of the other examples, rounded up, is validation; none of them is test.
    assert {split: count.tolist() for split, count in data.sizes.items()} == {
        "train": [8, 12],
        "val": [2, 3],
        "test": [2, 3],
    }
    assert data.global_test == 0
    assert data.partition["own_test"] == 5
    again = load(**write(path, MIXED), test_fraction=0.5)
    assert again.partition_hash == data.partition_hash, "test_fraction is for clients without test examples"
    everything = set().union(*(inputs(data, c, s) for c in (0, 1) for s in SPLITS))
    assert everything == set(range(30))


def test_validation_is_cut_from_the_training_part_by_its_fraction_and_seed(path):
    where = write(path, MIXED)
    assert load(**where, val_fraction=0).sizes["val"].tolist() == [0, 0]
    splits = {tuple(sorted(inputs(load(**where, split_seed=s), 1, "val"))) for s in range(5)}
    assert len(splits) > 1
    assert all(row < 25 for split in splits for row in split)
    ordered = load(**where, in_order=True)
    assert inputs(ordered, 0, "val") == {8, 9}


def test_a_client_without_test_examples_gets_the_usual_share(path):
    data = load(**write(path, [("a", 0)] * 10 + [("b", 0)] * 10 + [("a", 1)] * 4))
    assert data.sizes["test"].tolist() == [4, 2]
    assert data.sizes["val"].tolist() == [2, 2]
    assert data.sizes["train"].tolist() == [8, 6]


def test_test_examples_of_a_client_that_does_not_train_are_the_global_test_set(path):
    data = load(**write(path, [("a", 0)] * 5 + [("c", 0)] * 5 + [("b", 1)] * 4 + [("c", 1)]))
    assert data.client_names == ("a", "c")
    assert apart(data) == {10, 11, 12, 13}
    assert inputs(data, 1, "test") == {14}


def test_test_examples_without_clients_are_the_global_test_set(path):
    data = load(**write(path, [("a", 0)] * 5 + [("b", 0)] * 5 + [("", 1)] * 4))
    assert data.client_names == ("a", "b")
    assert apart(data) == {10, 11, 12, 13}
    assert data.sizes["test"].tolist() == [1, 1]
    dataset = load_dataset("npz", path=str(path))
    assert dataset.clients[-4:].tolist() == [-1] * 4


@pytest.mark.parametrize("clients", [False, True])
def test_where_a_partition_makes_the_clients_the_test_part_is_the_global_test_set(path, clients):
    rows = [("a", 0)] * 20 + [("b", 0)] * 20 + [("a", 1)] * 5
    data = load(**write(path, rows, clients), partition="iid", clients=4)
    assert apart(data) == set(range(40, 45))
    assert sum(data.sizes.values()).tolist() == [10] * 4


def test_groups_of_natural_clients_are_tested_on_their_members_test_examples(path):
    rows = [(c, 0) for c in "abcd" for _ in range(6)] + [(c, 1) for c in "abcd" for _ in range(2)]
    data = load(**write(path, rows), partition="natural_grouped", clients=2)
    assert data.sizes["test"].tolist() == [4, 4]
    assert set().union(*(inputs(data, c, "test") for c in (0, 1))) == set(range(24, 32))


def test_the_part_can_be_pooled_or_be_the_global_test_set(path):
    where = write(path, MIXED)
    pooled = load(**where, official_test="joined")
    assert sum(pooled.sizes.values()).tolist() == [12, 18]
    assert pooled.sizes["test"].tolist() == [3, 4]
    assert pooled.global_test == pooled.partition["own_test"] == 0
    whole = load(**where, global_test="official")
    assert apart(whole) == {25, 26, 27, 28, 29}
    assert load(**where, global_test="official", official_test="joined").partition_hash == whole.partition_hash


def test_a_global_share_besides_takes_nothing_from_the_rule(path):
    data = load(**write(path, MIXED), global_test=0.2)
    assert data.global_test == 6
    for client in (0, 1):
        assert all(row < 25 for split in ("train", "val") for row in inputs(data, client, split))


def test_an_unknown_choice_is_answered_with_the_nearest():
    with pytest.raises(
        ValueError, match="official_test: expected one of apart, auto, joined, got 'aprt'; did you mean 'apart'"
    ):
        load("digits", official_test="aprt")


def test_arrays_in_memory_follow_the_rule_too():
    flags = np.arange(40) % 4 == 3
    dataset = from_arrays(np.arange(40.0)[:, None], np.arange(40) % 2, official_test=flags)
    data = federate(dataset, np.arange(40) // 20)
    assert inputs(data, 0, "test") == {3, 7, 11, 15, 19}
    assert federate(dataset, np.arange(40) // 20, own_test=np.zeros(40, bool)).sizes["test"].tolist() == [4, 4]
    with pytest.raises(
        ValueError, match="client_of: expected a training example for each client, got none for client 1"
    ):
        federate(dataset, np.where(flags, 1, 0))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (np.zeros(3, bool), r"own_test: expected 4 flags, got shape \(3,\)"),
        (np.zeros(4, int), "own_test: expected 4 flags, got shape .* of int64"),
        (np.array([0, 0, 0, 1], bool), "own_test: expected examples of clients, got row 3, which is nobody's"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags, message):
    dataset = from_arrays(np.arange(4.0)[:, None], [0, 1, 0, 1])
    with pytest.raises(ValueError, match=message):
        federate(dataset, np.array([0, 0, 0, -1]), own_test=flags)


@pytest.mark.data
def test_public_sets_follow_the_rule_where_natural_clients_own_both_parts(data_folder):
    """FSDD: recordings 0 to 4 of each digit and speaker are the test part. UCI HAR's is one of other people."""
    data = load("fsdd", data_dir=data_folder)
    dataset = load_dataset("fsdd", data_folder)
    test = set(dataset.example_ids[dataset.official_test].tolist())
    assert set(data.example_ids[data.places[1] == 2].tolist()) == test
    assert data.global_test == 0
    people = load("uci_har", data_dir=data_folder)
    assert (people.num_clients, people.global_test, people.partition["own_test"]) == (30, 0, 0)
    apart = load("uci_har", data_dir=data_folder, official_test="apart")
    assert (apart.num_clients, apart.global_test) == (21, 2947)
