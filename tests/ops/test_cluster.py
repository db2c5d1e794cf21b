"""Average linkage against SciPy, cuts by number and by depth, padding, ties, tracing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.cluster import hierarchy
from scipy.spatial.distance import cdist, pdist, squareform

from fedjax_layers.ops import cluster
from fedjax_layers.ops.cluster import pairwise_distances

dendrogram, clusters_at_depth = jax.jit(cluster.dendrogram), jax.jit(cluster.clusters_at_depth)
agglomerate = jax.jit(cluster.agglomerate)  # the number of clusters is traced


def points(num, seed=0, width=5):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(num, width)) + 3 * rng.integers(0, 3, num)[:, None]


def same_partition(found, expected):
    """Equal up to the names of the clusters."""
    pairs = set(zip(np.asarray(found).tolist(), np.asarray(expected).tolist(), strict=True))
    assert len(pairs) == len(set(np.asarray(found).tolist())) == len(set(np.asarray(expected).tolist()))


def scipy_depths(link, num, depth):
    """Labels of the leaves after ``depth`` splits of SciPy's tree, walked from the root."""
    nodes = [hierarchy.to_tree(link)]
    for _ in range(depth):
        nodes = [child for n in nodes for child in ([n] if n.is_leaf() else [n.get_left(), n.get_right()])]
    labels = np.empty(num, int)
    for name, node in enumerate(nodes):
        labels[node.pre_order()] = name
    return labels


@pytest.mark.parametrize(("num", "seed"), [(2, 0), (3, 1), (17, 2), (40, 3)])
def test_heights_and_cuts_are_scipys(num, seed, x64):
    x = points(num, seed)
    link = hierarchy.linkage(pdist(x), "average")
    everyone = jnp.ones(num, bool)
    tree = dendrogram(jnp.asarray(squareform(pdist(x))))
    np.testing.assert_allclose(tree.height, link[:, 2], rtol=1e-12)
    for wanted in (1, 2, 3, num // 2, num):
        found = agglomerate(jnp.asarray(squareform(pdist(x))), wanted)
        same_partition(found, hierarchy.cut_tree(link, wanted).ravel())
        for label in np.unique(found):
            assert np.flatnonzero(found == label)[0] == label, "a cluster is named by its lowest slot"
    for depth in range(6):
        same_partition(clusters_at_depth(tree, depth, everyone), scipy_depths(link, num, depth))


def test_it_is_average_linkage_and_no_other(x64):
    """The nearest or the farthest pair of members would give other clusters here."""
    x = points(30, seed=7)
    found = np.asarray(agglomerate(jnp.asarray(squareform(pdist(x))), 6))
    names = {m: hierarchy.fcluster(hierarchy.linkage(pdist(x), m), 6, "maxclust") for m in ("single", "complete")}
    for other in names.values():
        with pytest.raises(AssertionError):
            same_partition(found, other)


def test_absent_slots_belong_to_no_cluster_and_change_nothing(x64):
    x = points(9, seed=4)
    at = np.array([0, 2, 3, 5, 6, 7, 9, 10, 12])
    wide = np.full((14, 14), np.nan)
    wide[np.ix_(at, at)] = squareform(pdist(x))
    present = jnp.zeros(14, bool).at[at].set(True)
    narrow, padded = dendrogram(jnp.asarray(squareform(pdist(x)))), dendrogram(jnp.asarray(wide), present)
    np.testing.assert_array_equal(padded.survivor[:8], at[np.asarray(narrow.survivor)])
    np.testing.assert_array_equal(padded.absorbed[:8], at[np.asarray(narrow.absorbed)])
    np.testing.assert_array_equal(padded.depth, [*np.asarray(narrow.depth), *[-1] * 5])
    assert np.isinf(padded.height[8:]).all()
    assert np.isfinite(padded.height[:8]).all()
    for labels, own in (
        (agglomerate(jnp.asarray(wide), 3, present), agglomerate(jnp.asarray(squareform(pdist(x))), 3)),
        (clusters_at_depth(padded, 2, present), clusters_at_depth(narrow, 2, jnp.ones(9, bool))),
    ):
        assert (np.asarray(labels)[~np.asarray(present)] == -1).all()
        np.testing.assert_array_equal(np.asarray(labels)[at], at[np.asarray(own)])


@pytest.mark.parametrize("present", [[False] * 3, [False, True, False]])
def test_nobody_and_one_slot(present):
    present = jnp.asarray(present)
    tree = dendrogram(jnp.ones((3, 3)), present)
    expected = np.where(present, np.arange(3), -1)
    np.testing.assert_array_equal(clusters_at_depth(tree, 0, present), expected)
    np.testing.assert_array_equal(agglomerate(jnp.ones((3, 3)), 1, present), expected)
    assert (np.asarray(tree.depth) == -1).all()


def test_a_single_slot_without_padding():
    np.testing.assert_array_equal(agglomerate(jnp.zeros((1, 1)), 1), [0])


def test_ties_go_to_the_lower_slots():
    square = jnp.asarray(squareform(pdist([[0.0, 0], [0, 1], [1, 0], [1, 1]])), jnp.float32)
    tree = dendrogram(square)
    np.testing.assert_array_equal(tree.survivor, [0, 2, 0])
    np.testing.assert_array_equal(tree.absorbed, [1, 3, 2])
    np.testing.assert_array_equal(tree.depth, [1, 1, 0])


def test_distances_sum_over_all_leaves_and_skip_the_absent(x64):
    rng = np.random.default_rng(5)
    tree = {"w": rng.normal(size=(6, 3, 4)), "b": [rng.normal(size=(6, 2))]}
    flat = np.concatenate([tree["w"].reshape(6, -1), tree["b"][0]], axis=1)
    found = pairwise_distances(jax.tree.map(jnp.asarray, tree), jnp.ones(6, bool))
    np.testing.assert_allclose(found + np.eye(6), cdist(flat, flat) + np.eye(6), rtol=1e-12)
    poisoned = jax.tree.map(lambda x: jnp.asarray(x).at[2].set(jnp.nan), tree)
    present = jnp.arange(6) != 2
    masked = np.asarray(pairwise_distances(poisoned, present))
    assert np.isinf(masked[2]).all()
    assert np.isinf(masked[:, 2]).all()
    keep = np.ix_(np.asarray(present), np.asarray(present))
    np.testing.assert_allclose(masked[keep] + np.eye(5), np.asarray(found)[keep] + np.eye(5), rtol=1e-12)


def test_models_close_together_and_far_from_zero_keep_their_distances():
    """Float32 at 100 with gaps of 0.01: uncentred squares of 10^4 would leave nothing of squared gaps of 10^-4."""
    gaps = np.linspace(0, 0.04, 5)
    rows = (100 + gaps[:, None] * np.ones(3)).astype(np.float32)
    exact = np.abs(rows[:, :1].astype(np.float64) - rows[:, 0].astype(np.float64)) * np.sqrt(3)
    found = pairwise_distances([jnp.asarray(rows)], jnp.ones(5, bool))
    np.testing.assert_allclose(found, exact, rtol=2e-3, atol=1e-4)


def test_jit_vmap_and_traced_numbers_agree(x64):
    x = np.stack([squareform(pdist(points(8, seed))) for seed in (0, 1, 2)])
    numbers = np.array([2, 3, 5])
    together = jax.jit(jax.vmap(cluster.agglomerate))(jnp.asarray(x), jnp.asarray(numbers))
    for d, n, labels in zip(x, numbers, together, strict=True):
        np.testing.assert_array_equal(labels, agglomerate(jnp.asarray(d), int(n)))


def test_bad_input():
    with pytest.raises(ValueError, match=r"distances: expected shape \(2, 2\), found \(2, 3\)"):
        dendrogram(jnp.ones((2, 3)))
    with pytest.raises(ValueError, match=r"present: expected shape \(2\), found \(3,\)"):
        dendrogram(jnp.ones((2, 2)), jnp.ones(3, bool))
    with pytest.raises(ValueError, match=r"present: expected shape \(2\), found \(3,\)"):
        pairwise_distances([jnp.ones((2, 4))], jnp.ones(3, bool))
    with pytest.raises(ValueError, match="num_clusters: expected at least 1, got 0"):
        cluster.agglomerate(jnp.ones((2, 2)), 0)
