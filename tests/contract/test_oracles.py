"""Every algorithm against its NumPy oracle: float64, ragged clients, partial participation, padding slots."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fedjax_layers import algorithms
from tests import adapter_toy, toy
from tests.reference import (
    attention,
    cac,
    clusters,
    fedtlu,
    heads,
    low_rank,
    nova,
    objectives,
    oracles,
    parts,
    personal,
    prototypes,
    two_tier,
)
from tests.reference.network import zeros_like
from tests.registry import OWN, QUICK, module_of
from tests.rounds import START_KEY, rounds_of, task_of

ROUNDS = ([0, 2, 4], [3, 1], [2, 3, 0], [1, 2])  # partial, of unequal size: padded to three slots
RANKS = (2, 1, 1, 1, 2)  # of five clients: nobody of the second round holds the second rank
ORACLES = {
    "local": (oracles.Local, {}, {}),
    "fedavg": (oracles.Oracle, {}, {}),
    "fedprox": (oracles.Oracle, {"mu": 0.3}, {"mu": 0.3}),
    "local_adaptation": (oracles.LocalAdaptation, {}, {}),
    "fedper": (oracles.FedPer, {"personal_layers": 2}, {"personal_layers": 2}),
    "lg_fedavg": (personal.LgFedAvg, {"local_layers": 2}, {"local_layers": 2}),
    "fixed_sharing": (oracles.FixedSharing, {"flags": [True, False, True]}, {"shared": ("2", "0")}),
    "fedbabu": (oracles.FedBabu, {"head_layers": 2}, {"head_layers": 2}),
    # Over 1.5 nothing jumps on this fixture; 0.9 cuts in the middle, so that both kinds of layer are at work.
    "player_fl": (oracles.PLayerFL, {"threshold": 0.9}, {"threshold": 0.9, "gradient": "epoch"}),
    "per_fedavg": (two_tier.PerFedAvg, {"rate": 0.3}, {"adaptation_rate": 0.3}),
    "pfedme": (
        two_tier.PFedMe,
        {"lam": 2.0, "inner_steps": 3, "inner_lr": 0.2, "mixing": 0.7},
        {"lam": 2.0, "inner_steps": 3, "inner_learning_rate": 0.2, "beta": 0.7},
    ),
    "apfl": (personal.Apfl, {"personal_weight": 0.4}, {"personal_weight": 0.4}),
    "fedrod": (heads.FedRod, {"starts": toy.STARTS, "counts": toy.COUNTS, "gamma": 0.8}, {"class_prior": 0.8}),
    "ditto": (two_tier.Ditto, {"lam": 0.6}, {"lam": 0.6}),
    "fedproto": (prototypes.FedProto, {"starts": toy.STARTS, "counts": toy.COUNTS, "lam": 0.6}, {"lam": 0.6}),
    "fedtlu": (fedtlu.FedTLU, {"k": 1}, {"k": 1}),
    "scaffold": (objectives.corrected(oracles.Oracle), {}, {}),
    "last_layers": (fedtlu.FedTLU, {"k": 2, "choice": "last"}, {"k": 2}),
    "fedlag": (parts.FedLag, {"top_k": 1, "below": -0.2}, {"top_k": 1, "cosine_threshold": -0.2}),
    "fedlama": (parts.FedLama, {"factor": 2}, {}),
    "fedpart": (parts.FedPart, {"warmup": 1, "turn": 1}, {"warmup_rounds": 1, "rounds_per_group": 1}),
    **{name: (low_rank.LowRank, adapter_toy.ORACLE | kind, {}) for name, kind in low_rank.KINDS.items()},
    "demlearn": (
        clusters.DemLearn,
        {"levels": 2, "pull": 0.4, "parent_share": 0.7, "factor": 1.15, "rounds": 2},
        {"levels": 2, "mu": 0.4, "parent_share": 0.7, "amplification": 1.15, "amplified_rounds": 2},
    ),
    "fednova": (nova.FedNova, {}, {}),
    "fedcac": (
        cac.FedCac,
        {"share": 0.5, "last": 3},
        {"critical_share": 0.5, "collaboration_rounds": 3.0},
    ),
    "fedamp": (
        attention.FedAmp,
        {"lam": 0.6, "mix_step": 0.8, "sigma": 3.0},
        {"lam": 0.6, "mix_step": 0.8, "sigma": 3.0},
    ),
}
ORACLES |= {name: module_of(name).oracle(oracles.Oracle) for name in OWN if hasattr(module_of(name), "oracle")}
CUT = {"threshold": 0.9, "gradient": "epoch"}
VARIANTS = [
    (
        "apfl",
        personal.Apfl,
        {"personal_weight": 0.4, "rate": 0.7},
        {"personal_weight": 0.4, "adaptive": True, "personal_weight_rate": 0.7},
    ),
    (
        "per_fedavg",
        two_tier.PerFedAvg,
        {"rate": 0.3, "delta": 0.05},
        {"adaptation_rate": 0.3, "delta": 0.05, "variant": "hf"},
    ),
    (
        "pfedme",
        two_tier.PFedMe,
        {"lam": 2.0, "inner_steps": 3, "inner_lr": 0.2, "local_model": True},
        {"lam": 2.0, "inner_steps": 3, "inner_learning_rate": 0.2, "published_local_model": True},
    ),
    (
        "fedamp",
        attention.FedAmp,
        {"lam": 0.6, "mix_step": 0.8, "sigma": 2.0, "self_weight": 0.4},
        {"lam": 0.6, "mix_step": 0.8, "sigma": 2.0, "self_weight": 0.4, "attention": "cosine"},
    ),
    (
        "fedproto",
        prototypes.FedProto,
        {"starts": toy.STARTS, "counts": toy.COUNTS, "lam": 0.6, "by_count": True},
        {"lam": 0.6, "average": "count"},
    ),
    ("fednova", nova.FedNova, {"mu": 0.7}, {"mu": 0.7}),
    ("fednova", nova.FedNova, {"effective": "steps"}, {"effective_steps": "steps"}),
    ("fednova", nova.FedNova, {"by_steps": True}, {"normaliser": "steps"}),
    # The others' weights add up to more than 1, and are divided.
    ("fedamp", attention.FedAmp, *[{"lam": 0.6, "mix_step": 3.0, "sigma": 2.0}] * 2),
    (
        "ditto",
        two_tier.Ditto,
        {"lam": 0.6, "averages": "personal"},
        {"lam": 0.6, "published_personal_mean": True},
    ),
    (  # what it amounts to, but for momentum that is kept: it has one of the global copies, which nothing uses
        "pfedme",
        two_tier.Ditto,
        {"lam": 0.6, "averages": "personal"},
        {"lam": 0.6, "published_no_inner_loop": True},
    ),
    *(
        (name, low_rank.LowRank, adapter_toy.ORACLE | kind | {"ranks": RANKS}, {"ranks": RANKS})
        for name, kind in low_rank.KINDS.items()
    ),
    ("fedtlu", fedtlu.FedTLU, {"k": 2, "mu": 0.3, "choice": "lowest"}, {"k": 2, "mu": 0.3, "choice": "lowest"}),
    ("fedtlu", fedtlu.FedTLU, {"k": 1, "choice": "norm", "every": 2}, {"k": 1, "choice": "norm", "score_every": 2}),
    ("fedtlu", fedtlu.FedTLU, {"k": 2, "choice": "round_robin"}, {"k": 2, "choice": "round_robin"}),
    *(
        ("fedlama", parts.FedLama, {"factor": 2, switch: True}, {f"published_{switch}": True})
        for switch in ("crossing", "overwrite")
    ),
    (
        "fedlag",
        parts.FedLag,
        {"top_k": 2, "warmup": 2, "below": 0.5},
        {"top_k": 2, "warmup_rounds": 2, "cosine_threshold": 0.5},
    ),
    (
        "fedpart",
        parts.FedPart,
        {"warmup": 0, "turn": 1, "full": 1},
        {"warmup_rounds": 0, "rounds_per_group": 1, "full_rounds": 1},
    ),
    *(
        ("fedtlu", fedtlu.FedTLU, {"k": 2, "reading": reading}, {"k": 2, "reading": reading})
        for reading in ("product", "size", "absolute")
    ),
    ("scaffold", objectives.corrected(oracles.Oracle), {"option": "I"}, {"option": "I"}),
    (
        "fedrod",
        heads.FedRod,
        {"starts": toy.STARTS, "counts": toy.COUNTS, "gamma": 0, "zero": True},
        {"class_prior": 0.0, "head_start": "zero"},
    ),
    *(
        (f"player_fl+{name}", make(oracles.PLayerFL), {"threshold": 0.9} | own, CUT | own)
        for name, make, own in (
            ("fedprox", objectives.proximal, {"mu": 0.3}),
            ("ditto", objectives.tethered, {"lam": 0.6}),
            ("scaffold", objectives.corrected, {}),
        )
    ),
    ("fedtlu", objectives.FedTLUBelow, {"k": 1, "personal_layers": 1}, {"k": 1, "personal_layers": 1}),
    ("fedtlu+ditto", objectives.tethered(fedtlu.FedTLU), {"k": 1, "lam": 0.6}, {"k": 1, "lam": 0.6}),
]


def close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), toy.to_numpy(found), expected)


def round_keys():
    return [jax.random.fold_in(jax.random.key(7), t) for t in range(len(ROUNDS))]


def cohort_for_oracle(trainer, key, ids, roles=1):
    """Who trains on what; where a step draws several batches, each of its entries is a tuple of them."""
    drawn = {c: [toy.drawn_batches(trainer, key, c, role) for role in range(roles)] for c in ids}
    steps = {c: d[0] if roles == 1 else list(zip(*d, strict=True)) for c, d in drawn.items()}
    return [(c, float(toy.COUNTS[c]), steps[c]) for c in ids]


ELSEWHERE = {"permfl", "hsgd"}  # tests/algorithms/test_tiers.py: a round of theirs is several cohorts
ELSEWHERE |= {"fedrep"}  # tests/algorithms/test_fedrep.py: each phase draws batches of its own
ELSEWHERE |= {"fedbn"}  # tests/algorithms/test_fedbn.py: its network has norms
ELSEWHERE |= {"l2gd", "al2gd"}  # tests/algorithms/test_l2gd.py: a round of theirs is given its coins
ELSEWHERE |= {"pfedla", "heurpfedla", "layer_mix"}  # tests/algorithms/test_pfedla.py: handed its hypernetworks
ELSEWHERE |= {"pfedhn"}  # tests/algorithms/test_pfedhn.py: handed its hypernetwork
ELSEWHERE |= {"random_layers"}  # tests/algorithms/test_fedtlu.py: its blocks are drawn
ELSEWHERE |= {"fedala"}  # tests/algorithms/test_fedala.py: handed the examples on which weights are learnt
ELSEWHERE |= {"fedlp"}  # tests/algorithms/test_fedlp.py: handed its coins
ELSEWHERE |= {"fedfomo"}  # tests/algorithms/test_fedfomo.py: handed its coins; some examples are held back


def test_every_algorithm_has_an_oracle():
    assert set(ORACLES) | ELSEWHERE | set(OWN) == set(algorithms.registry)
    assert not set(ORACLES) & ELSEWHERE


KEPT = [pytest.param(name, True, marks=[] if name in QUICK else pytest.mark.slow) for name in ORACLES]


@pytest.mark.parametrize(("name", "keep"), [(name, False) for name in ORACLES] + KEPT)
def test_registry_agrees_with_its_oracle(name, keep, x64):
    agree(name, keep, *ORACLES[name])


@pytest.mark.parametrize("keep", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "make_oracle", "oracle_args", "args"), VARIANTS)
def test_variants_agree_with_their_oracles(name, make_oracle, oracle_args, args, keep, x64):
    agree(name, keep, make_oracle, oracle_args, args)


def agree(name, keep, make_oracle, oracle_args, args):
    task, pool = task_of(name), toy.make_pool()
    rounds = rounds_of(name, args, **{"keep_optimizer": True} if keep else {})
    trainer, algorithm = rounds.trainer, rounds.algorithm
    params = task.init(jax.random.key(START_KEY))
    oracle = make_oracle(toy.to_numpy(params), toy.CLIENTS, *pool, lr=0.1, beta=0.9, keep=keep, **oracle_args)
    state = rounds.start()
    for t, (key, ids) in enumerate(zip(round_keys(), ROUNDS, strict=True)):
        state, info = rounds.step(key, state, toy.make_cohort(ids, pool, pad_to=3))
        results = oracle.round(cohort_for_oracle(trainer, key, ids, getattr(oracle, "roles", 1)))
        for slot, (_, _, trained, loss, *_) in enumerate(results):
            close(jax.tree.map(lambda x, slot=slot: x[slot], toy.to_numpy(info.observed)), trained)
            np.testing.assert_allclose(info.loss[slot], loss, rtol=1e-10)
        models = toy.to_numpy(rounds.models(state))
        if models.global_model is not None:
            close(models.global_model, oracle.server)
        if models.personal is not None:
            right = list(oracle.served())
            for client in toy.seen_after(ROUNDS, t):
                close(jax.tree.map(lambda x, c=client: x[c], models.personal), right[client])
    if name.startswith("player_fl"):
        assert 0 < oracle.cut < 3, "the fixture must exercise a cut inside the network"
        assert int(state.cut) == oracle.cut
        np.testing.assert_allclose(state.scores, oracle.scores, rtol=1e-10)
    if algorithm.finish is not None:
        key = jax.random.key(9)
        everyone = toy.make_cohort(range(toy.CLIENTS), pool)
        final = toy.to_numpy(jax.jit(algorithm.finish)(key, state, everyone))
        for client in range(toy.CLIENTS):
            expected = oracle.finish(client, toy.drawn_batches(trainer, key, client))
            close(jax.tree.map(lambda x, c=client: x[c], final), expected)


def test_server_adam_agrees_with_its_oracle(x64):
    pool, adam = toy.make_pool(), optax.adam(0.05, b1=0.8, b2=0.95, eps=1e-3)
    rounds = rounds_of("fedavg", {"server_optimizer": adam})
    state = rounds.start()
    server = toy.to_numpy(state.server)
    m, v = zeros_like(server), zeros_like(server)
    for step, (key, ids) in enumerate(zip(round_keys(), ROUNDS, strict=True), start=1):
        oracle = oracles.Oracle(server, toy.CLIENTS, *pool, lr=0.1, beta=0.9, keep=False)
        oracle.round(cohort_for_oracle(rounds.trainer, key, ids))
        server, m, v = oracles.fed_adam_step(
            server, oracle.server, m, v, lr=0.05, beta1=0.8, beta2=0.95, eps=1e-3, step=step
        )
        state, _ = rounds.step(key, state, toy.make_cohort(ids, pool, pad_to=3))
        close(state.server, server)


@pytest.mark.parametrize("changes", [{"epochs": 3}, {"epochs": None, "steps": 6}], ids=["epochs", "steps"])
def test_several_epochs_and_fixed_steps_use_the_drawn_batches(changes, x64):
    pool, key = toy.make_pool(), jax.random.key(5)
    rounds = rounds_of("fedavg", **changes)
    state = rounds.start()
    oracle = oracles.Oracle(toy.to_numpy(state.server), toy.CLIENTS, *pool, lr=0.1, beta=0.9, keep=False)
    oracle.round(cohort_for_oracle(rounds.trainer, key, [0, 2, 4]))
    state, _ = rounds.step(key, state, toy.make_cohort([0, 2, 4], pool))
    close(state.server, oracle.server)


def halved_each_round(t):
    return 0.5 ** t.astype(jnp.float32)


def test_the_learning_rate_factor_multiplies_the_updates_of_its_round(x64):
    pool = toy.make_pool()
    rounds = rounds_of("fedavg", momentum=0.0, learning_rate_factor=halved_each_round)
    state = rounds.start()
    server = toy.to_numpy(state.server)
    for t, (key, ids) in enumerate(zip(round_keys(), ROUNDS, strict=True)):
        oracle = oracles.Oracle(server, toy.CLIENTS, *pool, lr=0.1 * 0.5**t, beta=0.0, keep=False)
        oracle.round(cohort_for_oracle(rounds.trainer, key, ids))
        server = oracle.server
        state, _ = rounds.step(key, state, toy.make_cohort(ids, pool, pad_to=3))
        close(state.server, server)
