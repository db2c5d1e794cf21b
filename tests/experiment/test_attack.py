"""Bad clients of a run: who they are, what they send, what they train on; the others are left as they were."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers.clients import train_cohort
from fedjax_layers.engine.intervals import cohort_of, setting_of
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.run_directory import RunDirectory
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
        train = jax.jit(lambda start: train_cohort(trainer, jax.random.key(2), cohort, server=start).sent)
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


def test_a_boosted_backdoor_gets_through_and_its_success_is_that_of_the_others(clients, tmp_path):
    """FedAvg on the digits: two attackers of ten; the share of stamped digits that benign clients call a 7."""

    def run(fraction, directory=None):
        attack = {"attack": "backdoor", "attack_fraction": fraction, "attack_target": 7, "attack_boost": 5.0}
        config = config_of(rounds=4, eval_every=4, scored_model="served", scored_round="last", **attack)
        directory = None if directory is None else RunDirectory.create(directory, config)
        return config, *execute(assemble(config, clients), directory)

    nobody = run(0.0)[1]["personal"]["attack_success"]
    config, summary, history = run(0.2, tmp_path / "run")
    assert nobody["mean"] < 0.1
    assert nobody["n"] == 10
    assert summary["personal"]["attack_success"]["mean"] > nobody["mean"] + 0.5
    bad = attacked_clients(config, clients)
    values = history.scores("served", "last")["attack_success"]
    assert summary["personal"]["attack_success"]["n"] == 8
    assert summary["personal"]["attack_success"]["mean"] == pytest.approx(values[~bad].mean())
    assert summary["pooled"]["attack_success"] > 0.5
    line = json.loads((tmp_path / "run" / "rounds.jsonl").read_text())
    assert line["served/test/attack_success"] == pytest.approx(values[~bad].mean())
    arrays = np.load(tmp_path / "run" / "clients.npz")
    np.testing.assert_array_equal(arrays["attacks"], bad)
    np.testing.assert_array_equal(arrays["served/last/test/attack_success"], values)
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (recorded["attack_strength"], recorded["attack_boost"], recorded["attack_target"]) == (0.5, 5.0, 7)


def test_clients_that_collude_can_keep_the_global_model_where_it_was(clients):
    """Eight benign clients of weight 1 against two that send four times their mean, turned round."""
    attack = {"attack": "ipm", "attack_strength": 4.0, "attack_fraction": 0.2, "weighting": "uniform"}
    _, history = execute(assemble(config_of(rounds=2, evaluated_models="served", **attack), clients))
    first, last = history.evaluations["global/test/loss"]
    np.testing.assert_allclose(first, last, rtol=1e-5)
    one, other = (assemble(config_of(**attack | {"attack_strength": s, "seed": s}), clients) for s in (1, 2))
    assert (one.builder, one.plan) == (other.builder, other.plan)
    usual = [assemble(config_of(attack=kind), clients).inputs.hyper["attack_strength"] for kind in ("alie", "min_max")]
    assert usual == [None, None], "by the numbers of clients, or found by the attack"
    directions = [assemble(config_of(attack="min_sum", attack_direction=d), clients).builder for d in ("sign", "std")]
    assert directions[0] != directions[1]


def test_what_a_backdoor_cannot_be_put_into_is_refused(clients):
    with pytest.raises(ValueError, match="target: expected a class of digits, 0 to 9, got 10"):
        assemble(config_of(attack="backdoor", attack_target=10), clients)
    heart = config_of(dataset="heart", clients=None, attack="backdoor")
    with pytest.raises(ValueError, match="backdoor: expected classified images"):
        assemble(heart, load_clients(heart))


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
        (
            {"algorithm": "local", "attack": "alie"},
            "attack: expected none of alie, .* for local, in which no rule",
        ),
        ({"attack": "min_max", "attack_direction": "up"}, "attack_direction: expected .* got 'up'"),
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
