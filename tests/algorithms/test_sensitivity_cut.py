"""How clients' scores become one cut, by hand; which batch is scored; the controls printed beside a cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import algorithms
from fedjax_layers.algorithms.sharing.sensitivity_cut import (
    CutRule,
    agree_on_cut,
    cut_controls,
    layers_shared,
    score_client,
)
from fedjax_layers.clients import LocalOptions, keys, train_cohort
from tests import toy
from tests.reference.network import combine, loss_and_gradient

# Own cuts at 1.5: 3, 3 and 1. Over their first scores: sums 3, 4, 8, 24, a jump after layer 2.
SCORES = np.array([[1.0, 1, 1, 9], [1, 1, 1, 9], [100, 200, 600, 600]])
EXPECTED = {
    "normalised": (2, np.array([1, 4 / 3, 8 / 3, 8])),
    "mean": (1, np.array([102, 202, 602, 618]) / 3),
    "majority": (3, np.array([1, 4 / 3, 8 / 3, 8])),
}


def agree(scores, weight=None, **rule):
    scores = jnp.asarray(scores, jnp.float32)
    weight = jnp.ones(len(scores)) if weight is None else jnp.asarray(weight, jnp.float32)
    cut, mean, reported = jax.jit(lambda s, w: agree_on_cut(s, w, CutRule(**rule)))(scores, weight)
    assert cut.dtype == jnp.int32
    return int(cut), np.asarray(mean), bool(reported)


@pytest.mark.parametrize("agreement", EXPECTED)
def test_three_clients_by_hand(agreement):
    cut, mean, reported = agree(SCORES, agreement=agreement)
    assert (cut, reported) == (EXPECTED[agreement][0], True)
    np.testing.assert_allclose(mean, EXPECTED[agreement][1], rtol=1e-6)


@pytest.mark.parametrize("agreement", EXPECTED)
def test_every_client_has_one_voice_whatever_its_weight(agreement):
    expected = agree(SCORES, agreement=agreement)
    found = agree(SCORES, weight=[1, 1000, 7], agreement=agreement)
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("agreement", EXPECTED)
@pytest.mark.parametrize(
    ("row", "weight"),
    [
        ([1, 50, 1, 1], 0),
        ([np.nan] * 4, 0),
        ([1, np.nan, 1, 1], 1),
        ([1, 1, np.inf, 1], 1),
        ([0, 5, 5, 5], 1),
        ([0, 0, 0, 0], 1),
    ],
)
def test_clients_without_a_usable_score_have_no_say(agreement, row, weight):
    found = agree([*SCORES, row, row, row, row], weight=[1, 1, 1, *[weight] * 4], agreement=agreement)
    assert (found[0], found[2]) == (EXPECTED[agreement][0], True)
    np.testing.assert_allclose(found[1], EXPECTED[agreement][1], rtol=1e-6)


@pytest.mark.parametrize("agreement", EXPECTED)
def test_without_a_report_the_cut_is_all_layers(agreement):
    cut, mean, reported = agree([[0.0, 1, 1, 1], [1, 9, 9, 9]], weight=[1, 0], agreement=agreement)
    assert (cut, reported) == (4, False)
    assert np.isfinite(mean).all()


def test_a_tie_of_the_majority_goes_to_the_smallest():
    assert agree([[1, 1, 1, 9], [1, 9, 9, 9]], agreement="majority")[0] == 1
    assert agree([[1, 1, 1, 9], [1, 9, 9, 9], [1, 1, 1, 9]], agreement="majority")[0] == 3


def test_the_rules_switches_reach_every_client():
    first = [[1.0, 9, 9, 9]] * 2
    for agreement in EXPECTED:
        assert agree(first, agreement=agreement, local_on_first_jump=True)[0] == 0
    heart = [[1.0, 0.76, 1.71, 6.53]]  # ratios .76, 2.25, 3.8; cumulative 1.76, 1.97, 2.88
    for agreement in EXPECTED:
        assert agree(heart, agreement=agreement, threshold=1.6)[0] == 2
        assert agree(heart, agreement=agreement, threshold=1.6, cumulative=True)[0] == 1


@pytest.mark.parametrize(("name", "value"), [("gradient", "step"), ("agreement", "median")])
def test_unknown_choices_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected one of .*got '{value}'"):
        algorithms.player_fl(toy.make_trainer(toy.make_task(jnp.float32)), **{name: value})


def fresh_rows(key, client):
    """Pool rows of the batch that is scored, drawn with replacement."""
    draw_key, _ = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, keys.SCORE_BATCH), client))
    return toy.STARTS[client] + np.asarray(jax.random.randint(draw_key, (toy.BATCH,), 0, toy.COUNTS[client]))


def scores_by_hand(params, x, y):
    """One client's scores on given examples."""
    products = combine(np.multiply, params, loss_and_gradient(params, x, y)[1])
    return [np.mean(p["w"] ** 2) for p in products]


def trained(trainer, key, cohort, rule):
    """The common start, the local phase's result, and the scores."""
    params = trainer.task.init(jax.random.key(1))

    @jax.jit
    def run(key, cohort):
        options = LocalOptions(with_gradient=rule.gradient == "epoch")
        result = train_cohort(trainer, key, cohort, server=params, options=options)
        slots = [jax.tree.map(lambda x, k=k: x[k], result) for k in range(len(cohort.ids))]
        scores = [score_client(trainer, key, toy.visit_of(cohort, k), own, rule) for k, own in enumerate(slots)]
        return result, jnp.stack(scores)

    return params, *run(key, cohort)


def test_a_fresh_batch_at_the_trained_weights_is_scored(x64):
    pool, key = toy.make_pool(), jax.random.key(5)
    trainer, cohort = toy.make_trainer(toy.make_task()), toy.make_cohort([3, 0, 4], pool, pad_to=4)
    params, result, found = trained(trainer, key, cohort, CutRule())
    assert found.shape == (4, 3)
    for slot, client in enumerate([3, 0, 4]):
        own = toy.to_numpy(jax.tree.map(lambda x, s=slot: x[s], result.params))
        rows = fresh_rows(key, client)
        assert set(rows) <= set(range(toy.STARTS[client], toy.STARTS[client] + toy.COUNTS[client]))
        np.testing.assert_allclose(found[slot], scores_by_hand(own, pool[0][rows], pool[1][rows]), rtol=1e-10)
        untrained = scores_by_hand(toy.to_numpy(params), pool[0][rows], pool[1][rows])
        assert not np.isclose(found[slot], untrained, rtol=1e-3).any()


def test_the_mean_gradient_of_the_epoch_is_scored(x64):
    pool, key = toy.make_pool(), jax.random.key(5)
    trainer, cohort = toy.make_trainer(toy.make_task()), toy.make_cohort([0, 2], pool)
    _, result, found = trained(trainer, key, cohort, CutRule(gradient="epoch"))
    for slot in range(2):
        own, gradient = (
            toy.to_numpy(jax.tree.map(lambda x, s=slot: x[s], tree)) for tree in (result.params, result.gradient)
        )
        hand = [np.mean((p["w"] * g["w"]) ** 2) for p, g in zip(own, gradient, strict=True)]
        np.testing.assert_allclose(found[slot], hand, rtol=1e-10)


def test_a_slot_without_examples_scores_zero(x64):
    pool, key = toy.make_pool(), jax.random.key(5)
    trainer, cohort = toy.make_trainer(toy.make_task()), toy.make_cohort([0, 2], pool)
    empty = cohort.train._replace(count=jnp.asarray([0, 14], jnp.int32))
    cohort = type(cohort)(cohort.ids, cohort.weight, empty, cohort.pool)
    _, _, found = trained(trainer, key, cohort, CutRule())
    assert (found[0] == 0).all()
    assert (found[1] > 0).all()


def test_scores_are_taken_with_dropout_only_where_asked(x64):
    """A loss that doubles where it is given a key: its gradient doubles, the score grows fourfold."""
    task, pool, key = toy.make_task(), toy.make_pool(), jax.random.key(5)
    doubling = task._replace(loss=lambda p, batch, k: task.loss(p, batch, None) * (1 if k is None else 2))
    trainer, cohort = toy.make_trainer(doubling), toy.make_cohort([0, 2], pool)
    off, on = (trained(trainer, key, cohort, CutRule(dropout=d))[2] for d in (False, True))
    np.testing.assert_allclose(on, 4 * off, rtol=1e-10)


def permuted_within_clients(labels):
    rng = np.random.default_rng(0)
    return np.concatenate([rng.permutation(part) for part in np.split(labels, toy.STARTS[1:])])


@pytest.mark.parametrize("gradient", ["batch", "epoch"])
def test_the_controls_are_the_cuts_of_the_untrained_model_and_of_permuted_labels(gradient, x64):
    (x, y), key = toy.make_pool(), jax.random.key(5)
    task = toy.make_task()
    trainer, everyone = toy.make_trainer(task), list(range(toy.CLIENTS))
    params, labels = task.init(jax.random.key(1)), permuted_within_clients(y)

    def untrained(client):
        if gradient == "batch":
            rows = fresh_rows(key, client)
            return scores_by_hand(toy.to_numpy(params), x[rows], y[rows])
        steps = [
            loss_and_gradient(toy.to_numpy(params), x[r], y[r])[1] for r in toy.drawn_batches(trainer, key, client)
        ]
        mean = combine(lambda *g: np.mean(g, 0), *steps)
        return [np.mean((p["w"] * g["w"]) ** 2) for p, g in zip(toy.to_numpy(params), mean, strict=True)]

    scores = np.array([untrained(c) for c in everyone])
    mean = (scores / scores[:, :1]).mean(0)
    ratios = mean[1:] / mean[:-1]
    thresholds = np.concatenate([0.999 * ratios, 1.001 * ratios, [0.3, 1.0, 3.0, 10.0, 1e9]])

    def controls(threshold):
        rule = CutRule(threshold=threshold, gradient=gradient)
        return cut_controls(trainer, key, params, toy.make_cohort(everyone, (x, y)), jnp.asarray(labels), rule)

    def first_round(threshold):
        algorithm = algorithms.player_fl(trainer, threshold=threshold, gradient=gradient)
        state = algorithm.init(jax.random.key(2), params)
        return algorithm.round(key, state, toy.make_cohort(everyone, (x, labels)))[0].cut

    found = jax.jit(jax.vmap(controls))(jnp.asarray(thresholds))
    by_hand = [next((i + 1 for i in range(2) if ratios[i] > t), 3) for t in thresholds]
    assert found["initialisation"].tolist() == by_hand
    assert len(set(by_hand)) > 1, "the thresholds must exercise more than one cut"
    # The other way to the same numbers: the algorithm's first round on the permuted labels.
    permuted = jax.jit(jax.vmap(first_round))(jnp.asarray(thresholds)).tolist()
    assert found["permuted_labels"].tolist() == permuted
    assert len(set(permuted)) > 1


def test_the_weight_count_control_by_hand():
    """Weights without biases: 24, 42, 21; only 42 to 21 is a fall, by a factor of two."""
    trainer = toy.make_trainer(toy.make_task(jnp.float32))
    assert trainer.task.layers.scored_sizes == (24, 42, 21)
    pool = toy.make_pool(dtype=np.float32)
    cohort, params = toy.make_cohort([0, 2], pool), trainer.task.init(jax.random.key(1))

    @jax.jit
    def weight_count(threshold):
        rule = CutRule(threshold=threshold)
        return cut_controls(trainer, jax.random.key(0), params, cohort, jnp.asarray(pool[1]), rule)["weight_count"]

    assert [int(weight_count(t)) for t in (0.5, 1.5, 1.99, 2.0, 2.01)] == [1, 2, 2, 3, 3]


POOLED = jnp.array([[1.0, 4.0, 1.0], [1.0, 1.0, 1.0], [2.0, 2.0, 9.0]])


def agreed(counts, **rule):
    found = agree_on_cut(POOLED, jnp.ones(3), CutRule(**rule), jnp.asarray(counts))
    return int(found[0]), np.asarray(found[1])


def test_pooled_scores_are_means_by_examples():
    cut, mean = agreed([1, 98, 1], agreement="pooled", threshold=1.2)
    np.testing.assert_allclose(mean, (POOLED * jnp.array([[1], [98], [1]])).sum(0) / 100, rtol=1e-6)
    assert cut == 3, "the many examples of the client without a jump decide"
    assert agreed([1, 1, 1], agreement="pooled", threshold=1.2)[0] == 1


def test_shrinkage_makes_clients_with_few_examples_vote_with_the_mean():
    """At threshold 2.5 their own votes are 1, 3 and 2, of which the smallest wins; the mean has no such jump."""
    votes = [agreed([5, 5, 5], agreement="majority", threshold=2.5, shrinkage=s)[0] for s in (0.0, 1e6)]
    assert votes == [1, 3]


def test_layers_below_the_threshold_need_not_be_a_prefix():
    scores = jnp.array([[1.0, 5.0, 1.2, 0.3]])
    rule = CutRule(threshold=1.5, shared_layers="below")
    cut, mean, _ = agree_on_cut(scores, jnp.ones(1), rule)
    assert layers_shared(mean, cut, rule).tolist() == [True, False, True, True]
    assert int(cut) == 3
    rule = CutRule(threshold=1.5)
    cut, mean, _ = agree_on_cut(scores, jnp.ones(1), rule)
    assert layers_shared(mean, cut, rule).tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shrinkage": 3.0}, "shrinkage: expected 0 beside agreement 'normalised'"),
        ({"shared_layers": "below", "cumulative": True}, "shared_layers: expected 'prefix'"),
        ({"shared_layers": "below", "agreement": "majority"}, "shared_layers: expected 'prefix'"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        CutRule(**fields)
