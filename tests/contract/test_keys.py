"""No two draws of a run share a key, in any algorithm of the registry and with any option that draws."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fedjax_layers as fl
from fedjax_layers import algorithms, ops
from fedjax_layers.algorithms.factory import Method
from fedjax_layers.clients import keys
from fedjax_layers.data.augmentation import ColourJitter, Compose, Crop, Cutout, Flip
from fedjax_layers.engine.intervals import round_keys
from fedjax_layers.engine.sampling import uniform
from fedjax_layers.experiment.setup.attack import make_attack
from fedjax_layers.ops import ClientAxis
from fedjax_layers.types import Task
from tests import adapter_toy, batch_norm_toy, toy
from tests.key_uses import recorded
from tests.registry import NEEDED, marks_of

NOISY = optax.chain(optax.add_noise(0.1, 0.5, jax.random.key(0)), optax.sgd(0.1))  # an optimiser that draws
SHARES = {"client_participation": 0.5, "team_participation": 0.5, "num_teams": 2, "team_rounds": 3}
FAULTS = fl.Faults(drop_before=0.3, drop_during=0.3, straggle=0.3, broken=0.3)
SOLVER = fl.LocalSolver(optax.sgd(0.1), toy.BATCH)
COINS = {"probability": 0.3, "cluster_probability": 0.3, "num_teams": 2}
OPTIONS = {  # name of the case -> algorithm, its options, changes of the trainer: all that draws
    "noisy optimisers": ("fedavg", {"server_optimizer": NOISY}, {"optimizer": NOISY, "keep_optimizer": True}),
    "two epochs": ("fedavg", {}, {"epochs": 2}),
    "poison": ("fedavg", {}, {"attack": ("noise", (True, False, True))}),
    "faults": ("fedavg", {}, {"faults": FAULTS}),
    "random prefix": ("player_fl", {"random_prefix": True, "dropout": True}, {}),
    "SiloBN": ("fedbn", {"local_affine": False}, {}),
    "random blocks": ("fedtlu", {"choice": "random"}, {}),
    "team rounds by epochs": ("permfl", SHARES, {}),
    "team rounds by steps": ("hsgd", SHARES, {"epochs": None, "steps": 2}),
    "coins": ("al2gd", COINS | {"tau": 0.5}, {}),
    "exploration": ("fedfomo", {"exploration": 0.5}, {}),
    "Hessian-free": ("per_fedavg", {"variant": "hf"}, {}),
    "retained at random": ("heurpfedla", {"retain": "random", "record_weights": True}, {}),
    "starts of their own": ("pfedla", {"same_start": False, "hyper_heads": "normal", "hyper_optimizer": NOISY}, {}),
    "one hypernetwork": ("pfedla", {"shared_hypernetwork": True, "hyper_optimizer": NOISY}, {}),
    "one by one": ("pfedla", {"order": "sequential"}, {}),
}
CASES = {name: (name, {}, {}) for name in algorithms.registry} | OPTIONS
# One draw that is used several times, on purpose: the same shuffle, or dropout of one step at several weights.
COMMON_DRAWS = {
    "team rounds by steps": {"batches.batch_order"},
    "ditto": {"batches.batch_order", "test_keys._loss"},
    "apfl": {"test_keys._loss"},
    "pfedme": {"test_keys._loss"},
    "Hessian-free": {"test_keys._loss"},
    "retained at random": {"mix.<lambda>"},
}
# JAX's own check counts those of a scan, and takes it for a use of two keys to choose one of them.
MISTAKEN = {"apfl", "pfedme", "noisy optimisers", "one hypernetwork"}
EXPECTED = {  # where the options draw: a case that does not come there tests nothing
    "noisy optimisers": {"optimizer_update._drawn"},
    "poison": {"poison.<lambda>"},
    "faults": {"faults.<lambda>"},
    "random prefix": {"player_fl._other_prefix"},
    "random blocks": {"fedtlu.without_update"},
    "team rounds by epochs": {"tree.<lambda>"},
    "team rounds by steps": {"tree.<lambda>"},
    "coins": {"l2gd_round.draw_coins"},
    "exploration": {"fedfomo.one"},
    "fedlp": {"fedlp.drawn_layers"},
    "fedala": {"fedala.drawn_part"},
    "retained at random": {"mix.<lambda>"},
}


def _init(key):
    shapes = zip(jax.random.split(key, 3), ((4, 2), (2, 2), (2, 3)), strict=True)
    return [{"w": jax.random.normal(layer_key, shape)} for layer_key, shape in shapes]


def _apply(params, inputs, key):
    return functools.reduce(lambda x, layer: x @ layer["w"], params, inputs)


def _loss(params, batch, key):
    """Uses its key as augmentation and dropout do."""
    noise = 1.0
    if key is not None:
        change_key, drop_key = jax.random.split(key)
        noise = jax.random.uniform(change_key) + jax.random.bernoulli(jax.random.fold_in(drop_key, 7), 0.5)
    return (_apply(params, batch.inputs, key) ** 2).mean() * noise


@functools.cache
def _task(norms, adapted=False):
    if norms:
        return batch_norm_toy.make_task(jnp.float32)
    if adapted:
        return fl.low_rank(_task(False), 2, seed=9, example=toy.WIDTHS[:1])
    layers = ops.layer_map(jax.eval_shape(_init, jax.random.key(0)))
    example = jax.ShapeDtypeStruct(toy.WIDTHS[:1], jnp.float32)
    features = lambda params, inputs, key: _apply(params[:-1], inputs, key)  # noqa: E731
    losses = optax.softmax_cross_entropy_with_integer_labels
    return Task(_init, _apply, losses, _loss, layers, toy.WIDTHS[-1], example=example, features=features)


def _algorithm(name, options, changes):
    task = _task(name in batch_norm_toy.NEED_NORMS, name in adapter_toy.NEED_ADAPTERS)
    trainer = toy.make_trainer(task, axis=ClientAxis(width=1))  # side by side, clients that are done would go on
    changes = dict(changes)
    if "attack" in changes:
        bad = {"bad": jnp.ones(toy.CLIENTS, bool), "attack_strength": 1.0}
        changes["attack"] = make_attack(task.layers, *changes["attack"], bad)
    faults = changes.pop("faults", None)
    trainer = dataclasses.replace(trainer, **changes)
    make = lambda trainer: algorithms.registry[name](trainer, **NEEDED.get(name, {}) | options)  # noqa: E731
    if faults is not None:
        return task, algorithms.faulty(Method(SOLVER, make), faults).make(trainer)
    return task, make(trainer)


def run(task, algorithm, cohort, key):
    """A start, two rounds and the last local phase; what comes out is dropped."""
    state = algorithm.init(jax.random.fold_in(key, keys.STATE), task.init(jax.random.fold_in(key, keys.START)))
    state = jax.lax.fori_loop(0, 2, lambda t, s: algorithm.round(round_keys(key, t)[1], s, cohort)[0], state)
    if algorithm.finish is not None:
        algorithm.finish(jax.random.fold_in(jax.random.fold_in(key, 2), keys.FINISH), state, cohort)


@pytest.mark.parametrize("case", [pytest.param(case, marks=marks_of(CASES[case][0])) for case in CASES])
def test_no_two_draws_share_a_key_and_another_seed_shares_none(case):
    with jax.debug_key_reuse(case not in MISTAKEN), recorded() as uses:
        task, algorithm = _algorithm(*CASES[case])
        cohort = toy.make_cohort([0, 1, 3], toy.make_pool(dtype=np.float32))
        program = jax.jit(functools.partial(run, task, algorithm, cohort))
        program(jax.random.key(5))
        first = uses.pop()
        program(jax.random.key(6))
    assert first.clashes() == set()
    assert first.repeats() == COMMON_DRAWS.get(case, set())
    assert first.places() >= {"batches.batch_order"} | EXPECTED.get(case, set())
    assert not first.drawn & uses.drawn


class _Images(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool = False):
        for _ in range(2):
            x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(toy.WIDTHS[-1])(x.reshape(x.shape[0], -1))


def test_augmentation_and_dropout_share_no_key():
    recipe = Compose((Flip(), Crop(1), ColourJitter(0.1, 0.1, 0.1), Cutout(1)))
    rows = (toy.COUNTS.sum(), 4, 4, 3)
    pool = np.random.default_rng(0).random(rows, np.float32), np.zeros(rows[0], np.int32)
    with jax.debug_key_reuse(True), recorded() as uses:
        task = fl.task(_Images(), rows[1:], toy.WIDTHS[-1], augment=recipe)
        algorithm = algorithms.fedavg(toy.make_trainer(task, axis=ClientAxis(width=1)))
        jax.jit(functools.partial(run, task, algorithm, toy.make_cohort([0, 1, 3], pool)))(jax.random.key(5))
    assert uses.clashes() == uses.repeats() == set()
    assert {where.split(".")[0] for where in uses.places()} >= {"batches", "placement", "colour", "stochastic"}


def test_a_whole_run_shares_no_key():
    """Start, cohorts, rounds and the last local phase, and then the rounds of a run that goes on."""
    source = toy.make_federation(toy.make_pool(dtype=np.float32))

    def build(hyper):
        return algorithms.fedbabu(toy.make_trainer(_task(False), axis=ClientAxis(width=1)))

    with jax.debug_key_reuse(True), recorded() as uses:
        options = {"eval_every": 2, "sampling": uniform(2, toy.CLIENTS), "evaluated_models": ("served",)}
        result = fl.simulate(build, _task(False), source, rounds=2, seed=1, **options)
        fl.simulate(build, _task(False), source, rounds=4, resume=result, **options)
    assert uses.clashes() == uses.repeats() == set()
    assert uses.places() >= {"batches.batch_order", "sampling._draw", "test_keys._loss"}


def test_streams_are_told_apart():
    numbers = [number for name, number in vars(keys).items() if name.isupper()]
    assert len(set(numbers)) == len(numbers)
    assert all(2**31 <= number < 2**32 for number in numbers)


def _drawn_twice(key):
    jax.random.uniform(key)
    return jax.random.normal(key)


def _drawn_elsewhere(key):
    return jax.vmap(lambda c: jax.random.uniform(jax.random.fold_in(key, c)))(jnp.arange(3)), _client(key, 1)


def _client(key, c):
    return jax.random.split(jax.random.fold_in(key, c))


def _split_and_folded(key):
    return jax.random.split(key), jax.random.fold_in(key, 1)


def _in_a_loop(key):
    return jax.lax.fori_loop(0, 2, lambda i, x: x + jax.random.uniform(key), 0.0)


def _named(key):
    return jax.random.split(key), jax.random.uniform(jax.random.fold_in(key, keys.COINS))


@pytest.mark.parametrize(
    ("fn", "clashes", "repeats"),
    [
        (_drawn_twice, set(), {"test_keys._drawn_twice"}),
        (_drawn_elsewhere, {"drawn in test_keys.<lambda>, split in test_keys._client"}, set()),
        (_split_and_folded, {"folded in test_keys._split_and_folded, split in test_keys._split_and_folded"}, set()),
        (_in_a_loop, set(), {"test_keys.<lambda>"}),
        (_named, set(), set()),
    ],
)
def test_what_is_seen_of_a_fault(fn, clashes, repeats):
    with recorded() as uses:
        jax.jit(fn)(jax.random.key(0))
    assert uses.clashes() == clashes
    assert uses.repeats() == repeats
