"""Sorted examples dealt in shards."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_layers.data.partitions import shards
from tests.data.partitions.cases import BALANCED


def test_mcmahan_s_setting():
    # 60,000 examples of 10 labels, 200 shards of 300, two for each of 100 clients.
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 6000))
    owner = shards(labels, 100, 1)
    assert (np.bincount(owner) == 600).all()
    kinds = np.array([len(np.unique(labels[owner == c])) for c in range(100)])
    assert set(kinds) == {1, 2}  # shards do not straddle labels here
    # A client's two shards share their label with probability 19/199: a sum of 100 nearly independent events.
    assert abs((kinds == 1).sum() - 100 * 19 / 199) < 4.5 * np.sqrt(100 * 19 / 199 * 180 / 199)


@settings(deadline=None, max_examples=100)
@given(
    counts=st.lists(st.integers(1, 50), min_size=1, max_size=6),
    clients=st.integers(1, 10),
    each=st.integers(1, 6),
    seed=st.integers(0, 2**31),
)
def test_shards_are_runs_of_the_sorted_examples(counts, clients, each, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    clients = min(clients, len(labels))
    each = min(each, len(labels) // clients)
    owner = shards(labels, clients, seed, shards_per_client=each)
    ordered = owner[np.argsort(labels, kind="stable")]
    assert (np.diff(ordered) != 0).sum() + 1 <= clients * each
    sizes = np.bincount(owner, minlength=clients)
    assert sizes.max() - sizes.min() <= each
    assert sizes.min() >= each


@pytest.mark.parametrize("each", [0, 61, 2.0, float("nan")])
def test_shards_per_client_out_of_range(each):
    message = r"shards_per_client: expected 1\.\.60, the examples for each client, got"
    with pytest.raises(ValueError, match=message):
        shards(BALANCED, 100, shards_per_client=each)
