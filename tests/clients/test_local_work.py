"""How much a client trains: parts of epochs, a number for each client, and batches too small to learn from."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fedjax_layers as fl
from fedjax_layers.clients import train_cohort
from fedjax_layers.clients.batches import batch_order, batch_rows, batches_per_epoch
from fedjax_layers.engine.placement import width as probe
from fedjax_layers.engine.placement.width import choose_axis
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.ops import ClientAxis
from tests import batch_norm_toy, toy

COUNTS = [int(n) for n in toy.COUNTS]  # 9, 4, 14, 7, 1 in batches of 4: 3, 1, 4, 2 and 1 batches
PER_EPOCH = [-(-n // toy.BATCH) for n in COUNTS]


def trainer_of(**changes):
    return toy.make_trainer(toy.make_task(jnp.float32), **changes)


def cohort_of(ids):
    return toy.make_cohort(ids, toy.make_pool(dtype=np.float32))


@pytest.mark.parametrize("epochs", [0.25, 0.5, 1.5, 0.1, 2.0, 1 / 3, 0.7])
def test_a_part_of_an_epoch_is_that_part_of_its_batches_rounded_half_up_and_never_nothing(epochs):
    trainer = trainer_of(epochs=epochs)
    right = [max(math.floor(epochs * n + 0.5 + 1e-9), 1) for n in PER_EPOCH]
    assert [trainer.num_steps(n) for n in COUNTS] == right
    assert np.asarray(trainer.num_steps(jnp.asarray(COUNTS))).tolist() == right
    assert trainer.num_steps(0) == 0 == int(trainer.num_steps(jnp.int32(0)))
    assert trainer.orders == math.ceil(epochs)


def test_a_quarter_of_an_epoch_visits_a_quarter_of_the_examples_once():
    trainer = dataclasses.replace(trainer_of(epochs=0.25), max_examples=128, batch_size=16)
    for count, right in ((128, 32), (64, 16)):
        order = batch_order(jax.random.key(0), jnp.int32(count), trainer)
        seen = []
        for step in range(trainer.num_steps(count)):
            rows, mask = batch_rows(order, jnp.int32(step), jnp.int32(count), trainer)
            seen += np.asarray(rows)[np.asarray(mask)].tolist()
        assert len(seen) == len(set(seen)) == right


@pytest.mark.parametrize(
    ("changes", "right"),
    [
        ({"epochs": None, "steps": np.array([1, 2, 3, 4, 5])}, [1, 2, 3, 4, 5]),
        ({"epochs": [0.5, 1, 2, 1.5, 3]}, [2, 1, 8, 3, 3]),
        ({"epochs": jnp.array([2, 2, 2, 2, 2])}, [2 * n for n in PER_EPOCH]),
    ],
    ids=["steps", "epochs", "equal epochs"],
)
def test_each_client_has_its_own_work(changes, right):
    trainer = trainer_of(**changes)
    hash((trainer.epochs, trainer.steps))  # a trainer is compared by value
    found = trainer.num_steps(jnp.asarray(COUNTS), jnp.arange(5))
    assert np.asarray(found).tolist() == right == [trainer.num_steps(n, c) for c, n in enumerate(COUNTS)]


@pytest.mark.parametrize("kind", ["steps", "epochs"])
def test_a_client_with_its_own_work_trains_as_if_all_had_that_much(kind):
    amounts = {"steps": (3, 1, 2, 5, 4), "epochs": (1.5, 1, 0.5, 2, 3)}[kind]
    both = {"epochs": None, "steps": None}
    ids = [3, 0, 2]
    params = trainer_of().task.init(jax.random.key(1))
    each = trainer_of(axis=ClientAxis(2), **{**both, kind: amounts})
    found = jax.jit(lambda cohort: train_cohort(each, jax.random.key(2), cohort, server=params))(cohort_of(ids))
    for slot, client in enumerate(ids):
        # As many orders are drawn as the client with most epochs needs, so the others' are the first of them.
        alike = tuple(amounts[client] if c == client else max(amounts) for c in range(5)) if kind == "epochs" else None
        same = trainer_of(**{**both, kind: alike or amounts[client]})
        alone = train_cohort(same, jax.random.key(2), cohort_of([client]), server=params)
        jax.tree.map(
            lambda a, b, s=slot: np.testing.assert_allclose(a[s], b[0], rtol=1e-5, atol=1e-6),
            (found.params, found.loss),
            (alone.params, alone.loss),
        )


@pytest.mark.parametrize(
    ("algorithm", "right"),
    [
        (fl.algorithms.fedavg, 6),
        (functools.partial(fl.algorithms.fedrep, head_steps=(4, 1, 1, 1, 1)), 12),
        (functools.partial(fl.algorithms.permfl, num_teams=2, team_rounds=2), 12),
    ],
    ids=["fedavg", "fedrep", "permfl"],
)
def test_a_round_reports_each_clients_own_steps(algorithm, right):
    trainer = trainer_of(epochs=None, steps=np.array([1, 2, 3, 4, 5]))
    made = algorithm(trainer)
    state = made.init(jax.random.key(0), trainer.task.init(jax.random.key(1)))
    _, info = jax.jit(made.round)(jax.random.key(2), state, cohort_of([0, 1, 2]))
    assert int(info.steps) == right


def test_the_probe_counts_each_clients_own_steps(monkeypatch):
    monkeypatch.setattr(probe, "_BUDGET", 300.0)  # seconds, however busy the machine is
    trainer = trainer_of(epochs=None, steps=(1, 2, 3, 4, 5))
    params = trainer.task.init(jax.random.key(0))
    chosen = choose_axis(trainer, jax.random.key(0), params, cohort_of([4, 1]))
    seconds = chosen.record["predicted_seconds_per_round"]
    assert set(seconds) == {"width 1, 1 device", "width 2, 1 device", "width 1, 8 devices"}
    assert chosen.axis.width in (1, 2)


def test_the_authors_lambda_of_permfl_needs_one_number_of_steps():
    trainer = trainer_of(epochs=None, steps=(1, 2, 3, 4, 5))
    with pytest.raises(ValueError, match="published_client_lambda: expected as many steps for all clients"):
        fl.algorithms.permfl(trainer, num_teams=2, published_client_lambda=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs: expected a positive number, got 0"),
        ({"epochs": -0.5}, "epochs: expected a positive number, got -0.5"),
        ({"epochs": math.inf}, "epochs: expected a positive number, got inf"),
        ({"epochs": [1, 2]}, "epochs: expected a number, or one for each of 5 clients, got 2 of them"),
        ({"epochs": "many"}, "epochs: expected a number, or one for each of 5 clients, got 'many'"),
        ({"epochs": True}, "epochs: expected a number, or one for each of 5 clients, got True"),
        ({"epochs": None, "steps": 1.5}, "steps: expected an integer of at least 1, got 1.5"),
        ({"epochs": None, "steps": [1, 2, 0, 1, 1]}, "steps: expected an integer of at least 1, got 0"),
        ({"min_batch": 5}, "min_batch: expected at most the batch size, 4, got 5"),
        (
            {"learning_rate_factor": lambda t: jnp.ones(5)},
            r"learning_rate_factor: expected one number for all clients, got shape \(5,\)",
        ),
    ],
)
def test_other_amounts_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        trainer_of(**changes).scale_of(0)


def test_steps_may_be_traced_and_epochs_may_not():
    params = trainer_of().task.init(jax.random.key(1))

    @jax.jit
    def run(steps):
        trainer = trainer_of(epochs=None, steps=steps)
        return train_cohort(trainer, jax.random.key(2), cohort_of([0, 2]), server=params).params

    for steps in (2, jnp.arange(1, 6)):
        plain = trainer_of(epochs=None, steps=steps)
        right = train_cohort(plain, jax.random.key(2), cohort_of([0, 2]), server=params).params
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), run(steps), right)
    with pytest.raises(ValueError, match="epochs: expected numbers known before the run is compiled"):
        jax.jit(lambda e: trainer_of(epochs=e).num_steps(4))(1.0)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11])
def test_a_last_batch_below_the_smallest_is_left_out_but_never_a_clients_only_one(count):
    for smallest in (1, 2, 3, 4):
        trainer = trainer_of(min_batch=smallest, epochs=2)
        sizes = [min(4, count - 4 * i) for i in range(-(-count // 4))]
        kept = [n for n in sizes if n >= smallest] or sizes
        assert batches_per_epoch(count, trainer) == len(kept) == int(batches_per_epoch(jnp.int32(count), trainer))
        order = batch_order(jax.random.key(0), jnp.int32(count), trainer)
        found = [
            int(batch_rows(order, jnp.int32(step), jnp.int32(count), trainer)[1].sum())
            for step in range(trainer.num_steps(count))
        ]
        assert found == kept * 2


def test_models_with_batch_norm_leave_out_small_remainders_unless_asked():
    plain, norms = trainer_of(batch_size=64), toy.make_trainer(batch_norm_toy.make_task(jnp.float32), batch_size=64)
    assert (plain.smallest_batch, norms.smallest_batch) == (1, 8)
    assert [dataclasses.replace(norms, batch_size=b).smallest_batch for b in (1, 2, 8, 32, 256)] == [1, 2, 4, 4, 32]
    assert dataclasses.replace(norms, min_batch=1).smallest_batch == 1


def test_the_config_takes_parts_of_epochs_and_numbers_for_each_client():
    config = RunConfig(epochs=0.25, min_batch=8)
    assert (config.epochs, config.min_batch) == (0.25, 8)
    assert RunConfig(steps=[1, 2, 3]).steps == (1, 2, 3)
    assert type(RunConfig(epochs=2).epochs) is int
    options = {"head_epochs": 0.5}
    assert RunConfig(algorithm="fedrep", algorithm_options=options).algorithm_options == options
