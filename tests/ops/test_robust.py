"""Robust rules: their papers' formulas and numbers, their properties, absent slots, traced counts, bad input."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from fedjax_layers import ops
from tests.reference import robust as by_hand

RNG = np.random.default_rng(3)
K = 12
ABSENT = [2, 7]
THERE = [k for k in range(K) if k not in ABSENT]  # n = 10: Krum allows f = 3, Bulyan f = 1
SHAPES = {"a": {"b": (3,), "w": (4, 3)}, "n": {"w": (2,)}}
ONE = jax.tree.map(np.zeros, SHAPES, is_leaf=lambda x: isinstance(x, tuple))
LAYERS = ops.layer_map(ONE, ["a", "n"])
ROWS = jax.tree.map(lambda x: RNG.normal(size=(K, *x.shape)) * 2 + 0.3, ONE)
WEIGHT = np.where(np.isin(np.arange(K), ABSENT), 0, RNG.integers(1, 9, K)).astype(float)
CENTRE = jax.tree.map(lambda x: RNG.normal(size=x.shape), ONE)

RULES = {  # with counts as traced numbers
    "coordinate_median": lambda x, w, c, n: ops.coordinate_median(x, w),
    "trimmed_mean": lambda x, w, c, n: ops.trimmed_mean(x, w, n),
    "krum": lambda x, w, c, n: ops.krum(x, w, n),
    "multi_krum": lambda x, w, c, n: ops.multi_krum(x, w, n, 4),
    "bulyan": lambda x, w, c, n: ops.bulyan(x, w, n),
    "geometric_median": lambda x, w, c, n: ops.geometric_median(x, w, steps=n),
    "norm_clipping": lambda x, w, c, n: ops.norm_clipping(x, w, c, 0.5 * n.astype(float)),
    "centred_clipping": lambda x, w, c, n: ops.centred_clipping(x, w, c, 1.5, steps=n),
}
JITTED = {name: jax.jit(rule) for name, rule in RULES.items()}
ROBUST = [name for name in RULES if "clipping" not in name]  # at n = 1, of the rules without a centre


def flat(tree, num=None):
    leaves = [np.asarray(x) for x in jax.tree.leaves(tree)]
    return np.concatenate([x.reshape(num, -1) if num else x.ravel() for x in leaves], -1)


def as_jax(tree, dtype=None):
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)


def with_rows(values, places):
    """ROWS with one number in place of all entries of the rows at ``places``."""
    hit = np.isin(np.arange(K), places)
    return jax.tree.map(lambda x: np.where(hit.reshape(K, *(1,) * (x.ndim - 1)), values, x), ROWS)


def column(numbers):
    return jnp.asarray(numbers, float)[:, None], jnp.ones(len(numbers))


def apply(name, rows=ROWS, weight=WEIGHT, number=1):
    return JITTED[name](as_jax(rows), jnp.asarray(weight), as_jax(CENTRE), jnp.int32(number))


def expected(name, x, w, number):
    """The slow form of RULES for the present rows ``x [n, P]``."""
    centre = flat(CENTRE)
    return {
        "coordinate_median": lambda: by_hand.median(x),
        "trimmed_mean": lambda: by_hand.trimmed_mean(x, number),
        "krum": lambda: by_hand.multi_krum(x, number, 1),
        "multi_krum": lambda: by_hand.multi_krum(x, number, 4),
        "bulyan": lambda: by_hand.bulyan(x, number),
        "geometric_median": lambda: by_hand.weiszfeld(x, w, by_hand.median(x), number, 1e-6),
        "norm_clipping": lambda: by_hand.centred_clipping(x, w, centre, 0.5 * number, 1),
        "centred_clipping": lambda: by_hand.centred_clipping(x, w, centre, 1.5, number),
    }[name]()


@pytest.mark.parametrize("name", RULES)
def test_they_are_their_papers_formulas(name, x64):
    """To 1e-10, for several counts in one compiled program, with NaN in the absent rows."""
    rows = with_rows(np.nan, ABSENT)
    for number in (0, 1, *((2, 3) if name != "bulyan" else ())):
        found = flat(apply(name, rows, number=number))
        np.testing.assert_allclose(found, expected(name, flat(ROWS, K)[THERE], WEIGHT[THERE], number), rtol=1e-10)


@pytest.mark.parametrize("name", RULES)
def test_counts_under_vmap_are_separate_runs(name, x64):
    counts = jnp.arange(1, 4, dtype=jnp.int32)
    rows = as_jax(with_rows(np.inf, ABSENT)), jnp.asarray(WEIGHT), as_jax(CENTRE)
    found = jax.vmap(functools.partial(RULES[name], *rows))(counts)
    for i, number in enumerate(counts):
        np.testing.assert_allclose(flat(found, 3)[i], flat(JITTED[name](*rows, number)), rtol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_the_order_of_the_slots_does_not_matter(name, x64):
    order = RNG.permutation(K)
    found = apply(name, jax.tree.map(lambda x: x[order], ROWS), WEIGHT[order], 1)
    np.testing.assert_allclose(flat(found), flat(apply(name)), rtol=1e-10)


@pytest.mark.parametrize("name", RULES)
def test_absent_slots_are_inert(name):
    """Bit for bit, whatever their rows hold and however many of them there are."""
    clean = flat(apply(name))
    for junk in (np.nan, np.inf, -1e30):
        np.testing.assert_array_equal(flat(apply(name, with_rows(junk, ABSENT))), clean)


@pytest.mark.parametrize("name", ROBUST)
def test_one_present_client_is_the_result(name):
    rows = with_rows(np.nan, [k for k in range(K) if k != 5])
    found = apply(name, rows, np.where(np.arange(K) == 5, 3.0, 0.0), 2)
    np.testing.assert_array_equal(flat(found), flat(as_jax(ROWS), K)[5])


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("junk", [1e20, -3e38])
def test_the_breakdown_point(name, junk):
    """As many huge rows as the rule claims to withstand leave the result near the others; the mean is lost."""
    most = {"coordinate_median": 4, "trimmed_mean": 3, "krum": 3, "multi_krum": 3, "bulyan": 1, "geometric_median": 4}
    bad = THERE[::2][: most.get(name, 2)]
    rows, good = with_rows(junk, bad), [k for k in THERE if k not in bad]
    weight = (WEIGHT > 0).astype(float)
    found = flat(apply(name, rows, weight, {"geometric_median": 30}.get(name, len(bad))))
    x = flat(ROWS, K)[good]
    assert np.abs(flat(ops.weighted_mean(as_jax(rows, jnp.float32), jnp.asarray(weight)))).max() > 1e18
    if "clipping" in name:  # each step moves the centre by at most the bound
        assert np.linalg.norm(found - flat(CENTRE)) <= {"norm_clipping": 0.5, "centred_clipping": 1.5}[name] * 2
        return
    if name == "geometric_median":  # within 2 (n - f) / (n - 2f) times the largest distance of a good row
        spread = np.linalg.norm(x - x.mean(0), axis=1).max()
        assert np.linalg.norm(found - x.mean(0)) <= 2 * len(good) / (len(good) - len(bad)) * spread
        return
    slack = 1e-5
    assert (found >= x.min(0) - slack).all()
    assert (found <= x.max(0) + slack).all()


def test_as_in_numpy_and_scipy(x64):
    x = flat(ROWS, K)[THERE]
    np.testing.assert_allclose(flat(apply("coordinate_median")), np.median(x, 0), rtol=1e-12)
    for b in range(5):  # SciPy takes the share of each end, and rounds down
        expected = scipy.stats.trim_mean(x, (b + 0.01) / len(x), axis=0)
        np.testing.assert_allclose(flat(apply("trimmed_mean", number=b)), expected, rtol=1e-12)


def test_the_geometric_median_is_the_minimum(x64):
    """Many steps end where SciPy's minimiser of the weighted sum of distances ends, and the weights matter."""
    x, w = flat(ROWS, K)[THERE], WEIGHT[THERE]

    def distance(z, w):
        return (w * np.linalg.norm(x - z, axis=1)).sum()

    ends = []
    for weights in (w, np.ones_like(w)):
        least = scipy.optimize.minimize(distance, x.mean(0), (weights,), method="BFGS", options={"gtol": 1e-9})
        full = np.zeros(K)
        full[THERE] = weights
        found = flat(apply("geometric_median", weight=full, number=400))
        np.testing.assert_allclose(found, least.x, atol=1e-5)
        ends.append(found)
    assert np.abs(ends[0] - ends[1]).max() > 0.01


def test_five_scalars():
    rows, weight = column([0, 1, 2, 3, 100])
    assert ops.coordinate_median(rows, weight) == 2
    assert ops.coordinate_median(rows[:4], weight[:4]) == 1.5
    np.testing.assert_allclose([ops.trimmed_mean(rows, weight, b)[0] for b in (1, 0)], [2, 21.2], rtol=1e-6)
    rows, weight = column([0, 1, 3, 10, 100])
    np.testing.assert_allclose(by_hand.krum_scores(np.asarray(rows), 2), [10, 5, 13, 130, 17509])
    assert ops.krum(rows, weight, 1) == 1
    assert ops.multi_krum(rows, weight, 1, 2) == 0.5
    np.testing.assert_allclose(ops.multi_krum(rows, weight, 1, 5), [22.8], rtol=1e-6)
    np.testing.assert_allclose(ops.bulyan(rows, weight, 0), [22.8], rtol=1e-6)


def test_krums_distances_are_squared_once_and_leave_the_row_itself_out():
    """n 7, f 1, four neighbours: unsquared distances would pick 2, fourth powers 9, three neighbours 14 and five 9."""
    assert ops.krum(*column([0, 1, 2, 9, 10, 14, 16]), 1) == 10


def test_weiszfeld_does_not_compound_its_weights():
    rows, weight = column([0, 0, 3])
    start = jnp.ones(1)
    found = [ops.geometric_median(rows, weight, steps=n, start=start)[0] for n in (1, 2, 3, 50)]
    np.testing.assert_allclose(found, [0.6, 1 / 3, 3 / 17, 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(ops.geometric_median(*column([2, 2, 2]), start=start), [2])


def test_clipping_by_hand():
    rows, weight = column([1, 2, 30])
    centre = jnp.zeros(1)
    assert ops.centred_clipping(rows, weight, centre, 3.0, steps=1) == 2
    assert ops.norm_clipping(rows, weight, centre, 3.0) == 2
    for far in (1e9, np.inf):
        np.testing.assert_allclose(ops.norm_clipping(rows, weight, centre, far), [11], rtol=1e-6)
        np.testing.assert_allclose(ops.centred_clipping(rows, weight, centre, far), [11], rtol=1e-6)
    np.testing.assert_allclose(ops.norm_clipping(rows, jnp.asarray([2.0, 1, 1]), centre, 3.0), [7 / 4], rtol=1e-6)
    assert ops.norm_clipping(rows[:1], weight[:1], jnp.ones(1), 3.0) == 1  # at the centre itself
    np.testing.assert_allclose(ops.norm_clipping(rows, weight, centre + 1, 0.0), [1])


def test_a_huge_row_leaves_the_others_distances_their_digits():
    """Scores are 59e-6, 41e-6, 29e-6, ...: beside a row of 1e6, a Gram matrix of centred rows would see zeros."""
    near = np.array([0.0, 1e-3, 3e-3, 7e-3, 1.0, 1.1, 1e6])
    assert ops.krum(jnp.asarray(near, jnp.float32)[:, None], jnp.ones(7), 2) == np.float32(3e-3)


@pytest.mark.parametrize("name", [name for name in RULES if name not in ("coordinate_median", "trimmed_mean")])
def test_layer_by_layer_is_each_layer_alone(name, x64):
    rows, weight, centre = as_jax(with_rows(np.nan, ABSENT)), jnp.asarray(WEIGHT), as_jax(CENTRE)
    settings = {
        "krum": lambda f, x, c, **kw: f(x, weight, 2, **kw),
        "multi_krum": lambda f, x, c, **kw: f(x, weight, 2, 3, **kw),
        "bulyan": lambda f, x, c, **kw: f(x, weight, 1, **kw),
        "geometric_median": lambda f, x, c, **kw: f(x, weight, steps=3, **kw),
        "norm_clipping": lambda f, x, c, **kw: f(x, weight, c, 1.0, **kw),
        "centred_clipping": lambda f, x, c, **kw: f(x, weight, c, 1.0, steps=2, **kw),
    }[name]
    op, layers = getattr(ops, name), LAYERS
    by_layer = jax.jit(lambda rows, centre: settings(op, rows, centre, layers=layers))
    whole = jax.jit(lambda rows, centre: settings(op, rows, centre))
    found = by_layer(rows, centre)
    apart = {layer: whole(rows[layer], centre[layer]) for layer in rows}
    np.testing.assert_allclose(flat(found), flat(apart), rtol=1e-12)
    assert np.abs(flat(found) - flat(whole(rows, centre))).max() > 1e-3
    some = by_layer({"n": rows["n"]}, {"n": centre["n"]})  # a tree that lacks leaves
    np.testing.assert_allclose(flat(some), flat(apart["n"]), rtol=1e-12)


def test_traced_counts_are_brought_into_what_the_present_slots_allow(x64):
    """n = 10: at most b = 4, f = 3 for Krum and f = 1 for Bulyan; and all ten rows in multi-Krum's mean."""
    for name, most in (("trimmed_mean", 4), ("krum", 3), ("multi_krum", 3), ("bulyan", 1)):
        np.testing.assert_array_equal(flat(apply(name, number=99)), flat(apply(name, number=most)))
        np.testing.assert_array_equal(flat(apply(name, number=-5)), flat(apply(name, number=0)))
    np.testing.assert_allclose(flat(apply("trimmed_mean", number=99)), flat(apply("coordinate_median")), rtol=1e-12)
    rows, weight = as_jax(ROWS), jnp.asarray(WEIGHT)
    all_ten = jax.jit(ops.multi_krum)(rows, weight, jnp.int32(1), jnp.int32(50))
    np.testing.assert_allclose(flat(all_ten), flat(ROWS, K)[THERE].mean(0), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, w: ops.trimmed_mean(x, w, 6), "trim: expected 0 to 5 (2 * trim < 12 slots), got 6"),
        (lambda x, w: ops.krum(x, w, 5), "bad: expected 0 to 4 (2 * bad + 3 <= 12 slots), got 5"),
        (lambda x, w: ops.bulyan(x, w, 3), "bad: expected 0 to 2 (4 * bad + 3 <= 12 slots), got 3"),
        (lambda x, w: ops.multi_krum(x, w, -1, 1), "bad: expected 0 to 4"),
        (lambda x, w: ops.multi_krum(x, w, 1, 0), "keep: expected 1 to 12 (12 slots), got 0"),
        (lambda x, w: ops.coordinate_median(x, w[1:]), r"weight: expected shape (12), found (11,)"),
        (lambda x, w: ops.krum({"z": x["n"]}, w, 1, LAYERS), "rows: expected leaves of the layer map, found 'z/w'"),
        (lambda x, w: ops.norm_clipping(x, w, {"n": CENTRE["n"]}, 1.0), "centre: expected a leaf at 'a/b', found none"),
        (lambda x, w: ops.geometric_median(x, w, start=x), "start at 'a/b': expected shape (3), found (12, 3)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call(as_jax(ROWS), jnp.asarray(WEIGHT))


@pytest.mark.parametrize("name", RULES)
def test_dtypes_are_those_of_the_leaves(name):
    rows = {"h": jnp.asarray(flat(ROWS, K), jnp.bfloat16), "i": jnp.full((K, 2), 3, jnp.int32)}
    centre = {"h": jnp.zeros(rows["h"].shape[1], jnp.bfloat16), "i": jnp.full(2, 3, jnp.int32)}
    found = RULES[name](rows, jnp.asarray(WEIGHT), centre, jnp.int32(1))
    assert found["h"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(found["i"], [3, 3])
