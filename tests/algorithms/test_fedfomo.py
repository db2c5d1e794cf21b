"""FedFomo: oracle, weights by hand, who is picked, what is held back, local training as a special case, bad input."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import algorithms
from fedjax_layers.algorithms.mixing.fedfomo import choose_models, held_losses, hold_back, move_towards
from fedjax_layers.clients import keys
from fedjax_layers.clients.batches import batch_order, batch_rows
from fedjax_layers.types import Cohort, Pool, Ranges
from tests import batch_norm_toy, toy, two_clusters
from tests.reference.fedfomo import FedFomo, held_back
from tests.rounds import round_key, rounds_of, start_params

EVERYONE = range(toy.CLIENTS)
ROUNDS = ([0, 2, 4], [3, 1], [], [2, 3, 0], [4, 1, 2], [0, 3, 1])  # partial: padded to three slots


def close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), toy.to_numpy(found), expected)


def row(tree, i):
    return jax.tree.map(lambda x: np.asarray(x[i]), tree)


TRACED = ("validation_share", "exploration", "exploration_decay")


def run(name="fedfomo", rounds=ROUNDS, *, norms=False, optimised=False, **args):
    """State, reports and the rounds after some rounds of the toy clients."""
    found = rounds_of(name, args, traced=() if optimised else TRACED, norms=norms, optimised=optimised)
    states, infos = found.run(rounds)
    return states[-1], infos, found


def draws(key, client):
    """The coin and the tie-breakers of one client's round."""
    coin, ties = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, keys.NEIGHBOURS), client))
    return float(jax.random.uniform(coin, (), jnp.float32)), jax.random.bits(ties, (toy.CLIENTS,), jnp.uint32).tolist()


def drawn_batches(trainer, key, client, share):
    """Rows of each local step, among those that are not held back."""
    count = int(toy.COUNTS[client]) - held_back(int(toy.COUNTS[client]), share)
    order = batch_order(jax.random.split(jax.random.fold_in(key, client))[0], jnp.int32(count), trainer)
    batches = []
    for step in range(int(trainer.num_steps(count))):
        rows, mask = batch_rows(order, jnp.int32(step), jnp.int32(count), trainer)
        batches.append(toy.STARTS[client] + np.asarray(rows)[np.asarray(mask)])
    return batches


CASES = [(0.2, 2, False, False), (0.5, 2, False, True), (0.5, 5, True, False)]  # 0.5: more than one batch is held back


@pytest.mark.parametrize(("share", "num", "published", "keep"), CASES)
def test_agrees_with_its_oracle(share, num, published, keep, x64):
    pool = toy.make_pool()
    chances = {"exploration": 0.6, "exploration_decay": 0.7}
    switches = {"published_distance": published, "published_affinity": published}
    args = {"num_models": num, "validation_share": share} | switches | chances
    rounds = rounds_of("fedfomo", args, traced=TRACED, **({"keep_optimizer": True} if keep else {}))
    params, state, trainer = start_params(), rounds.start(), rounds.trainer
    options = {"num": num, "share": share, "chance": 0.6, "decay": 0.7, "published": published, "keep": keep}
    oracle = FedFomo(toy.to_numpy(params), *pool, toy.STARTS, toy.COUNTS, lr=0.1, beta=0.9, **options)
    weights = []
    for t, ids in enumerate(ROUNDS):
        key = round_key(t)
        state, info = rounds.step(key, state, toy.make_cohort(ids, pool, pad_to=3))
        batches = {c: drawn_batches(trainer, key, c, share) for c in ids}
        trained, losses, mixed_others = oracle.round([(c, *draws(key, c), batches[c]) for c in ids])
        for slot, client in enumerate(ids):
            close(row(info.observed, slot), trained[client])
            np.testing.assert_allclose(info.loss[slot], losses[client], rtol=1e-10)
        positive = [sum(w > 0 for w in mixed_others[c].values()) for c in ids]
        np.testing.assert_allclose(info.extra["models_mixed"], np.mean(positive) if ids else 0)
        np.testing.assert_allclose(info.extra["mixed_others"], np.mean(np.array(positive) > 0) if ids else 0)
        assert int(info.steps) == sum(map(len, batches.values()))
        close(state.affinity, oracle.affinity)
        personal = rounds.models(state).personal
        for client in toy.seen_after(ROUNDS, t):
            close(row(personal, client), oracle.models[client])
        weights += [w for of in mixed_others.values() for w in of.values()]
    assert sum(w > 0 for w in weights) > 3, "the fixture must mix"
    assert min(weights) < 0, "and meet models that do worse, which P remembers"


def test_weights_by_hand(x64):
    """Two better models, a worse one, a twin and a model of NaN, of a client whose one held-back example is at 3."""
    task = two_clusters.make_task()
    trainer = two_clusters.make_trainer(task)
    points = np.zeros((5, 6))
    points[:, 0] = [0.0, 2.0, -1.0, 0.0, np.nan]
    points[1, 3] = 1.0
    extra = np.array([[1.0, 0, 0, 0, 0, 0]])
    stacked = np.concatenate([points, extra])
    everybody = [{"w": jnp.asarray(stacked[:, :3])}, {"w": jnp.asarray(stacked[:, 3:])}]
    target = np.array([[3.0, 0, 0, 0, 0, 0]])
    pool, held = Pool(jnp.asarray(target), jnp.zeros(1, jnp.int32)), Ranges(jnp.array([0]), jnp.array([1]))
    own = jax.tree.map(lambda x: x[:1], everybody)
    mixed, weights = move_towards(trainer, pool, held, own, everybody, jnp.array([[1, 2, 3, 4, 5]]))
    # Losses: own 9/2; model 1 (1 + 1)/2 at sqrt(5); model 2 16/2 at 1; model 5 4/2 at 1.
    w1, w2, w5 = 3.5 / np.sqrt(5), -3.5, 2.5
    np.testing.assert_allclose(weights, [[w1, w2, 0, 0, w5]], rtol=1e-12)
    expected = (w1 * points[1] + w5 * extra[0]) / (w1 + w5)
    np.testing.assert_allclose(np.concatenate([mixed[0]["w"][0], mixed[1]["w"][0]]), expected, rtol=1e-12)
    _, published = move_towards(trainer, pool, held, own, everybody, jnp.array([[1, 2, 3, 4, 5]]), True)
    np.testing.assert_allclose(published, [[3.5 / 3, w2, 0, 0, w5]], rtol=1e-12)


def test_a_client_that_diverged_hears_nobody_and_divides_by_nothing(x64):
    task = two_clusters.make_task()
    trainer = two_clusters.make_trainer(task)
    everybody = [{"w": jnp.array([[jnp.inf] * 3, [1.0] * 3])}, {"w": jnp.ones((2, 3))}]
    pool, held = Pool(jnp.ones((1, 6)), jnp.zeros(1, jnp.int32)), Ranges(jnp.array([0]), jnp.array([1]))
    own = jax.tree.map(lambda x: x[:1], everybody)
    mixed, raw = move_towards(trainer, pool, held, own, everybody, jnp.array([[1]]))
    assert raw.tolist() == [[0.0]]
    jax.tree.map(np.testing.assert_array_equal, mixed, own)


@pytest.mark.parametrize(
    ("share", "held"),
    [(0.0, [0, 0, 0, 0, 0]), (0.2, [0, 0, 1, 1, 3]), (0.01, [0, 0, 1, 1, 1]), (0.99, [0, 0, 1, 6, 14])],
)
def test_the_last_examples_are_held_back_one_at_least_and_never_all(share, held):
    counts = np.array([0, 1, 2, 7, 15])
    train, back = hold_back(Ranges(jnp.array([0, 0, 1, 3, 10]), jnp.asarray(counts)), share)
    assert back.count.tolist() == held
    assert train.count.tolist() == (counts - held).tolist()
    assert train.start.tolist() == [0, 0, 1, 3, 10]
    assert back.start.tolist() == (np.asarray(train.start) + counts - held).tolist()


def test_held_back_examples_are_not_trained_on(x64):
    """NaN in the held-back rows reaches no model: they are not trained on, and a loss of NaN mixes nothing."""
    inputs, labels = toy.make_pool()
    spoilt = inputs.copy()
    for client in (0, 1, 2, 3):
        end = toy.STARTS[client] + toy.COUNTS[client]
        spoilt[end - held_back(int(toy.COUNTS[client]), 0.2) : end] = np.nan
    states, infos = run(rounds=[])[2].run([EVERYONE] * 2, pool=(spoilt, labels))
    assert [float(info.extra["mixed_others"]) for info in infos] == [0, 0]
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(states[-1].clients))


picked = jax.jit(choose_models, static_argnums=3)


def test_affinity_picks_the_nearest_and_exploration_anybody():
    affinity = jnp.array([[9.0, 0, 3, 1, 2]] * 2)
    ids = jnp.array([0, 2])
    near = picked(jax.random.key(0), ids, affinity, 2, jnp.asarray(0.0))
    assert near.tolist() == [[2, 4], [0, 4]], "not oneself, however large"
    drawn = np.stack(
        [picked(jax.random.key(t), ids[:1], affinity[:1], 2, jnp.asarray(1.0))[0] for t in range(400)]
    )  # fmt: skip
    shares = np.bincount(drawn.ravel(), minlength=5) / 400
    assert shares[0] == 0
    np.testing.assert_allclose(shares[1:], 0.5, atol=0.09)  # 3.6 standard deviations


def test_ties_are_broken_at_random():
    flat = jnp.zeros((1, 5))
    first = [int(picked(jax.random.key(t), jnp.array([3]), flat, 1, jnp.asarray(0.0))[0, 0]) for t in range(60)]
    assert set(first) == {0, 1, 2, 4}


@pytest.mark.slow
def test_held_back_losses_are_means_over_predictions(x64):
    task, pool = toy.make_task(), Pool(*map(jnp.asarray, toy.make_pool()))

    def loss(params, batch, key):
        each = jnp.where(batch.mask, batch.labels + 2, 0)
        losses = task.losses(task.apply(params, batch.inputs, key), batch.labels)
        return (losses * each).sum() / jnp.maximum(each.sum(), 1)

    counted = task._replace(predictions=lambda labels: labels + 2, loss=loss)
    held = Ranges(jnp.asarray(toy.STARTS), jnp.asarray(toy.COUNTS))
    models = jax.vmap(task.init)(jax.random.split(jax.random.key(3), toy.CLIENTS))
    found = held_losses(toy.make_trainer(counted), pool, held, models)
    for client, (start, count) in enumerate(zip(toy.STARTS, toy.COUNTS, strict=True)):
        rows = slice(int(start), int(start + count))
        model = jax.tree.map(lambda x, c=client: x[c], models)
        losses = task.losses(task.apply(model, pool.inputs[rows], None), pool.labels[rows])
        expected = np.average(losses, weights=pool.labels[rows] + 2) if count else 0.0
        np.testing.assert_allclose(found[client], expected, rtol=1e-12)


def test_holding_back_nothing_is_local_training(x64):
    alone, local = run(validation_share=0.0, optimised=True), run("local", optimised=True)
    for a, b in zip(alone[1], local[1], strict=True):
        jax.tree.map(np.testing.assert_array_equal, a.observed, b.observed)
    jax.tree.map(np.testing.assert_array_equal, alone[2].models(alone[0]).personal, local[0].clients)
    mixed = run(validation_share=0.2)
    gaps = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), mixed[0].clients, local[0].clients)
    assert max(jax.tree.leaves(gaps)) > 1e-2


def test_where_everybody_is_received_exploration_changes_nothing(x64):
    one, other = (run(num_models=9, exploration=e)[0] for e in (0.0, 1.0))
    close(one.clients, toy.to_numpy(other.clients))
    close(one.affinity, toy.to_numpy(other.affinity))


@pytest.mark.slow
def test_the_decay_counts_attended_rounds(x64):
    """In the first round all models are equal: exploring there alone changes nothing. An empty round does not count."""
    args = {"num_models": 1, "validation_share": 0.5, "rounds": [EVERYONE, []] + [EVERYONE] * 4}
    never = run(exploration=0.0, exploration_decay=1.0, **args)[0]  # numbers are arguments: it is one program
    once = run(exploration=1.0, exploration_decay=0.0, **args)[0]
    always = run(exploration=1.0, exploration_decay=1.0, **args)[0]
    jax.tree.map(np.testing.assert_array_equal, once, never)
    assert not np.array_equal(always.affinity, never.affinity)
    assert int(never.round) == 5


def test_models_and_weights_are_counted(x64):
    for num, given in ((2, 2), (9, 4)):
        _, infos, _ = run(num_models=num)
        for ids, info in zip(ROUNDS, infos, strict=True):
            assert info.sent.tolist() == [len(ids)] * 3
            assert info.received.tolist() == [given * len(ids)] * 3
            assert int(info.sent_scalars) == given * len(ids)


def test_the_published_affinity_divides_by_the_sum_whatever_its_sign(x64):
    """All models are equal in the first round and weigh nothing; P is what the second one adds."""
    args = {"num_models": 9, "rounds": [EVERYONE] * 2}
    signed, published = (np.asarray(run(published_affinity=p, **args)[0].affinity) for p in (False, True))
    assert (signed < 0).any()
    totals = signed.sum(1, keepdims=True)
    assert (totals < 0).any(), "a quotient by the sum itself would turn the signs of such a row"
    some = totals[:, 0] != 0
    np.testing.assert_allclose(published[some], signed[some] / abs(totals[some]), rtol=1e-10)
    assert not published[~some].any()


def test_clients_find_their_cluster():
    """Training examples are noisy, held-back ones are not: those of one's cluster help, the others do not."""
    task = two_clusters.make_task()
    trainer = dataclasses.replace(two_clusters.make_trainer(task, learning_rate=0.9), max_examples=2)
    noise = 0.8 * np.random.default_rng(0).normal(size=two_clusters.MEANS.shape)
    examples = np.stack([two_clusters.MEANS + noise, two_clusters.MEANS], 1).reshape(-1, two_clusters.DIM)
    ids = jnp.arange(two_clusters.CLIENTS, dtype=jnp.int32)
    ranges = Ranges(2 * ids, jnp.full_like(ids, 2))
    pool = Pool(jnp.asarray(examples, jnp.float32), jnp.zeros(len(examples), jnp.int32))
    cohort = Cohort(ids, jnp.ones(len(ids)), ranges, pool, in_order=True)
    algorithm = algorithms.fedfomo(trainer, num_models=3)
    state = algorithm.init(jax.random.key(0), task.init(jax.random.key(1)))
    step = jax.jit(algorithm.round)
    for t in range(20):
        state, _ = step(jax.random.key(t), state, cohort)
    same = two_clusters.CLUSTER[:, None] == two_clusters.CLUSTER
    affinity, own = np.asarray(state.affinity), np.eye(len(same), dtype=bool)
    assert affinity[~same].max() < 0, "models of the other cluster do worse"
    within = affinity.sum(1, where=same) / (same & ~own).sum(1)
    across = affinity.sum(1, where=~same) / (~same).sum(1)
    assert (within > across).all()
    assert affinity[same].max() > 5


def test_a_federation_of_one_trains_alone(x64):
    task, pool = toy.make_task(), toy.make_pool()
    algorithm = algorithms.fedfomo(toy.make_trainer(task, num_clients=1))
    state = algorithm.init(jax.random.key(2), task.init(jax.random.key(1)))
    state, info = jax.jit(algorithm.round)(jax.random.key(3), state, toy.make_cohort([0], pool))
    assert float(info.extra["mixed_others"]) == 0
    assert info.received.tolist() == [0] * 3
    assert float(info.loss[0]) > 0


@pytest.mark.slow
def test_running_statistics_stay_with_their_client(x64):
    """A client that mixes keeps its own; were they mixed, the mean of what it hears would show."""
    task = batch_norm_toy.make_task()
    trainer = toy.make_trainer(task)
    state, infos, _ = run(norms=True, rounds=[EVERYONE] * 3)
    assert any(float(info.extra["mixed_others"]) > 0 for info in infos)
    pool, own = toy.make_pool(), state.clients
    held = hold_back(toy.make_cohort(EVERYONE, pool).train, 0.2)[1]
    chosen = jnp.asarray([[c for c in EVERYONE if c != i] for i in EVERYONE])
    mixed, raw = move_towards(trainer, Pool(*map(jnp.asarray, pool)), held, own, own, chosen)
    hearing = np.asarray((raw > 0).any(1))
    assert hearing.any()
    for flag, a, b in zip(task.batch_norm.statistics, jax.tree.leaves(mixed), jax.tree.leaves(own), strict=True):
        same = np.array([np.array_equal(a[i], b[i]) for i in np.flatnonzero(hearing)])
        assert same.all() if flag else not same.any()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"num_models": 0}, "num_models: expected at least 1, got 0"),
        ({"validation_share": 1.0}, "validation_share: expected at least 0 and less than 1, got 1.0"),
        ({"exploration": 1.5}, "exploration: expected 0 to 1, got 1.5"),
        ({"exploration_decay": -0.1}, "exploration_decay: expected 0 to 1, got -0.1"),
    ],
)
def test_bad_input(args, message):
    trainer = toy.make_trainer(toy.make_task(jnp.float32))
    with pytest.raises(ValueError, match=message) as error:
        algorithms.fedfomo(trainer, **args)
    assert "\n" not in str(error.value)
