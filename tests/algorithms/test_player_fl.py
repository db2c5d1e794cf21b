"""PLayer-FL's switches: when it estimates, what it averages first, and the controls on the cut."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import algorithms
from fedjax_layers.algorithms.sharing.player_fl import _other_prefix
from tests import toy
from tests.rounds import rounds_of, start_params

L = 3
NO_JUMP = 1e9  # every cut is L
KEYS = [jax.random.fold_in(jax.random.key(7), t) for t in range(6)]


def setup(**args):
    algorithm = algorithms.player_fl(toy.make_trainer(toy.make_task()), **args)
    return algorithm, algorithm.init(jax.random.key(2), start_params()), toy.make_pool()


def rounds(cohorts, pool=None, **args):
    """States and infos of some rounds."""
    found = rounds_of("player_fl", args, traced=("threshold", "repeat_every", "fixed_cut", "cut_offset"))
    return found, *found.run(cohorts, pad_to=toy.CLIENTS, pool=pool)


EVERYONE = list(range(toy.CLIENTS))


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12), a, b)


def client(tree, c):
    return jax.tree.map(lambda x: x[c], tree)


def test_it_estimates_once_and_the_scores_cost_l_numbers_a_client(x64):
    _, states, infos = rounds([[0, 2, 4], EVERYONE, [1]], threshold=0.9)
    assert [int(i.sent_scalars) for i in infos] == [3 * L, 0, 0]
    for state, info in zip(states[1:], infos, strict=True):
        np.testing.assert_array_equal(state.scores, states[1].scores)
        np.testing.assert_array_equal(info.extra["scores"], states[1].scores)
        assert int(info.extra["cut"]) == int(states[1].cut)
    np.testing.assert_array_equal(states[0].scores, np.zeros(L))
    assert float(states[1].scores[0]) == 1


def test_the_first_cohort_that_comes_is_scored(x64):
    _, states, infos = rounds([[], [], [0, 2]], threshold=0.9)
    assert [bool(s.estimated) for s in states] == [False, False, False, True]
    assert [int(s.cut) for s in states[:3]] == [L] * 3
    assert [int(i.sent_scalars) for i in infos] == [0, 0, 2 * L]


@pytest.mark.parametrize("every", [0, 1, 2, 3])
def test_it_estimates_again_every_so_many_rounds(every, x64):
    _, states, infos = rounds([EVERYONE] * 6, repeat_every=every, threshold=NO_JUMP)
    due = [t == 0 or (every > 0 and t % every == 0) for t in range(6)]
    assert [int(i.sent_scalars) > 0 for i in infos] == due
    changed = [not np.array_equal(a.scores, b.scores) for a, b in itertools.pairwise(states)]
    assert changed == due


def pool_that_scores_nothing_for(silent):
    """A client of all-zero inputs has no gradient in its first layer, and so no usable score."""
    inputs, labels = toy.make_pool()
    inputs[toy.STARTS[silent] : toy.STARTS[silent] + toy.COUNTS[silent]] = 0
    return inputs, labels


def test_an_estimate_that_nobody_could_answer_leaves_the_last_one(x64):
    pool = pool_that_scores_nothing_for(2)
    args = {"pool": pool, "repeat_every": 1, "threshold": 0.0, "cut_offset": 1}
    _, states, infos = rounds([[0, 1], [2], [0]], **args)
    assert [int(s.cut) for s in states[1:]] == [2, 2, 2]
    np.testing.assert_array_equal(states[2].scores, states[1].scores)
    assert [int(i.sent_scalars) for i in infos] == [2 * L, L, L]


@pytest.mark.parametrize("args", [{"cut_offset": -1}, {"random_prefix": True}, {}])
def test_before_anybody_has_reported_all_layers_are_shared(args, x64):
    _, states, infos = rounds([[2], [0, 1]], pool=pool_that_scores_nothing_for(2), threshold=0.0, **args)
    assert int(states[1].cut) == L
    assert not bool(states[1].estimated)
    assert infos[0].sent.tolist() == [1] * L
    assert bool(states[2].estimated)
    assert int(states[2].cut) < L


def test_a_fixed_cut_needs_no_score(x64):
    _, states, _ = rounds([[2]], pool=pool_that_scores_nothing_for(2), fixed_cut=1)
    assert int(states[1].cut) == 1


def test_the_first_phase_is_averaged_at_once_by_default(x64):
    algorithm, states, infos = rounds([EVERYONE], fixed_cut=2)
    weights = toy.COUNTS / toy.COUNTS.sum()
    mean = jax.tree.map(lambda x: np.tensordot(weights, x, 1), infos[0].observed)
    assert infos[0].sent.tolist() == [toy.CLIENTS, toy.CLIENTS, 0]
    personal = algorithm.models(states[1]).personal
    for c in EVERYONE:
        assert_close(client(personal[:2], c), mean[:2])
        assert_equal(client(personal[2], c), client(infos[0].observed[2], c))


def test_the_first_averaging_may_wait_for_the_second_round(x64):
    algorithm, states, infos = rounds([EVERYONE] * 3, fixed_cut=2, average_first=False)
    for found, alone in zip(infos, rounds_of("local").run([EVERYONE] * 2)[1], strict=False):
        assert_close(found.observed, alone.observed)
    assert_equal(states[1].sharing.server, states[0].sharing.server)
    assert_equal(algorithm.models(states[1]).personal, infos[0].observed)
    assert [i.sent.tolist() for i in infos] == [[0, 0, 0], [5, 5, 0], [5, 5, 0]]
    assert int(infos[0].sent_scalars) == toy.CLIENTS * L
    weights = toy.COUNTS / toy.COUNTS.sum()
    mean = jax.tree.map(lambda x: np.tensordot(weights, x, 1), infos[1].observed)
    assert_close(states[2].sharing.server[:2], mean[:2])
    assert_close(client(algorithm.models(states[2]).personal, 3), [*mean[:2], client(infos[1].observed[2], 3)])


def first_cut(key, **args):
    algorithm, state, pool = setup(**args)
    return algorithm.round(key, state, toy.make_cohort(EVERYONE, pool))[0].cut


@pytest.mark.parametrize(("threshold", "estimated"), [(NO_JUMP, L), (0.0, 1)])
def test_the_offset_is_added_and_the_sum_kept_in_range(threshold, estimated, x64):
    offsets = jnp.asarray([-9, -1, 0, 1, 9], jnp.int32)
    cuts = jax.jit(jax.vmap(lambda o: first_cut(KEYS[0], threshold=threshold, cut_offset=o)))(offsets)
    assert cuts.tolist() == np.clip(estimated + np.array([-9, -1, 0, 1, 9]), 0, L).tolist()


@pytest.mark.slow
def test_fixed_cuts_are_traced_and_the_scores_still_recorded(x64):
    algorithm, state, pool = setup(threshold=0.9)
    expected = jax.jit(algorithm.round)(KEYS[0], state, toy.make_cohort(EVERYONE, pool))[0].scores

    def after(cut):
        algorithm, state, pool = setup(fixed_cut=cut)
        return algorithm.round(KEYS[0], state, toy.make_cohort(EVERYONE, pool))[0]

    found = jax.jit(jax.vmap(after))(jnp.arange(L + 1, dtype=jnp.int32))
    assert found.cut.tolist() == [0, 1, 2, 3]
    assert found.shared.tolist() == [[j < cut for j in range(L)] for cut in range(L + 1)]
    np.testing.assert_allclose(found.scores, np.broadcast_to(expected, (L + 1, L)), rtol=1e-10)


def test_a_random_prefix_is_another_one_and_drawn_by_the_rounds_key(x64):
    draw = jax.jit(lambda key: first_cut(key, threshold=NO_JUMP, random_prefix=True))
    cuts = [int(draw(jax.random.key(i))) for i in range(12)]
    assert set(cuts) == {1, 2}, "never L, the estimate"
    assert cuts == [int(draw(jax.random.key(i))) for i in range(12)]
    from_one = jax.jit(lambda key: first_cut(key, threshold=0.0, random_prefix=True))
    assert {int(from_one(jax.random.key(i))) for i in range(5)} == {2}, "neither 1, the estimate, nor L"


@pytest.mark.slow
def test_a_random_prefix_is_drawn_again_with_each_estimate(x64):
    _, states, _ = rounds([EVERYONE] * 6, threshold=NO_JUMP, random_prefix=True, repeat_every=1)
    assert {int(s.cut) for s in states[1:]} == {1, 2}
    _, states, _ = rounds([EVERYONE] * 6, threshold=NO_JUMP, random_prefix=True)
    assert len({int(s.cut) for s in states[1:]}) == 1


@pytest.mark.parametrize("cut", range(7))
def test_random_prefixes_are_uniform_among_the_others(cut):
    keys = jax.random.split(jax.random.key(0), 3000)
    drawn = np.asarray(jax.vmap(lambda k: _other_prefix(k, jnp.int32(cut), 6))(keys))
    others = [n for n in range(1, 6) if n != cut]
    share = np.bincount(drawn, minlength=7)[others] / 3000
    chance = 1 / len(others)
    np.testing.assert_allclose(share, chance, atol=4.5 * np.sqrt(chance * (1 - chance) / 3000))
    assert set(drawn) == set(others)


@pytest.mark.parametrize(("num_layers", "cut"), [(1, 1), (2, 1)])
def test_without_another_prefix_the_estimate_stays(num_layers, cut):
    assert int(_other_prefix(jax.random.key(0), jnp.int32(cut), num_layers)) == cut


def test_contradictions_and_unknown_choices_are_refused(x64):
    with pytest.raises(ValueError, match="fixed_cut, random_prefix: expected at most one of them"):
        setup(fixed_cut=1, random_prefix=True)
    with pytest.raises(ValueError, match="agreement: expected one of"):
        setup(agreement="median")


def test_a_rising_loss_asks_for_another_estimate(x64):
    """The labels change after three rounds: the loss rises in the fourth, and the fifth estimates again."""
    quiet = toy.make_pool()
    found = rounds_of("player_fl", {"threshold": 0.9, "repeat_on_rise": 0.2})
    states, scored = [found.start()], []
    for t in range(6):
        pool = quiet if t < 3 else (quiet[0], (quiet[1] + 1) % 3)
        state, info = found.step(KEYS[t], states[-1], toy.make_cohort(EVERYONE, pool))
        states.append(state)
        scored.append(int(info.sent_scalars) > 0)
    assert scored == [True, False, False, False, True, False]
    assert not np.array_equal(states[4].scores, states[5].scores)
    assert_equal([bool(s.risen) for s in states[3:6]], [False, True, False])


def test_layers_below_the_threshold_are_shared_and_the_others_stay(x64):
    """The scores are 1, 6.4 and 26: no one jumps by a factor of 10, and the last is above 10 times the first."""
    _, states, infos = rounds([EVERYONE, EVERYONE], threshold=10.0, shared_layers="below")
    assert states[1].shared.tolist() == [True, True, False]
    assert infos[1].sent.tolist() == [toy.CLIENTS, toy.CLIENTS, 0]
    assert int(infos[1].extra["cut"]) == 2
    assert int(rounds([EVERYONE], threshold=10.0)[1][1].cut) == 3


@pytest.mark.parametrize("other", [{"fixed_cut": 1}, {"random_prefix": True}, {"cut_offset": 1}])
def test_controls_on_the_cut_need_a_prefix(other, x64):
    with pytest.raises(ValueError, match="shared_layers: expected 'prefix'"):
        setup(shared_layers="below", **other)


def test_biases_count_in_the_score_where_they_are_asked_for(x64):
    with_vectors, without = (np.asarray(rounds([EVERYONE], vectors=flag)[1][1].scores) for flag in (True, False))
    assert (with_vectors != without)[1:].any()
