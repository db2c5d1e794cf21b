"""Attacks of bad clients that know the benign updates: against oracles in NumPy and numbers by hand; bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from fedjax_layers import ops
from fedjax_layers.ops.collusion import COLLUSIONS, DIRECTIONS

RNG = np.random.default_rng(0)
K = 9
TREE = {"a": RNG.normal(0.3, 1, (K, 4, 3)), "b": RNG.normal(-0.2, 2, (K, 5))}
BAD = np.arange(K) % 4 == 1  # slots 1 and 5
WEIGHT = np.where(np.arange(K) == 7, 0, RNG.integers(1, 9, K)).astype(float)  # slot 7 is absent
STRENGTH = {"alie": 0.7, "ipm": 2.5, "min_max": None, "min_sum": None}
CASES = [(kind, d) for kind in COLLUSIONS for d in (DIRECTIONS if kind.startswith("min_") else ("unit",))]


compiled = jax.jit(ops.colluding_updates, static_argnames=("kind", "direction"))


def send(kind, strength=None, direction="unit", tree=None, bad=BAD, weight=WEIGHT):
    return jax.tree.map(np.asarray, compiled(TREE if tree is None else tree, bad, weight, kind, strength, direction))


def line(benign, bad, kind, strength=None, direction="unit"):
    """Return what ``bad`` attackers send among benign updates of one coordinate."""
    tree = np.concatenate([np.zeros(bad), benign])[:, None]
    flags = np.arange(len(tree)) < bad
    return send(kind, strength, direction, {"w": tree}, flags, np.ones(len(tree)))["w"][:bad, 0]


def flat(tree):
    return np.concatenate([np.reshape(x, (len(x), -1)) for x in (tree["a"], tree["b"])], axis=1)


def searched(benign, mean, way, fits):
    """Transcribe the search of the paper's code: gamma from 10, steps halved from 5 until they are below 1e-5."""
    gamma, step, found = 10.0, 5.0, 0.0
    while abs(found - gamma) > 1e-5:
        if fits(mean + gamma * way, benign):
            found, gamma = gamma, gamma + step
        else:
            gamma -= step
        step /= 2
    return mean + found * way


def nearest_two(benign):
    return ((benign[:, None] - benign[None]) ** 2).sum(-1)


FITS = {
    "min_max": lambda m, x: ((m - x) ** 2).sum(1).max() <= nearest_two(x).max(),
    "min_sum": lambda m, x: ((m - x) ** 2).sum() <= nearest_two(x).sum(1).max(),
}


def oracle(kind, strength, direction, tree=TREE, bad=BAD, weight=WEIGHT):
    rows = flat(tree)
    good = (weight > 0) & ~bad
    benign, share = rows[good], weight[good] / weight[good].sum()
    mean = share @ benign
    spread = np.sqrt(share @ (benign - mean) ** 2)
    if kind == "alie":
        return mean - strength * spread
    if kind == "ipm":
        return -strength * mean
    way = {"unit": -mean / np.linalg.norm(mean), "sign": -np.sign(mean), "std": -spread}[direction]
    return searched(benign, mean, way, FITS[kind])


@pytest.mark.parametrize(("kind", "direction"), CASES)
def test_agrees_with_its_oracle(x64, kind, direction):
    found = flat(send(kind, STRENGTH[kind], direction))
    expected = oracle(kind, STRENGTH[kind], direction)
    searching = kind.startswith("min_")
    tolerance = {"atol": 1e-4, "rtol": 0} if searching else {"atol": 1e-12}  # the search ends 2e-5 before the bound
    np.testing.assert_allclose(found[[1, 5]], [expected] * 2, **tolerance)
    others = [0, 2, 3, 4, 6, 7, 8]
    np.testing.assert_array_equal(found[others], flat(TREE)[others])
    assert not np.allclose(found[1], flat(TREE)[1])


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", ["min_max", "min_sum"])
def test_the_bound_holds_and_is_reached(x64, kind, direction):
    benign = flat(TREE)[(WEIGHT > 0) & ~BAD]
    sent = flat(send(kind, None, direction))[1]
    mean = oracle("ipm", -1.0, "unit")
    distances, between = ((sent - benign) ** 2).sum(1), nearest_two(benign)
    if kind == "min_max":
        assert distances.max() == pytest.approx(between.max(), rel=1e-10)
    else:
        assert distances.sum() == pytest.approx(between.sum(1).max(), rel=1e-10)
    assert not FITS[kind](mean + 1.0001 * (sent - mean), benign)
    assert FITS[kind](mean + (1 - 1e-12) * (sent - mean), benign)


def test_numbers_by_hand(x64):
    """Three benign updates 0, 1, 5 with mean 2: the bounds are 25 for the furthest, 41 for the sum."""
    for direction in ("unit", "sign"):
        np.testing.assert_allclose(line([0.0, 1, 5], 2, "min_max", None, direction), [0, 0], atol=1e-12)
        np.testing.assert_allclose(line([0.0, 1, 5], 2, "min_sum", None, direction), [-1, -1], rtol=1e-12)
    np.testing.assert_allclose(line([1.0, 3], 1, "alie", 1.5), [0.5], rtol=1e-12)
    # A large scale, which the search from 10 in steps that halve could not reach.
    np.testing.assert_allclose(line([0.0, 1e3, 5e3], 1, "min_sum"), [-1e3], rtol=1e-12)


@pytest.mark.parametrize(
    ("n", "f", "z"), [(50, 24, 1.4261), (50, 10, 0.2533), (20, 4, 0.1573), (10, 2, 0.0), (3, 1, 0.0), (2, 1, 0.0)]
)
def test_the_strength_of_alie_comes_from_the_numbers_of_clients(x64, n, f, z):
    benign = np.random.default_rng(1).normal(size=n - f)
    expected = benign.mean() - z * benign.std()
    np.testing.assert_allclose(line(benign, f, "alie"), [expected] * f, atol=6e-5)


def test_a_majority_of_attackers_needs_one_supporter(x64):
    benign = np.random.default_rng(1).normal(size=4)
    np.testing.assert_allclose(line(benign, 8, "alie")[0], benign.mean() - norm.ppf(3 / 4) * benign.std(), rtol=1e-12)


def test_the_mean_changes_its_sign_at_the_ratio_of_the_weights(x64):
    good = WEIGHT[(WEIGHT > 0) & ~BAD].sum()
    ratio = good / WEIGHT[BAD].sum()
    mean = oracle("ipm", -1.0, "unit")
    for strength, factor in ((ratio, 0.0), (0.5 * ratio, 0.5), (2 * ratio, -1.0)):
        sent = jax.tree.map(jnp.asarray, send("ipm", strength))
        of_all = jax.tree.map(lambda x: np.asarray(x)[None], ops.weighted_mean(sent, jnp.asarray(WEIGHT)))
        np.testing.assert_allclose(flat(of_all)[0], factor * mean * good / WEIGHT.sum(), atol=1e-12)
    ten = np.full(8, 2.0)  # n 10, f 2: .7 of the mean with strength .5
    assert np.mean([*ten, *line(ten, 2, "ipm", 0.5)]) == pytest.approx(0.7 * 2)


@pytest.mark.parametrize(("kind", "direction"), CASES)
def test_absent_slots_and_the_attackers_own_updates_have_no_influence(kind, direction):
    odd = jax.tree.map(np.copy, TREE)
    for leaf in odd.values():
        leaf[7], leaf[BAD] = np.nan, np.inf
    clean, found = (send(kind, STRENGTH[kind], direction, tree) for tree in (TREE, odd))
    np.testing.assert_array_equal(flat(found)[[1, 5]], flat(clean)[[1, 5]])
    assert np.isnan(flat(found)[7]).all()


@pytest.mark.parametrize("kind", COLLUSIONS)
def test_without_benign_or_bad_clients_nothing_changes(kind):
    for bad in (np.ones(K, bool), np.zeros(K, bool)):
        np.testing.assert_array_equal(flat(send(kind, STRENGTH[kind], bad=bad)), flat(TREE).astype(np.float32))


@pytest.mark.parametrize("kind", COLLUSIONS)
def test_equal_benign_updates_leave_no_room(kind):
    """Nothing can be hidden among equal updates: all but IPM send what everybody sends."""
    same = jax.tree.map(lambda x: np.repeat(x[:1], K, 0), TREE)
    found = flat(send(kind, STRENGTH[kind], "std", same))[1]
    np.testing.assert_allclose(found, (-2.5 if kind == "ipm" else 1) * flat(same)[0], atol=2e-6)
    zero = jax.tree.map(np.zeros_like, TREE)
    assert (flat(send(kind, STRENGTH[kind], tree=zero)) == 0).all()


def test_it_maps_with_a_traced_strength_and_keeps_dtypes(x64):
    tree = {"w": jnp.asarray(TREE["a"], jnp.bfloat16), "n": jnp.arange(K)}
    bad, weight = jnp.asarray(BAD), jnp.asarray(WEIGHT)
    found = jax.jit(jax.vmap(lambda s: ops.colluding_updates(tree, bad, weight, "ipm", s)))(jnp.asarray([1.0, 2.0]))
    assert found["w"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(found["n"], [np.arange(K)] * 2)  # numbers that are counted are left alone
    np.testing.assert_array_equal(found["w"][1, 1], 2 * found["w"][0, 1])
    stacked = jax.tree.map(lambda x: jnp.stack([x, 3 * x]), TREE)
    for kind in ("alie", "min_max", "min_sum"):
        both = jax.jit(jax.vmap(lambda t, kind=kind: ops.colluding_updates(t, bad, weight, kind)))(stacked)
        np.testing.assert_allclose(both["b"][1, 1], 3 * send(kind)["b"][1], rtol=1e-10)


def test_bad_input():
    with pytest.raises(ValueError, match="kind: expected one of alie, ipm, min_max, min_sum, got 'little'"):
        send("little")
    with pytest.raises(ValueError, match="direction: expected one of unit, sign, std, got 'up'"):
        send("min_max", None, "up")
    with pytest.raises(ValueError, match="strength: expected a number for ipm, got none"):
        send("ipm")
    with pytest.raises(ValueError, match="strength: expected none for min_sum, which finds its own"):
        send("min_sum", 1.0)
    with pytest.raises(ValueError, match=r"bad: expected shape \(9\), found \(3,\)"):
        send("ipm", 1.0, bad=BAD[:3])
    with pytest.raises(ValueError, match=r"weight: expected shape \(9\), found \(2,\)"):
        send("ipm", 1.0, weight=WEIGHT[:2])
