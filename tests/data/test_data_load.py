import json
import subprocess
import sys

import numpy as np
import pytest

from fedjax_layers.data import FEATURE_SHIFTS, federate, from_arrays, load, load_dataset, partition, save_partition


def test_import_is_light():
    code = (
        "import sys, fedjax_layers.data\n"
        "bad = {'tensorflow_datasets', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported {bad}' if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_natural_clients_are_the_default_where_there_are_any():
    data = load("heart")
    assert data.client_names == ("cleveland", "hungarian", "switzerland", "va")
    assert data.partition["scheme"] == "natural"
    total = sum(data.sizes.values())
    assert total.tolist() == [303, 261, 46, 130]
    assert data.sizes["test"].tolist() == [61, 53, 10, 26]


def test_dirichlet_is_the_default_elsewhere():
    data = load("digits")
    owner = partition("dirichlet", load_dataset("digits").labels, 10, 0, alpha=0.5)
    assert data.partition["params"] == {"alpha": 0.5, "min_size": 10}
    assert data.partition_hash == federate(load_dataset("digits"), owner).partition_hash


def test_options_reach_the_partition_and_the_split():
    data = load(
        "digits",
        partition="classes_per_client",
        clients=20,
        classes=3,
        seed=7,
        test_fraction=0.5,
        split_seed=1,
    )
    assert data.num_clients == 20
    for c in range(20):
        own = np.concatenate([data.labels[data.rows(c, s)] for s in ("train", "val", "test")])
        assert len(np.unique(own)) == 3
    assert data.partition["seed"] == 7
    assert data.partition["split"] == {
        "test_fraction": 0.5,
        "val_fraction": 0.2,
        "stratified": True,
        "in_order": False,
        "seed": 1,
    }
    json.dumps(data.partition)


def test_a_generated_set_makes_as_many_clients_as_asked():
    data = load("synthetic", clients=12, alpha=0.5, beta=0.5, seed=3)
    assert data.num_clients == 12
    assert data.partition["options"] == {"alpha": 0.5, "beta": 0.5, "clients": 12, "seed": 3}
    again = load("synthetic", partition="iid", clients=4)
    assert again.num_clients == 4


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digit", {}, "data set: .* got 'digit'; did you mean 'digits'"),
        ("digits", {"partition": "natral"}, "partition: .* got 'natral'; did you mean 'natural'"),
        ("digits", {"partition": "natural"}, "partition: expected .* for digits, got 'natural'"),
        (
            "digits",
            {"aplha": 1},
            "option of digits with partition 'dirichlet': .* 'aplha'; did you mean 'alpha'",
        ),
        (
            "heart",
            {"alpha": 1.0},
            "option of heart with partition 'natural': expected one of nothing, got 'alpha'",
        ),
        ("heart", {"clients": 5}, r"clients: expected 1\.\.4, the natural clients of heart, got 5"),
        (
            "synthetic",
            {"partition": "dirichlet", "alpha": 1.0},
            "alpha: expected data.alpha or partition.alpha, got one of data set 'synthetic' and partition 'dirichlet'",
        ),
        (
            "digits",
            {"partition": "dirichlet_lognormal", "feature_shift": "noise", "sigma": 1.0},
            "sigma: .* got one of partition 'dirichlet_lognormal' and feature shift 'noise'",
        ),
        ("digits", {"feature_shift": "rotate"}, "feature_shift: .* got 'rotate'; did you mean 'rotation'"),
        ("digits", {"feature_shift": "rotation", "degres": 9.0}, "option of digits .* did you mean 'degrees'"),
        ("digits", {"degrees": 9.0}, "option of digits .*: expected one of alpha, min_size, got 'degrees'"),
        ("heart", {"feature_shift": "rotation"}, r"feature shift: expected images .* got inputs of shape \(740, 10\)"),
        ("digits", {"duplicates": "drp"}, "duplicates: .* got 'drp'; did you mean 'drop'"),
        ("digits", {"split_seed": -1}, "seed: expected an integer of at least 0, got -1"),
    ],
)
def test_load_errors(name, options, message):
    with pytest.raises(ValueError, match=message) as error:
        load(name, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shift", ["rotation", "noise"])
def test_a_feature_shift_reaches_the_inputs_of_clients(shift):
    """Its options and the partition's are told apart by name; nobody's images stay as they are."""
    options = {"rotation": {"shifts": 2, "degrees": 180.0}, "noise": {"sigma": 0.3}}[shift]
    apart = {"clients": 4, "alpha": 2.0, "seed": 3, "global_test": 0.1}
    plain, shifted = load("digits", **apart), load("digits", **apart, feature_shift=shift, **options)
    assert shifted.partition_hash == plain.partition_hash
    assert shifted.partition["params"] == plain.partition["params"] == {"alpha": 2.0, "min_size": 10}
    assert (shifted.partition["feature_shift"], shifted.partition["feature_shift_params"]) == (shift, options)
    # In the order of the source, as the shift sees them.
    order = np.argsort(plain.example_ids)
    expected = FEATURE_SHIFTS[shift](plain.inputs[order], plain.places[0][order], 4, 3, **options)
    np.testing.assert_array_equal(shifted.inputs[order], expected)
    np.testing.assert_array_equal(shifted.inputs[-180:], plain.inputs[-180:])
    assert (shifted.inputs != plain.inputs).any()


@pytest.mark.parametrize(
    ("options", "teams"),
    [
        ({"partition": "two_level", "clients": 7, "teams": 3}, [0, 0, 0, 1, 1, 2, 2]),
        ({"partition": "classes_per_team", "clients": 10}, [0] * 5 + [1] * 5),
        ({"partition": "classes_per_team", "clients": 10, "team_classes": "0-9"}, [0] * 10),
        ({"partition": "iid", "clients": 3}, None),
    ],
)
def test_schemes_with_teams_give_every_client_its_team(options, teams):
    data = load("digits", **options)
    assert (data.teams if teams is None else data.teams.tolist()) == teams


def test_hospitals_become_teams():
    data = load("heart", partition="natural_teams", clients=9)
    hospitals = load("heart")
    client, _ = data.places
    hospital, _ = hospitals.places
    team_of_example = dict(zip(data.example_ids.tolist(), data.teams[client].tolist(), strict=True))
    assert [team_of_example[i] for i in hospitals.example_ids.tolist()] == hospital.tolist()


def test_the_classes_of_a_team_are_its_clients():
    data = load("digits", partition="classes_per_team", clients=10, team_classes=("0-3", "4-9"))
    client, _ = data.places
    np.testing.assert_array_equal(data.labels > 3, data.teams[client] == 1)


def table(**changes):
    """Twelve rows for three clients: the last four are the global test set."""
    inputs = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
    for row, value in changes.items():
        inputs[int(row[1:])] = value
    owner = np.repeat([0, 1, 2, -1], 4)
    dataset = from_arrays(inputs, np.arange(16) % 2, preprocess="standardise")
    return federate(dataset, owner, unseen=(1,), global_test=owner < 0, test_fraction=0.25, val_fraction=0.3)


def test_inputs_are_standardised_by_what_is_trained_on():
    data = table()
    client, split = data.places
    trained = (split == 0) & (client != 1) & (client >= 0)
    assert trained.sum() == 4
    np.testing.assert_allclose(data.preprocess.mean, data.inputs[trained].astype(float).mean(0), rtol=1e-6)
    np.testing.assert_allclose(data.preprocess.std, data.inputs[trained].astype(float).std(0), rtol=1e-6)
    for row in data.example_ids:
        changed = table(**{f"r{row}": 99.0}).preprocess != data.preprocess
        assert changed == trained[data.example_ids == row], f"row {row}"


@pytest.fixture
def saved(tmp_path):
    """A partition file of ten clients of the digits."""
    save_partition(load("digits", clients=4, min_size=5), tmp_path / "split.npz")
    return tmp_path / "split.npz"


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"partition": "iid"}, "partition='iid'"),
        ({"clients": 4}, "clients=4"),
        ({"alpha": 0.5}, "alpha=0.5"),
        ({"test_fraction": 0.5}, "test_fraction=0.5"),
        ({"val_fraction": 0.0}, "val_fraction=0.0"),
        ({"stratified": False}, "stratified=False"),
        ({"in_order": True}, "in_order=True"),
        ({"split_seed": 1}, "split_seed=1"),
        ({"global_test": 0.1}, "global_test=0.1"),
        ({"unseen": 1}, "unseen=1"),
        ({"unseen": (0,)}, "unseen=(0,)"),
        ({"duplicates": "drop"}, "duplicates='drop'"),
        ({"feature_shift": "noise"}, "feature_shift='noise'"),
    ],
)
def test_a_partition_file_excludes_other_choices(saved, choice, told):
    with pytest.raises(ValueError, match="partition_file: expected no other choice of clients or splits") as error:
        load("digits", partition_file=saved, **choice)
    assert str(error.value).endswith(f"beside {saved}, got {told}")


def test_a_partition_file_is_the_partition_whatever_the_seed(saved):
    data = load("digits", partition_file=saved, seed=5)
    assert data.partition_hash == load("digits", clients=4, min_size=5).partition_hash
    assert data.partition["seed"] == 0


@pytest.mark.data
def test_playerfl_fashion_mnist_setting(data_folder):
    data = load("fashion_mnist", data_dir=data_folder, limit=10_000, clients=5, alpha=0.5)
    assert sum(s.sum() for s in data.sizes.values()) == 10_000
    assert data.inputs.dtype == np.uint8
    share = data.sizes["train"].sum() / 10_000
    assert share == pytest.approx(0.64, abs=0.001)


def test_an_option_that_two_have_is_told_apart_by_its_owner():
    both = {"data.alpha": 0.5, "partition.alpha": 100.0}
    found = load("synthetic", partition="dirichlet", clients=3, **both)
    again = load("synthetic", partition="dirichlet", clients=3, **{"data.alpha": 0.5, "partition.alpha": 0.1})
    assert found.partition["options"]["alpha"] == 0.5
    assert found.partition["params"]["alpha"] == 100.0
    np.testing.assert_array_equal(np.sort(found.inputs, axis=0), np.sort(again.inputs, axis=0))
    assert found.partition_hash != again.partition_hash
    with pytest.raises(ValueError, match=r"option of synthetic .* got 'partition.beta'"):
        load("synthetic", partition="dirichlet", clients=3, **{"partition.beta": 1.0})
