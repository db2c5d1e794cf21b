"""Hashes written down once: a change means that the same call gives other clients, in a new NumPy for instance."""

import hashlib

import numpy as np
import pytest

from fedjax_layers.data.partitions import PARTITIONS, partition

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
    ("classes_per_client", "uneven", 33, 7, {"classes": 3, "assignment": "sliding"}, "cc842544f6686ca8"),
    ("classes_per_team", "balanced", 40, 0, {}, "7eed794bf01ffb65"),
    ("classes_per_team", "balanced", 41, 3, {"team_classes": ("0-6", "5-9+0-1"), "classes": 3}, "93d9f01db81a14dd"),
    ("dirichlet_balanced", "balanced", 20, 0, {}, "8a7643f4fbf0b87f"),
    ("dirichlet_balanced", "uneven", 33, 7, {"alpha": 0.05}, "3770e00895d85855"),
    ("dirichlet_lognormal", "balanced", 20, 0, {}, "e0dc545e8d740bfb"),
    ("dirichlet_lognormal", "uneven", 33, 7, {"alpha": 5.0, "sigma": 0.3}, "2bce5af52357f230"),
    ("natural_grouped", "balanced", 7, 0, {"clients": 40}, "2bf340f5aef1bd23"),
    ("natural_grouped", "uneven", 33, 7, {"clients": 90}, "8961ec2fcfeebb4d"),
    ("natural_teams", "balanced", 20, 0, {"clients": 4}, "56eaad8871cc306f"),
    ("natural_teams", "uneven", 33, 7, {"clients": 5, "client_alpha": 0.1}, "955bf09faeb7bc64"),
    ("permfl", "balanced", 40, 0, {"extra": (30, 60)}, "2c6d8c5630ece9a8"),
    (
        "permfl",
        "balanced",
        15,
        1,
        {"classes": 3, "chunk": 5, "extra": (10, 90), "lognormal": False, "draw_seeds": (1, 1)},
        "4260ac086ece0858",
    ),
    ("pfedla_1", "balanced", 20, 0, {}, "0f98f7eb7763af25"),
    ("pfedla_1", "uneven", 20, 1, {"classes": 3}, "97d9fb850dcd2ad1"),
    ("pfedla_1", "uneven", 20, 1, {"classes": 3, "use_all": True}, "cbba1b275d844d74"),
    ("pfedla_2", "balanced", 20, 0, {}, "b5a8eb8d7f014775"),
    ("pfedla_2", "uneven", 6, 1, {"dominant": 3, "share": 0.6}, "0d8986ca7c8aeb25"),
    ("pfedla_2", "uneven", 6, 1, {"dominant": 3, "share": 0.6, "use_all": True}, "b64f31d2969ea320"),
    ("playerfl", "balanced", 5, 0, {}, "df13092b96f7b640"),
    ("playerfl", "uneven", 33, 7, {"min_size": 5}, "5a68a65bd353ceea"),
    ("quantity_dirichlet", "balanced", 20, 0, {}, "c59fcfa59d5af491"),
    ("quantity_lognormal", "balanced", 20, 0, {}, "7c0ae2520802bec6"),
    ("quantity_lognormal", "uneven", 33, 7, {"sigma": 2.0}, "3074d88ba72165fa"),
    ("quantity_zipf", "balanced", 20, 0, {}, "fcf56e9810ebabf3"),
    ("quantity_zipf", "uneven", 33, 7, {"exponent": 1.7}, "46777bf61d40a488"),
    ("shards", "balanced", 20, 0, {}, "23f0bea9323f9aeb"),
    ("shards", "uneven", 33, 7, {"shards_per_client": 3}, "fb534a0fff1e363e"),
    ("two_level", "balanced", 20, 0, {}, "3c3fa5ce79d57305"),
    ("two_level", "uneven", 33, 7, {"teams": 5, "team_alpha": 0.1, "client_alpha": 2.0}, "66a2141106044510"),
]


@pytest.mark.parametrize(("name", "labels", "clients", "seed", "params", "golden"), GOLDEN)
def test_the_same_call_gives_the_same_clients_for_good(name, labels, clients, seed, params, golden):
    if "clients" in params:  # natural clients, by their number
        params = params | {"clients": np.arange(len(LABELS[labels])) % params["clients"]}
    owner = partition(name, LABELS[labels], clients, seed, **params)
    assert hashlib.sha256(owner.astype("<i4").tobytes()).hexdigest()[:16] == golden


def test_there_is_a_golden_call_of_every_partition_that_draws():
    assert {name for name, *_ in GOLDEN} == set(PARTITIONS) - {"natural"}
