"""Bad clients of a run: who they are, what they send, what they train on; the others are left as they were."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers.clients import train_cohort
from fedjax_layers.engine.intervals import cohort_of, setting_of
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.attack import attacked_clients
from fedjax_layers.experiment.setup.prepare import assemble, load_clients
from fedjax_layers.ops import poison_update
from fedjax_layers.ops.poison import POISONS


def config_of(**values):
    usual = {"algorithm": "fedavg", "clients": 10, "rounds": 2, "client_width": "all"}
    return RunConfig(**usual | {"model": "mlp", "model_options": {"hidden": (8,)}} | values)


@pytest.fixture(scope="module")
def clients():
    return load_clients(config_of())


def test_a_share_of_the_clients_attacks_and_the_seed_draws_them(clients):
    found = [attacked_clients(config_of(attack="scale", attack_fraction=0.3, seed=seed), clients) for seed in range(20)]
    assert {bad.sum() for bad in found} == {3}
    assert len({bad.tobytes() for bad in found}) > 10
    assert not attacked_clients(config_of(attack_fraction=0.3), clients).any(), "no attack, nobody is bad"
    unseen = dataclasses.replace(clients, unseen=np.arange(10) >= 5)
    drawn = attacked_clients(config_of(attack="scale", attack_fraction=1.0), unseen)
    assert np.flatnonzero(drawn).tolist() == [0, 1, 2, 3, 4], "who never takes part attacks nobody"


@pytest.mark.parametrize("kind", ["noise", *(pytest.param(k, marks=pytest.mark.slow) for k in POISONS[1:])])
def test_attackers_send_poison_and_the_others_what_they_trained(clients, kind):
    def trained(config):
        made = assemble(config, clients)
        trainer = made.builder.make_trainer(made.inputs.hyper, setting_of(made.plan, made.inputs.device_data))
        cohort = cohort_of(made.inputs, jax.random.key(0), jnp.int32(0))
        start = made.plan.task.init(jax.random.key(1))
        train = jax.jit(lambda start: train_cohort(trainer, jax.random.key(2), cohort, server=start).params)
        return trainer.task.layers, start, jax.tree.map(np.asarray, train(start))

    attacked = config_of(attack=kind, attack_fraction=0.3, attack_strength=2.0, attack_blocks=("Dense_1",))
    layers, start, honest = trained(config_of())
    _, _, sent = trained(attacked)
    bad = attacked_clients(attacked, clients)
    for c in range(10):
        mine, theirs = (jax.tree.map(lambda x, c=c: x[c], tree) for tree in (sent, honest))
        if not bad[c]:
            jax.tree.map(np.testing.assert_array_equal, mine, theirs)
            continue
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), mine["Dense_0"], theirs["Dense_0"])
        if kind == "noise":
            assert (mine["Dense_1"]["kernel"] != theirs["Dense_1"]["kernel"]).any()
            continue
        delta = jax.tree.map(np.subtract, theirs, start)
        poisoned = poison_update(jax.random.key(0), delta, layers, kind, 2.0)["Dense_1"]
        expected = jax.tree.map(np.add, start["Dense_1"], poisoned)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), mine["Dense_1"], expected)


def test_strength_and_who_attacks_compile_nothing(clients):
    one, other = (
        assemble(config_of(attack="scale", attack_strength=s, attack_fraction=b, seed=n), clients)
        for s, b, n in ((2.0, 0.3, 0), (5.0, 0.1, 4))
    )
    assert (one.builder, one.plan) == (other.builder, other.plan)
    assert assemble(config_of(attack="scale", attack_blocks=("Dense_0",)), clients).builder != one.builder


def test_corruption_reaches_the_data_that_train_and_no_others(clients):
    config = config_of(attack="label_flip", attack_fraction=0.5)
    found = assemble(config, clients).data
    bad = attacked_clients(config, clients)
    for split, (start, count) in clients.ranges.items():
        for c in range(10):
            rows = slice(start[c], start[c] + count[c])
            same = np.array_equal(found.labels[rows], clients.labels[rows])
            assert same == (split != "train" or not bad[c])


@pytest.mark.slow
def test_an_attack_on_all_updates_hurts(clients):
    scores = [
        execute(assemble(config_of(rounds=10, attack=attack, attack_fraction=0.4), clients))[0]["global"]["accuracy"][
            "mean"
        ]
        for attack in (None, "sign_flip")
    ]
    assert scores[1] < scores[0] - 0.05


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"attack": "sign_flop"}, "attack: expected .* got 'sign_flop'; did you mean 'sign_flip'"),
        ({"attack_fraction": 1.5}, "attack_fraction: expected 0 to 1, got 1.5"),
        ({"attack_strength": -1.0}, "attack_strength: expected at least 0, got -1.0"),
    ],
)
def test_bad_numbers_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        config_of(**values)


def test_a_block_that_is_not_there_is_refused(clients):
    with pytest.raises(ValueError, match=r"attack_blocks: expected .* got 'Dense_2'"):
        assemble(config_of(attack="scale", attack_blocks=("Dense_2",)), clients)
