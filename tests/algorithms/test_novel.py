"""Clients that never took part: served a model made of the others', and nothing changes for those who did."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_layers import algorithms
from fedjax_layers.algorithms import novel
from fedjax_layers.engine.evaluation.evaluate import evaluate
from fedjax_layers.engine.intervals import adapt_interval
from fedjax_layers.engine.plan import Plan
from fedjax_layers.engine.simulate import make_inputs
from fedjax_layers.ops import fill, prefix_mask, select
from tests import toy
from tests.registry import cases
from tests.rounds import task_of

SEEN = np.array([True, False, True, True, False])
TEAM_OF = np.array([0, 0, 1, 1, 2])  # the last client is alone, and so its team has never met
OPTIONS = {"al2gd": {"team_of": TEAM_OF, "num_teams": 3}, "fixed_sharing": {"shared": np.array([True, True, False])}}
OPTIONS |= {"permfl": OPTIONS["al2gd"], "hsgd": OPTIONS["al2gd"]}


def algorithm_of(name, **changes):
    task = task_of(name, jnp.float32)
    trainer = toy.make_trainer(task, **changes)
    return algorithms.registry[name](trainer, **OPTIONS.get(name, {})), task


def with_seen(state, seen):
    """The state in which these have taken part, wherever it keeps that."""
    if hasattr(state, "sharing"):
        return dataclasses.replace(state, sharing=with_seen(state.sharing, seen))
    return dataclasses.replace(state, seen=jnp.asarray(seen))


def some_state(algorithm, task):
    """A state whose numbers are all different."""
    state = jax.jit(algorithm.init)(jax.random.key(0), task.init(jax.random.key(1)))
    leaves, treedef = jax.tree.flatten(state)
    rng = np.random.default_rng(0)
    noisy = [x + rng.uniform(0.1, 1, x.shape).astype(x.dtype) if x.dtype == jnp.float32 else x for x in leaves]
    return jax.tree.unflatten(treedef, noisy)


def rows(tree, index):
    return [np.asarray(x)[index] for x in jax.tree.leaves(tree)]


def mean_of_seen(stacked):
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x)[SEEN].mean(0)), stacked)


def right_for(name, state, task, client, served):  # noqa: PLR0911  (a table)
    """What a client that never took part is served, by name."""
    sharing = getattr(state, "sharing", state)
    if name in ("ditto", "apfl", "pfedme", "demlearn", "fedlag", "fedala", "fedrod", "fedcac"):
        return sharing.server
    if name in ("permfl", "hsgd"):
        return jax.tree.map(lambda x: x[0], state.teams) if client == 1 else state.server
    if name in ("pfedla", "heurpfedla", "layer_mix"):
        return mean_of_seen(state.models)
    if name in ("local", "fedproto"):
        return jax.tree.map(lambda x: x[client], state.clients)
    if name == "pfedhn":
        vectors = state.net["embedding"].at[client].set(mean_of_seen(state.net["embedding"]))
        return jax.tree.map(
            lambda x: x[client], served(dataclasses.replace(state, net=state.net | {"embedding": vectors}))
        )
    if name == "al2gd" and client == 1:
        return jax.tree.map(lambda x: x[0], state.clients)  # the only other client of its cluster
    if name == "fedsa_lora":  # B = 0, the common start, is in its row
        return fill(jax.tree.map(lambda x: x[client], state.clients), state.server)
    mean = mean_of_seen(sharing.clients)
    if name in ("l2gd", "al2gd", "fedfomo", "fedamp"):
        return mean
    mean = fill(mean, sharing.server)  # clients may keep a part of the layers alone
    if name == "fedbn":
        kept = jax.tree.unflatten(jax.tree.structure(mean), [s or a for s, a in zip(*task.batch_norm[:2], strict=True)])
        return jax.tree.map(lambda k, m, s: m if k else s, kept, mean, sharing.server)
    shared = {"lg_fedavg": ~prefix_mask(1, 3), "player_fl": getattr(state, "shared", None)}.get(name, prefix_mask(2, 3))
    return select(shared, task.layers, sharing.server, mean)


PERSONAL = [n for n in algorithms.registry if n not in ("fedavg", "fedprox", "scaffold", "fedbabu", "local_adaptation")]
DEFAULT = ("local", "fedper", "fedbn", "ditto", "permfl", "l2gd", "pfedla", "pfedhn")
COMMON = ("fedtlu", "random_layers", "last_layers", "per_fedavg", "fedlp", "fedpart", "fedlama", "fednova")
PERSONAL = [n for n in PERSONAL if n not in (*COMMON, "fedit", "ffa_lora")]


@pytest.mark.parametrize("name", [n if n in DEFAULT else pytest.param(n, marks=pytest.mark.slow) for n in PERSONAL])
def test_the_others_are_served_as_ever_and_who_never_took_part_a_model_of_theirs(name):
    algorithm, task = algorithm_of(name)
    state = some_state(algorithm, task)
    served = jax.jit(lambda s: algorithm.models(s).personal)
    everybody, found = served(with_seen(state, np.ones(5, bool))), served(with_seen(state, SEEN))
    for a, b in zip(rows(found, SEEN), rows(everybody, SEEN), strict=True):
        np.testing.assert_array_equal(a, b)
    for client in np.flatnonzero(~SEEN):
        right = right_for(name, with_seen(state, np.ones(5, bool)), task, client, served)
        for a, b in zip(rows(found, client), jax.tree.leaves(right), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    if name in ("fedper", "fedfomo", "pfedla", "pfedhn", "l2gd"):  # before the first round there is no mean
        before = served(with_seen(state, np.zeros(5, bool)))
        jax.tree.map(np.testing.assert_array_equal, before, everybody)


@pytest.mark.parametrize("name", ["fedavg", "fedbabu", "fedtlu", "per_fedavg"])
def test_algorithms_with_a_global_model_alone_keep_nothing_for_each_client(name):
    algorithm, _ = algorithm_of(name)
    assert algorithm.welcome is None


@pytest.mark.parametrize("name", cases(PERSONAL))
def test_a_round_notes_who_takes_part(name):
    algorithm, task = algorithm_of(name)
    state = algorithm.init(jax.random.key(0), task.init(jax.random.key(1)))
    cohort = toy.make_cohort([0, 3], toy.make_pool(dtype=np.float32), pad_to=3)
    state = jax.jit(algorithm.round)(jax.random.key(2), state, cohort)[0]
    sharing = getattr(state, "sharing", state)
    assert np.asarray(sharing.seen).tolist() == [True, False, False, True, False]


def test_local_training_of_who_never_took_part_begins_at_what_it_is_served():
    """With steps of size zero the adapted scores are those of the served model."""
    algorithm, task = algorithm_of("fedper", optimizer=optax.sgd(0.0))
    state = with_seen(some_state(algorithm, task), SEEN)
    source = toy.make_federation(toy.make_pool(dtype=np.float32))
    inputs = make_inputs(source, hyper=None, seed=0, sampling=None, weights=None)
    novel = np.flatnonzero(~SEEN)
    scores = adapt_interval(
        lambda _: algorithm, Plan(task, 1), state, inputs, jnp.asarray(novel, jnp.int32), jnp.int32(1)
    )
    personal = algorithm.models(state).personal
    score = functools.partial(evaluate, task, stacked=True, largest=int(toy.COUNTS.max()))
    right, _ = score(personal, source.pool, source.test)
    np.testing.assert_allclose(scores["test/loss"], np.asarray(right["loss"])[novel], rtol=1e-5)
    server = jax.tree.map(lambda x: jnp.broadcast_to(x, (toy.CLIENTS, *x.shape)), state.server)
    start, _ = score(fill(state.clients, server), source.pool, source.test)
    assert np.abs(np.asarray(start["loss"])[novel] - scores["test/loss"]).min() > 1e-3


def test_the_mean_of_those_seen_reads_the_store_where_it_is():
    """Rows that are chosen before they are added up are a second store."""
    store = {"w": jnp.ones((256, 40, 30)), "b": jnp.ones((256, 30))}
    program = jax.jit(novel.mean_of_seen).lower(store, jnp.ones(256, bool)).compile()
    assert program.memory_analysis().temp_size_in_bytes < 0.1 * store["w"].nbytes
    seen = np.arange(256) < 3
    rows = np.random.default_rng(0).normal(size=(256, 4)).astype(np.float32)
    np.testing.assert_allclose(novel.mean_of_seen(jnp.asarray(rows), jnp.asarray(seen)), rows[:3].mean(0), rtol=1e-6)
    np.testing.assert_array_equal(novel.mean_of_seen(jnp.asarray(rows), jnp.zeros(256, bool)), rows[0])
