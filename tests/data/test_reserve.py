"""The reserve for central training: disjoint from all clients, whole documents, nothing of the official test part."""

import re

import numpy as np
import pytest

from fedjax_layers.data import load
from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.federated.chosen import reserved_rows, withheld_rows


def documents(clients, official_test=None):
    rows = len(clients)
    return Dataset(
        name="toy",
        inputs=np.zeros((rows, 3), np.float32),
        labels=np.arange(rows) % 2,
        class_names=("a", "b"),
        clients=np.asarray(clients, np.int32),
        client_names=(),
        preprocess=None,
        source="toy",
        licence="none",
        official_test=official_test,
    )


def test_whole_clients_are_reserved_and_as_many_as_asked():
    clients = np.repeat(np.arange(10), np.arange(1, 11))
    held = reserved_rows(documents(clients), 0.25, 0)
    assert len(np.unique(clients[held])) == 3  # 2.5, rounded up
    assert not set(clients[held]) & set(clients[~held])
    others = [tuple(np.unique(clients[reserved_rows(documents(clients), 0.25, seed)])) for seed in range(5)]
    assert len(set(others)) > 1, "the seed decides"


def test_the_official_test_part_is_never_reserved():
    clients = np.repeat(np.arange(10), 4)
    test = clients >= 5
    held = reserved_rows(documents(clients, test), 0.5, 3)
    assert held.any()
    assert not held[test].any()
    assert len(np.unique(clients[held])) == 3  # of the five others


def test_the_two_loads_share_nothing_and_miss_nothing():
    options = {"partition": "iid", "reserve": 0.3, "test_fraction": 0.2}
    rest = load("digits", clients=5, global_test=0.1, **options)
    reserve = load("digits", clients=1, reserved=True, **options)
    held, owned = set(reserve.example_ids.tolist()), set(rest.example_ids.tolist())
    assert not held & owned
    assert len(held | owned) == 1797
    assert len(held) == np.ceil(0.3 * 1797)


@pytest.mark.parametrize(
    ("reserve", "reserved", "says"),
    [
        (1.0, False, "reserve: expected a share in [0, 1), got 1.0"),
        (-0.1, False, "reserve: expected a share in [0, 1), got -0.1"),
        (0.0, True, "reserve: expected a share above 0 with reserved=True, got 0"),
        (0.95, False, "reserve: expected a share that leaves one of 4 clients, got 0.95"),
    ],
)
def test_what_makes_no_sense_is_refused(reserve, reserved, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        withheld_rows(documents(np.repeat(np.arange(4), 2)), reserve, reserved, 0)
