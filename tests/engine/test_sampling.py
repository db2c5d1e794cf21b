"""Cohorts: who is drawn how often, slots, weights, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers.engine import sampling
from fedjax_layers.types import Pool, Ranges

SIZES = np.array([8, 1, 4, 0, 2, 5])
C = len(SIZES)
TRAIN = Ranges(jnp.asarray([0, 8, 9, 13, 13, 15], jnp.int32), jnp.asarray(SIZES, jnp.int32))
POOL = Pool(jnp.zeros((20, 1)), jnp.zeros(20, jnp.int32))
DRAWS = 4000


def draw(rule, seed=0, t=0, weights=None):
    return sampling.draw_cohort(rule, jax.random.key(seed), jnp.int32(t), TRAIN, POOL, weights)


def many_ids(rule):
    """Ids ``[DRAWS, K]`` of independent draws."""
    keys = jax.random.split(jax.random.key(1), DRAWS)
    return np.asarray(jax.jit(jax.vmap(lambda k: sampling.draw_cohort(rule, k, jnp.int32(0), TRAIN, POOL).ids))(keys))


def test_all_clients_are_the_whole_population_in_order():
    cohort = draw(sampling.all_clients(C))
    assert cohort.in_order
    assert cohort.ids.tolist() == list(range(C))
    assert cohort.weight.tolist() == SIZES.tolist()
    assert cohort.train is TRAIN


@pytest.mark.parametrize("make", [sampling.uniform, sampling.by_size])
@pytest.mark.parametrize("size", [1, 3, C])
def test_drawn_cohorts_have_their_size_and_no_client_twice(make, size):
    rule = make(size, C)
    ids = many_ids(rule)
    assert ids.shape == (DRAWS, size)
    assert (np.sort(ids, 1)[:, 1:] != np.sort(ids, 1)[:, :-1]).all()
    assert ids.min() >= 0
    assert ids.max() < C
    cohort = draw(rule)
    assert not cohort.in_order
    assert cohort.ids.dtype == jnp.int32
    np.testing.assert_array_equal(cohort.train.start, np.asarray(TRAIN.start)[cohort.ids])
    np.testing.assert_array_equal(cohort.train.count, SIZES[cohort.ids])


def test_uniform_includes_everybody_equally_often():
    share = (many_ids(sampling.uniform(2, C))[:, :, None] == np.arange(C)).any(1).mean(0)
    sigma = np.sqrt(1 / 3 * 2 / 3 / DRAWS)
    np.testing.assert_allclose(share, 1 / 3, atol=4.5 * sigma)


def test_uniform_draws_every_pair_equally_often():
    ids = np.sort(many_ids(sampling.uniform(2, C)), 1)
    counts = np.bincount(ids[:, 0] * C + ids[:, 1], minlength=C * C).reshape(C, C)
    pairs = counts[np.triu_indices(C, 1)]
    assert pairs.sum() == DRAWS
    np.testing.assert_allclose(pairs / DRAWS, 1 / 15, atol=4.5 * np.sqrt(1 / 15 * 14 / 15 / DRAWS))


def test_by_size_draws_in_proportion_to_size():
    first = many_ids(sampling.by_size(1, C))[:, 0]
    chance = SIZES / SIZES.sum()
    share = np.bincount(first, minlength=C) / DRAWS
    assert share[3] == 0  # no examples, never drawn
    np.testing.assert_allclose(share, chance, atol=4.5 * np.sqrt(0.25 / DRAWS))
    # Two drawn one after another: the chance of being included, by hand.
    included = [c + sum(d * c / (1 - d) for j, d in enumerate(chance) if j != i) for i, c in enumerate(chance)]
    pairs = (many_ids(sampling.by_size(2, C))[:, :, None] == np.arange(C)).any(1).mean(0)
    np.testing.assert_allclose(pairs, included, atol=4.5 * np.sqrt(0.25 / DRAWS))
    assert (np.diff(pairs[np.argsort(SIZES)]) > 0).all()


def test_uniform_among_some_draws_them_alone_and_equally_often():
    among = np.array([5, 0, 3])
    ids = many_ids(sampling.uniform(2, C, among))
    assert (ids[:, 0] != ids[:, 1]).all()
    share = (ids[:, :, None] == np.arange(C)).any(1).mean(0)
    assert share[[1, 2, 4]].tolist() == [0, 0, 0]
    np.testing.assert_allclose(share[among], 2 / 3, atol=4.5 * np.sqrt(2 / 9 / DRAWS))


def test_by_size_among_some_draws_them_alone_in_proportion():
    among = np.array([4, 2, 5])  # of 2, 4 and 5 examples
    ids = many_ids(sampling.by_size(1, C, among))[:, 0]
    share = np.bincount(ids, minlength=C) / DRAWS
    assert share[[0, 1, 3]].tolist() == [0, 0, 0]
    np.testing.assert_allclose(share[among], np.array([2, 4, 5]) / 11, atol=4.5 * np.sqrt(0.25 / DRAWS))
    assert set(many_ids(sampling.by_size(3, C, among)).ravel().tolist()) == {2, 4, 5}


def test_who_may_be_drawn_is_traced():
    """Other unseen clients, same program."""
    leaves = [jax.tree.leaves(sampling.uniform(2, C, np.array(ids))) for ids in ([1, 2, 3], [0, 4, 5])]
    assert [x.shape for x in leaves[0]] == [x.shape for x in leaves[1]] == [(3,)]


@pytest.mark.parametrize("make", [sampling.uniform, sampling.by_size])
@pytest.mark.parametrize(
    ("size", "among", "message"),
    [
        (3, [0, 1], "expected 1 to 2 clients, the population, got 3"),
        (1, [0, 6], "expected ids 0 to 5"),
        (1, [0, -1], "expected ids 0 to 5, got -1 to 0"),
        (1, [2, 2], r"different clients in a round, got \[2, 2\]"),
        (1, [], "expected integer ids"),
        (1, [0.5], "expected integer ids"),
    ],
)
def test_those_that_may_be_drawn_have_to_make_sense(make, size, among, message):
    with pytest.raises(ValueError, match=f"cohort: .*{message}"):
        make(size, C, np.array(among))


def test_weights_are_sizes_or_those_given_and_equal_where_size_decided():
    uniform = draw(sampling.uniform(C, C))
    np.testing.assert_array_equal(uniform.weight, SIZES[uniform.ids])
    given = draw(sampling.uniform(C, C), weights=jnp.arange(C, dtype=jnp.float32) / 10)
    np.testing.assert_allclose(given.weight, np.asarray(given.ids) / 10, rtol=1e-6)
    equal = draw(sampling.by_size(C, C))
    np.testing.assert_array_equal(equal.weight, (SIZES > 0)[equal.ids])
    whole = draw(sampling.all_clients(C), weights=jnp.ones(C))
    np.testing.assert_array_equal(whole.weight, np.ones(C))


def test_another_key_draws_others_and_the_same_key_the_same():
    rule = sampling.uniform(3, C)
    assert draw(rule, 0).ids.tolist() == draw(rule, 0, t=5).ids.tolist()
    assert len({tuple(draw(rule, seed).ids.tolist()) for seed in range(10)}) > 5


def test_fixed_is_the_same_cohort_in_the_order_given():
    rule = sampling.fixed(np.array([4, 0, 5]), C)
    assert rule.size == 3
    for seed, t in ((0, 0), (7, 3)):
        cohort = draw(rule, seed, t)
        assert cohort.ids.tolist() == [4, 0, 5]
        assert cohort.weight.tolist() == [2, 8, 5]
        assert cohort.train.start.tolist() == [13, 0, 15]


def test_a_schedule_goes_round_and_leaves_slots_empty():
    rule = sampling.by_table(np.array([[0, 2, -1], [5, -1, -1], [-1, -1, -1]]), C)
    assert rule.size == 3
    expected = [([0, 2], [8, 4]), ([5], [5]), ([], [])]
    for t in range(6):
        cohort = draw(rule, t=t)
        there = np.asarray(cohort.weight) > 0
        assert (np.asarray(cohort.ids)[there].tolist(), np.asarray(cohort.weight)[there].tolist()) == expected[t % 3]
        assert cohort.ids.shape == (3,)
        assert int(cohort.ids.min()) >= 0, "an empty slot must index something real"


def test_other_members_and_rounds_are_the_same_program():
    traces = []

    @jax.jit
    def ids(rule, t):
        traces.append(None)
        return sampling.draw_cohort(rule, jax.random.key(0), t, TRAIN, POOL).ids

    assert ids(sampling.fixed(np.array([1, 2]), C), jnp.int32(0)).tolist() == [1, 2]
    assert ids(sampling.fixed(np.array([5, 0]), C), jnp.int32(9)).tolist() == [5, 0]
    assert len(traces) == 1


@pytest.mark.parametrize("make", [sampling.uniform, sampling.by_size])
@pytest.mark.parametrize("size", [0, -1, C + 1])
def test_sizes_outside_of_the_population_are_refused(make, size):
    with pytest.raises(ValueError, match=f"cohort: expected 1 to {C} clients, the population, got {size}"):
        make(size, C)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[0, 6]], "expected ids 0 to 5"),
        ([[-2, 0]], "expected ids 0 to 5"),
        ([[0, 1], [3, 3]], r"different clients in a round, got \[3, 3\]"),
        ([0, 1], r"expected integer ids \[rounds, slots\], got shape \(2,\)"),
        ([[0.0, 1.0]], "expected integer ids .* of float64"),
        (np.zeros((0, 2), int), "expected integer ids"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(ids, message):
    with pytest.raises(ValueError, match=f"cohort: .*{message}"):
        sampling.by_table(np.array(ids), C)


@pytest.mark.parametrize("ids", [[0, 6], [2, 2], [[0, 1]], []])
def test_fixed_cohorts_that_make_no_sense_are_refused(ids):
    with pytest.raises(ValueError, match="cohort: expected"):
        sampling.fixed(np.array(ids), C)
