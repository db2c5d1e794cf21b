"""DemLearn: deep trees against the oracle's recursion, reductions, invariants of the parent_share, bad input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_layers import algorithms
from fedjax_layers.algorithms.tiers.demlearn import hierarchy, mix
from tests import toy
from tests.reference import clusters as oracles
from tests.rounds import round_key, rounds_of, start_params

ROUNDS = ([0, 2, 4], [3, 1], [2, 3, 0, 1, 4], [], [1, 2, 0, 4])


def close(found, expected, **kw):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **(kw or {"rtol": 1e-10, "atol": 1e-12})),
        toy.to_numpy(found),
        toy.to_numpy(expected),
    )


def row(tree, i):
    return jax.tree.map(lambda x: x[i], tree)


TRACED = ("mu", "parent_share", "amplification", "amplified_rounds")


def run(name="demlearn", rounds=ROUNDS, *, changes=(), weights=None, **args):
    found = rounds_of(name, args, traced=TRACED, **dict(changes))
    states, infos = found.run(rounds, pad_to=5, weights=weights)
    return states[-1], infos, found


def models(num, seed):
    """Networks in three clumps of unequal size, and their positions among two empty slots."""
    rng = np.random.default_rng(seed)
    clump = rng.choice(3, num, p=[0.6, 0.3, 0.1])
    shapes = [{"w": (3, 2), "b": (2,)}, {"w": (2, 2), "b": (2,)}]
    return [
        [{k: rng.normal(size=s) + 4 * clump[c] for k, s in layer.items()} for layer in shapes] for c in range(num)
    ], np.array([i for i in range(num + 2) if i not in (1, num)])


@functools.cache
def grown_and_mixed(levels):
    @jax.jit
    def of(stacked, slots):
        nested = hierarchy(stacked, slots > 0, levels)
        return nested, mix(stacked, slots, nested, 0.7, 1.15, fallback=row(stacked, 0))

    return of


@pytest.mark.parametrize("levels", [0, 1, 3, 6])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_deep_hierarchy_is_mixed_as_by_the_recursion(seed, levels, x64):
    """Fourteen clients of unequal weight, lone ones at every depth, NaN in the slots that nobody fills."""
    own, at = models(14, seed)
    weights = np.random.default_rng(seed + 9).uniform(1, 5, 14)
    root = oracles.Group(oracles.grow([oracles.flat(m) for m in own]), levels)
    expected_root, _ = root.rise(own, weights, 1.15)
    found = {}
    root.fall(own, 0.7, found)

    stacked = jax.tree.map(lambda *xs: np.full((16, *xs[0].shape), np.nan), *own)
    for place, model in zip(at, own, strict=True):
        jax.tree.map(lambda x, m, p=place: x.__setitem__(p, m), stacked, model)
    slots = np.zeros(16)
    slots[at] = weights
    stacked = jax.tree.map(jnp.asarray, stacked)
    nested, mixed = grown_and_mixed(levels)(stacked, jnp.asarray(slots))
    close(mixed.root, expected_root)
    for place, (model, parent) in zip(at, (found[c] for c in range(14)), strict=True):
        close(row(mixed.members, place), model)
        close(row(mixed.parents, place), parent)
    depths = sum(np.asarray(groups)[at] >= 0 for groups in nested)
    assert levels < 3 or len(set(depths.tolist())) > 1, "somebody must stand alone early"


@pytest.mark.parametrize("keep", [False, True])
def test_agrees_with_its_oracle_over_rounds_of_all_sizes(keep, x64):
    """Parents outlive rounds in which their clients are absent; padding, an empty cohort, examples as weights."""
    changes = {"keep_optimizer": True} if keep else {}
    args = {"mu": 0.4, "parent_share": 0.7, "levels": 2, "amplification": 1.1, "amplified_rounds": 3}
    state, infos, rounds = run(changes=changes, weighting="examples", **args)
    oracle = oracles.DemLearn(
        toy.to_numpy(start_params()), 5, *toy.make_pool(), lr=0.1, beta=0.9, keep=keep,
        levels=2, pull=0.4, parent_share=0.7, factor=1.1, rounds=3, by_examples=True,
    )  # fmt: skip
    for t, ids in enumerate(ROUNDS):
        results = oracle.round(
            [(c, float(toy.COUNTS[c]), toy.drawn_batches(rounds.trainer, round_key(t), c)) for c in ids]
        )
        for slot, (_, _, trained, loss, *_) in enumerate(results):
            close(row(infos[t].observed, slot), trained)
            np.testing.assert_allclose(infos[t].loss[slot], loss, rtol=1e-10)
    found = toy.to_numpy(rounds.models(state))
    close(found.global_model, oracle.server)
    for c in range(5):
        close(row(found.personal, c), oracle.own[c])
        close(row(state.parents, c), oracle.parents[c])


@pytest.mark.parametrize("levels", [0, 3])
@pytest.mark.parametrize("weighting", ["examples", "uniform"])
def test_taking_the_parent_whole_is_fedavg(weighting, levels, x64):
    """With parent_share 1 the root's model reaches everybody: clients begin where FedAvg's server is."""
    rounds = [range(5)] * 3
    state, _, _ = run(rounds=rounds, levels=levels, parent_share=1.0, weighting=weighting)
    fedavg, _, _ = run("fedavg", rounds, weights=None if weighting == "examples" else np.ones(5))
    close(state.server, fedavg.server)
    close(state.clients, jax.tree.map(lambda x: np.broadcast_to(x, (5, *x.shape)), fedavg.server))


def test_taking_nothing_of_the_parent_is_local_training(x64):
    state, _, _ = run(parent_share=0.0)
    local, _, _ = run("local")
    close(state.clients, local.clients)


def test_one_level_is_the_mean_of_all_by_hand(x64):
    """Without groups below the root a client becomes ``(1 - parent_share) own + parent_share mean``; mu = 0."""
    state, infos, _ = run(rounds=[[4, 0, 1]], levels=0, parent_share=0.3)
    own = np.asarray(infos[0].observed[0]["w"][:3])
    np.testing.assert_allclose(state.server[0]["w"], own.mean(0), rtol=1e-12)
    np.testing.assert_allclose(np.asarray(state.clients[0]["w"])[[4, 0, 1]], 0.7 * own + 0.3 * own.mean(0), rtol=1e-12)
    assert infos[0].extra["groups"].tolist() == [1]
    assert infos[0].sent.tolist() == [3, 3, 3]


def test_mixing_keeps_the_weighted_mean_where_all_stand_equally_deep(x64):
    """Every node is the mean of its children, and so is what it gives them; groups differ in size."""
    own, _ = models(14, 5)
    stacked = jax.tree.map(lambda *xs: jnp.asarray(np.stack(xs)), *own)
    weights = jnp.asarray(np.random.default_rng(3).uniform(1, 5, 14))
    first = jnp.array([0] * 5 + [5] * 9)
    nested = [jnp.zeros(14, jnp.int32), first, jnp.array([0, 0, 0, 3, 3] + [5] * 3 + [8] * 6)]
    mixed = jax.jit(lambda *args: mix(*args, nested, 0.6, 1.0, fallback=row(args[0], 0)))(stacked, weights)
    mean = jax.tree.map(lambda x: np.average(x, axis=0, weights=weights), stacked)
    close(mixed.root, mean)
    close(jax.tree.map(lambda x: np.average(x, axis=0, weights=weights), mixed.members), mean)


@pytest.mark.slow
def test_the_amplification_multiplies_once_per_level_and_ends(x64):
    """All clients alike: a tree of four like models has them below two groups, and those below the root."""
    one = models(1, 0)[0][0]
    stacked = jax.tree.map(lambda x: jnp.asarray(x) + 1e-3 * jnp.arange(4).reshape(-1, *(1,) * x.ndim) ** 2, one)
    nested = [jnp.zeros(4, jnp.int32), jnp.array([0, 0, 2, 2])]
    mixed = mix(stacked, jnp.ones(4), nested, 0.6, 1.15, fallback=row(stacked, 0))
    close(mixed.root, jax.tree.map(lambda x: 1.15**2 * x.mean(0), stacked))
    still = optax.sgd(0.0)
    for rounds, factor in ((1, 1.15), (2, 1.15**2)):
        twice, _, _ = run(
            rounds=[range(5)] * 2, levels=0, parent_share=1.0, amplification=1.15, amplified_rounds=rounds,
            changes={"optimizer": still},
        )  # fmt: skip
        start = start_params()
        close(twice.server, jax.tree.map(lambda x, f=factor: f * x, start))


def test_clumps_are_found_and_lone_clients_hang_from_the_root():
    spots = np.array([0.0, 0.1, 0.21, 10.0, 10.1, 50.0, 0.0])
    stacked = {"w": jnp.asarray(np.stack([spots, spots], 1), jnp.float32)}
    present = jnp.arange(7) < 6
    root, first, second, third = (np.asarray(g).tolist() for g in hierarchy(stacked, present, 3))
    assert root == [0] * 6 + [-1]
    assert first == [0, 0, 0, 0, 0, -1, -1]
    assert second == [0, 0, 0, 3, 3, -1, -1]
    assert third == [0, 0, -1, -1, -1, -1, -1]


def test_the_pull_leads_to_the_parent_of_the_last_round(x64):
    """A stiff pull holds a client at its parent, which is neither its own model nor the root."""
    args = {"mu": 1e3, "parent_share": 0.5, "changes": {"optimizer": optax.sgd(1e-3)}}
    before, _, _ = run(rounds=[range(5)], **args)
    _, infos, _ = run(rounds=[range(5)] * 2, **args)
    close(infos[1].observed, before.parents, rtol=0.02, atol=0.01)
    gap = jax.tree.map(lambda a, b: np.abs(a - b[None]).max(), before.parents, before.server)
    assert max(jax.tree.leaves(gap)) > 1e-5


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"levels": -1}, "levels: expected at least 0, got -1"),
        ({"mu": -0.1}, "mu: expected at least 0, got -0.1"),
        ({"parent_share": 1.5}, r"parent_share: expected 0 to 1, got 1.5"),
        ({"amplification": 0.0}, "amplification: expected a positive number, got 0.0"),
        ({"weighting": "size"}, "weighting: expected one of uniform, examples, got 'size'"),
    ],
)
def test_bad_input(args, message):
    with pytest.raises(ValueError, match=message):
        algorithms.demlearn(toy.make_trainer(None), **args)
