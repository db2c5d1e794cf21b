"""Hashes written down once: a change means that the same call gives other clients, in a new NumPy for instance."""

import hashlib

import numpy as np
import pytest

from fedjax_layers.data.partitions import partition

LABELS = {
    "balanced": np.repeat(np.arange(10), 600),
    "uneven": np.random.RandomState(3).permutation(np.repeat(np.arange(7) * 2 + 1, [400, 120, 250, 90, 310, 60, 170])),
}
GOLDEN = [
    ("iid", "balanced", 20, 0, {}, "8d8a9adea65627e5"),
    ("iid", "uneven", 33, 7, {}, "917205adf0f48a20"),
    ("dirichlet", "balanced", 20, 0, {}, "fb832313ad82e114"),
    ("dirichlet", "uneven", 33, 7, {}, "c0a2bf53c1bbe212"),
    ("dirichlet", "uneven", 50, 1, {"alpha": 0.05}, "d56c6ad1c7163f75"),
    ("dirichlet", "balanced", 400, 2, {"alpha": 100.0, "min_size": 0}, "72aea096d923f1a1"),
    ("classes_per_client", "balanced", 20, 0, {}, "fe12656a2283e759"),
    ("classes_per_client", "uneven", 33, 7, {"min_size": 0}, "5c53e3ca34b4ca34"),
    ("classes_per_client", "uneven", 40, 1, {"classes": 3}, "70d3a7e12c30eb47"),
    ("classes_per_client", "balanced", 57, 2, {"classes": 7}, "ad273c8456ac6261"),
    ("classes_per_client", "balanced", 10, 3, {"classes": 1}, "d18dc0da209c9813"),
    ("classes_per_client", "balanced", 8, 4, {"classes": 10}, "b77df43e28dd6682"),
    ("classes_per_client", "balanced", 300, 5, {"classes": 4, "min_size": 0}, "102ef800f24f1767"),
]


@pytest.mark.parametrize(("name", "labels", "clients", "seed", "params", "golden"), GOLDEN)
def test_the_same_call_gives_the_same_clients_for_good(name, labels, clients, seed, params, golden):
    owner = partition(name, LABELS[labels], clients, seed, **params)
    assert hashlib.sha256(owner.astype("<i4").tobytes()).hexdigest()[:16] == golden
