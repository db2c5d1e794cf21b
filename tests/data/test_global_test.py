"""The test set that no client owns, and clients that never train: who is set apart by ``load``."""

import dataclasses

import numpy as np
import pytest

from fedjax_layers.data import load, load_dataset, loading


def apart(data):
    """Ids of the global test set."""
    return data.example_ids[len(data.example_ids) - data.global_test :]


def test_a_share_is_drawn_by_class_and_nobodys():
    data = load("digits", clients=5, global_test=0.2)
    ids = apart(data)
    assert data.global_test == len(ids) == 360  # a fifth of 1797, rounded up
    assert data.partition["global_test"] == 360
    labels = load_dataset("digits").labels
    exact = np.bincount(labels) * 360 / 1797
    found = np.bincount(labels[ids])
    assert (np.floor(exact) <= found).all()
    assert (found <= np.ceil(exact)).all()
    client, split = data.places
    assert (client[-360:] == -1).all()
    assert (split[-360:] == 2).all()
    assert (client[:-360] >= 0).all()
    np.testing.assert_array_equal(np.sort(data.example_ids), np.arange(1797))
    assert sum(int(n.sum()) for n in data.sizes.values()) == 1797 - 360


def test_the_share_depends_on_the_split_seed_alone():
    ids = apart(load("digits", clients=5, global_test=0.1))
    same = load("digits", partition="iid", clients=9, seed=4, test_fraction=0.4, global_test=0.1)
    np.testing.assert_array_equal(apart(same), ids)
    assert not np.array_equal(apart(load("digits", clients=5, global_test=0.1, split_seed=1)), ids)


def test_dropped_copies_are_in_no_global_test_set():
    for share in (0.1, 0.9):
        data = load("heart", duplicates="drop", global_test=share)
        assert len(data.example_ids) == 739
        assert data.duplicates.copies == 0


@pytest.fixture
def own(tmp_path):
    """A function that writes an npz of rows ``(client, whether official test)`` and names it to ``load``."""

    def write(rows, name="data.npz"):
        clients, test = np.array([c for c, _ in rows]), np.array([t for _, t in rows], bool)
        x, y = np.arange(len(rows), dtype=np.float32)[:, None], np.arange(len(rows)) % 2
        parts = {"x": x[~test], "y": y[~test], "client": clients[~test]}
        parts |= {"x_test": x[test], "y_test": y[test], "client_test": clients[test]} if test.any() else {}
        np.savez(tmp_path / name, **parts)
        return {"name": "npz", "path": str(tmp_path / name)}

    return write


MIXED = [("a", 0)] * 6 + [("b", 0)] * 6 + [("a", 1)] * 2 + [("b", 1)] * 3


def test_the_official_part_is_the_global_test_set(own):
    data = load(**own(MIXED), global_test="official")
    np.testing.assert_array_equal(np.sort(data.inputs[-5:, 0]), np.arange(12, 17))
    assert data.global_test == 5
    assert sum(data.sizes.values()).tolist() == [6, 6]


def test_an_official_test_example_that_is_also_trained_on_can_be_dropped(own, tmp_path):
    where = own(MIXED)
    with np.load(tmp_path / "data.npz", allow_pickle=False) as box:
        arrays = dict(box)
    arrays["x_test"][0], arrays["y_test"][0] = arrays["x"][3], arrays["y"][3]
    np.savez(tmp_path / "data.npz", **arrays)
    kept = load(**where, global_test="official", test_fraction=0, val_fraction=0)
    assert (kept.global_test, kept.duplicates.train_test, kept.duplicates.across_clients) == (5, 1, 0)
    dropped = load(**where, global_test="official", test_fraction=0, val_fraction=0, duplicates="drop")
    assert (dropped.global_test, dropped.duplicates.copies) == (4, 0)
    assert sum(dropped.sizes.values()).tolist() == [6, 6]


def test_an_official_part_that_is_not_asked_for_belongs_to_the_clients(own):
    data = load(**own(MIXED))
    assert data.global_test == 0
    assert sum(data.sizes.values()).tolist() == [8, 9]
    assert data.sizes["test"].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("official", "global_test: expected data with an official test part, got digits without one"),
        ("offical", "global_test: .* got 'offical'; did you mean 'official'"),
        (0.0, r"global_test: expected a share in \(0, 1\), got 0.0"),
        (1.0, r"global_test: expected a share in \(0, 1\), got 1.0"),
    ],
)
def test_what_cannot_be_set_apart_is_refused(choice, message):
    with pytest.raises(ValueError, match=message) as error:
        load("digits", global_test=choice)
    assert "\n" not in str(error.value)


def test_an_official_part_that_a_limit_cut_off_is_refused(monkeypatch):
    """An empty global test set would be reported as if none had been asked for."""
    digits = dataclasses.replace(load_dataset("digits"), official_test=np.zeros(1797, bool))
    monkeypatch.setattr(loading, "load_dataset", lambda *_, **__: digits)
    with pytest.raises(
        ValueError, match="global_test: expected examples of the official test part, got none of digits"
    ):
        load("digits", global_test="official")


def test_a_natural_client_without_an_example_left_is_left_out(own):
    """Sets that are split by subject, as UCI HAR, have clients of which all examples are official test examples."""
    rows = [("a", 0)] * 5 + [("b", 1)] * 4 + [("c", 0)] * 3 + [("c", 1)] + [("d", 1)] * 2
    data = load(**own(rows), global_test="official")
    assert data.client_names == ("a", "c")
    assert sum(data.sizes.values()).tolist() == [5, 3]
    client, _ = data.places
    assert sorted(data.inputs[client == 1, 0]) == [9, 10, 11]
    assert data.global_test == 7
    assert load(**own(rows), official_test="joined").client_names == ("a", "b", "c", "d")


def test_numbered_clients_that_are_left_keep_their_numbers_as_names(monkeypatch):
    digits = load_dataset("digits")
    owner = (np.arange(1797) % 3).astype(np.int32)
    numbered = dataclasses.replace(digits, clients=owner, official_test=owner == 1)
    monkeypatch.setattr(loading, "load_dataset", lambda *_, **__: numbered)
    data = load("digits", partition="natural", global_test="official")
    assert data.client_names == ("0", "2")
    assert (data.example_ids[data.rows(1, "train")] % 3 == 2).all()
    assert load("digits", partition="natural").client_names == ()


def test_unseen_clients_by_number_and_by_id():
    drawn = load("digits", clients=8, min_size=5, unseen=3)
    assert drawn.unseen.sum() == 3
    assert drawn.partition["unseen"] == np.flatnonzero(drawn.unseen).tolist()
    again = load("digits", partition="iid", clients=8, seed=9, unseen=3)
    np.testing.assert_array_equal(again.unseen, drawn.unseen)  # by the split's seed alone
    others = {tuple(load("digits", partition="iid", clients=8, unseen=3, split_seed=s).unseen) for s in range(6)}
    assert len(others) > 1
    given = load("digits", clients=8, min_size=5, unseen=(6, 1))
    assert np.flatnonzero(given.unseen).tolist() == [1, 6]
    # Who never trains changes nothing in who owns what.
    assert given.partition_hash == drawn.partition_hash == load("digits", clients=8, min_size=5).partition_hash


@pytest.mark.parametrize(
    ("unseen", "message"),
    [
        (8, r"unseen: expected 0\.\.7 clients, got 8"),
        (-1, r"unseen: expected 0\.\.7 clients, got -1"),
        ((0, 8), r"unseen: expected client ids 0\.\.7, got \[0, 8\]"),
        ((-1,), r"unseen: expected client ids 0\.\.7, got \[-1\]"),
        ((0.5,), r"unseen: expected client ids 0\.\.7, got \[0.5\]"),
        (tuple(range(8)), "unseen: expected some clients left for training, got all of them"),
    ],
)
def test_unseen_clients_that_make_no_sense_are_refused(unseen, message):
    with pytest.raises(ValueError, match=message):
        load("digits", partition="iid", clients=8, unseen=unseen)


@pytest.mark.data
def test_fashion_mnist_with_its_official_test_part(data_folder):
    data = load("fashion_mnist", data_dir=data_folder, split="all", partition="iid", clients=4, global_test="official")
    np.testing.assert_array_equal(apart(data), np.arange(60_000, 70_000))
    assert sum(data.sizes.values()).tolist() == [15_000] * 4
    assert np.bincount(data.labels[-10_000:]).tolist() == [1000] * 10
    with pytest.raises(ValueError, match=r"official test part, got fashion_mnist without one; .* split='all'"):
        load("fashion_mnist", data_dir=data_folder, partition="iid", global_test="official")
    with pytest.raises(ValueError, match="expected examples of the official test part, got none of fashion_mnist"):
        load("fashion_mnist", data_dir=data_folder, split="all", limit=500, global_test="official")


@pytest.mark.data
def test_uci_har_is_officially_tested_on_other_subjects(data_folder):
    data = load("uci_har", data_dir=data_folder, split="all", global_test="official")
    # The archive's subject_train.txt and subject_test.txt.
    test = {2, 4, 9, 10, 12, 13, 18, 20, 24}
    assert data.client_names == tuple(f"subject {s}" for s in range(1, 31) if s not in test)
    assert (data.global_test, sum(data.sizes.values()).sum()) == (2947, 7352)
