import json
import subprocess
import sys

import numpy as np
import pytest

from fedjax_layers.data import federate, load, load_dataset, partition


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
        ("heart", {"clients": 3}, "num_clients: expected 4, the natural clients of the data, got 3"),
        (
            "synthetic",
            {"partition": "dirichlet", "alpha": 1.0},
            "alpha: expected an option of one thing, got one of data set 'synthetic' and",
        ),
    ],
)
def test_load_errors(name, options, message):
    with pytest.raises(ValueError, match=message) as error:
        load(name, **options)
    assert "\n" not in str(error.value)


@pytest.mark.data
def test_playerfl_fashion_mnist_setting(data_folder):
    data = load("fashion_mnist", data_dir=data_folder, limit=10_000, clients=5, alpha=0.5)
    assert sum(s.sum() for s in data.sizes.values()) == 10_000
    assert data.inputs.dtype == np.uint8
    share = data.sizes["train"].sum() / 10_000
    assert share == pytest.approx(0.64, abs=0.001)
