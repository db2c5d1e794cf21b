"""The contract that every registered algorithm passes: a new one is tested by being registered."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fedjax_layers import algorithms
from fedjax_layers.ops import ClientAxis
from tests import page_costs, toy
from tests.registry import OWN, QUICK, cases, traced_option
from tests.rounds import make, rounds_of, task_of, traced_rounds_of

ROUNDS = ([0, 2, 4], [3, 1], [2, 3, 0])
TRACED = {
    "fedprox": "mu",
    "player_fl": "threshold",
    "fedper": "personal_layers",
    "lg_fedavg": "local_layers",
    "fixed_sharing": "shared",
    "fedrep": "head_layers",
    "fedbabu": "head_layers",
    "fedrod": "class_prior",
    "permfl": "gamma",
    "hsgd": "team_rounds",
    "per_fedavg": "adaptation_rate",
    "pfedme": "lam",
    "ditto": "lam",
    "fedproto": "lam",
    "l2gd": "probability",
    "al2gd": "probability",
    "demlearn": "parent_share",
    "apfl": "personal_weight",
    "pfedhn": "hyper_learning_rate",
    "pfedla": "hyper_learning_rate",
    "heurpfedla": "retained",
    "layer_mix": "self_weight",
    "fedfomo": "exploration",
    "fedamp": "mix_step",
    "fednova": "mu",
    "fedala": "merge_rate",
    "fedcac": "critical_share",
    "fedtlu": "k",
    "random_layers": "k",
    "last_layers": "k",
    "fedlp": "keep_probability",
    "fedpart": "warmup_rounds",
    "fedlama": "interval_factor",
    "fedlag": "top_k",
}
VALUES = {
    "mu": (0.0, 1.0),
    "threshold": (0.5, 0.9, 50.0),
    "personal_layers": (0, 1, 3),
    "local_layers": (0, 1, 3),
    "shared": ((True, False, True), (False, True, False), (False, False, False)),
    "head_layers": (1, 2),
    "adaptation_rate": (0.0, 0.3),
    "lam": (0.0, 2.0),
    "gamma": (0.5, 1.5),
    "team_rounds": (1, 3),
    "probability": (0.3, 0.6),
    "parent_share": (0.3, 1.0),
    "personal_weight": (0.3, 1.0),
    "hyper_learning_rate": (0.0, 0.5),
    "retained": (0, 2, 3),
    "self_weight": (0.2, 1.0),
    "exploration": (0.0, 1.0, 0.5),
    "mix_step": (0.2, 1.5),
    "merge_rate": (0.0, 2.0),
    "critical_share": (0.3, 0.8),
    "k": (0, 1, 3),
    "warmup_rounds": (0, 1),
    "interval_factor": (1, 2, 3),
    "top_k": (0, 1, 3),
    "class_prior": (0.0, 1.0),
    "keep_probability": (0.0, 0.6, 1.0),
}

for own in OWN:
    found = traced_option(own)
    if found is not None:
        TRACED[own], VALUES[found[0]] = found

everything = pytest.mark.parametrize("name", cases(algorithms.registry))


@dataclasses.dataclass
class Usual:
    """The rounds with their usual number as an argument, at one value of it: one program serves most tests."""

    name: str
    axis: ClientAxis = ClientAxis()

    def __post_init__(self):
        self._rounds, values = traced(self.name, axis=self.axis)
        self._value = values[1 % len(values)]

    def start(self):
        return self._rounds.start(self._value)

    def step(self, key, state, cohort):
        return self._rounds.step(key, state, cohort, jnp.asarray(0.1), self._value)

    def models(self, state):
        return self._rounds.models(state, self._value)


def run(name, *, pool=None, cohorts=None, key=3, args=None, state=None, first=0, axis=ClientAxis(), **changes):
    """A few rounds, the usual ones unless given options; returns the state, the last info and what was run."""
    pool = pool or toy.make_pool()
    usual = args is None and not changes
    rounds = Usual(name, axis) if usual else rounds_of(name, args, axis=axis, **changes)
    state = rounds.start() if state is None else state
    info = None
    for t, cohort in enumerate(cohorts or [toy.make_cohort(ids, pool, pad_to=3) for ids in ROUNDS], start=first):
        state, info = rounds.step(jax.random.fold_in(jax.random.key(key), t), state, cohort)
    return state, info, rounds


def models_of(state, rounds):
    return toy.to_numpy(rounds.models(state))


def assert_close(a, b, **kw):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **(kw or {"rtol": 1e-10, "atol": 1e-12})), a, b)


@everything
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_state_keeps_tree_shapes_and_dtypes(name, dtype, x64):
    task, pool = task_of(name, dtype), toy.make_pool(dtype=np.dtype(dtype))
    algorithm = make(name, toy.make_trainer(task, keep_optimizer=True))
    state = jax.eval_shape(lambda: algorithm.init(jax.random.key(2), task.init(jax.random.key(1))))
    after, info = jax.eval_shape(algorithm.round, jax.random.key(0), state, toy.make_cohort([0, 2], pool))
    chex.assert_trees_all_equal_shapes_and_dtypes(state, after)
    assert info.sent.shape == info.received.shape == (task.layers.num_layers,)


def traced(name, **kw):
    """The rounds with their usual number as an argument, and values for it."""
    option = TRACED.get(name)
    return traced_rounds_of(name, option, **kw), jnp.asarray(VALUES.get(option, (0.0,)))


@everything
def test_rounds_trace_once_whatever_the_members_and_numbers(name, x64):
    rounds, values = traced(name)
    state, before = rounds.start(values[0]), len(rounds.traces)
    for t, ids in enumerate(ROUNDS):
        cohort = toy.make_cohort(ids, toy.make_pool(), pad_to=3)
        rate, value = jnp.asarray(0.1 * (t + 1)), values[t % len(values)]
        state, _ = rounds.step(jax.random.key(t), state, cohort, rate, value)
    assert len(rounds.traces) - before <= 1, "another test may have traced it"


@pytest.mark.parametrize(
    ("name", "width"),  # the others one by one: see the promise of a cohort in order
    [
        *(pytest.param(*c.values, 2, marks=c.marks) for c in cases(algorithms.registry)),
        *(pytest.param(name, 1, marks=pytest.mark.slow) for name in QUICK),
    ],
)
def test_any_width_equals_the_full_vmap(name, width, x64):
    whole, info, rounds = run(name)
    chunked, chunked_info, _ = run(name, axis=ClientAxis(width))
    assert_close(models_of(whole, rounds), models_of(chunked, rounds))
    np.testing.assert_allclose(info.loss, chunked_info.loss, rtol=1e-10)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in ("permfl", *OWN) else pytest.mark.slow) for name in algorithms.registry],
)
def test_eight_devices_equal_one(name, x64):
    mesh = jax.make_mesh((8,), ("clients",), axis_types=(jax.sharding.AxisType.Auto,))
    one, eight = run(name), run(name, axis=ClientAxis(None, mesh))
    assert_close(*(models_of(state, rounds) for state, _, rounds in (one, eight)))


@everything
def test_order_of_the_cohort_does_not_matter(name, x64):
    pool = toy.make_pool()
    forward, _, rounds = run(name, cohorts=[toy.make_cohort(ids, pool) for ids in ([0, 2, 4], [3, 1, 2])])
    back, _, _ = run(name, cohorts=[toy.make_cohort(ids, pool) for ids in ([4, 2, 0], [1, 2, 3])])
    assert_close(models_of(forward, rounds), models_of(back, rounds))


@everything
def test_the_promise_of_a_cohort_in_order_changes_nothing(name, x64):
    """The path without gather and scatter gives what the general one gives; of most algorithms also one by one."""
    cohorts = [toy.make_cohort(range(toy.CLIENTS), toy.make_pool()) for _ in range(2)]
    promised = [dataclasses.replace(c, in_order=True) for c in cohorts]
    general, _, _ = run(name, cohorts=cohorts)
    short, _, _ = run(name, cohorts=promised, axis=ClientAxis(None if name in QUICK else 1))
    assert_close(toy.to_numpy(general), toy.to_numpy(short))


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_the_promise_changes_nothing_without_kept_optimisers(name, x64):
    cohorts = [toy.make_cohort(range(toy.CLIENTS), toy.make_pool()) for _ in range(2)]
    promised = [dataclasses.replace(c, in_order=True) for c in cohorts]
    general, short = (run(name, cohorts=those, args={})[0] for those in (cohorts, promised))
    assert_close(toy.to_numpy(general), toy.to_numpy(short))


HEARD = ("pfedla", "heurpfedla", "layer_mix", "fedfomo")  # an absent client's model is in the pool all the same
CHANCE = ("l2gd", "al2gd")  # whether clients train is drawn anew in every round
BEFORE = ("fedamp",)  # the others hear a client's model from before the round in which its training fails


@everything
def test_padding_that_holds_nan_is_inert(name, x64):
    """Client 1 fills the padding slots; its examples are NaN, and its own model where others do not hear it."""
    inputs, labels = toy.make_pool()
    rows = slice(toy.STARTS[1], toy.STARTS[1] + toy.COUNTS[1])
    poisoned = inputs.copy()
    poisoned[rows] = np.nan
    members = ([0, 2, 4], [3, 4, 0])
    clean = [toy.make_cohort(ids, (inputs, labels)) for ids in members]
    padded = [toy.make_cohort(ids, (poisoned, labels), pad_to=toy.CLIENTS) for ids in members]
    expected, _, rounds = run(name, cohorts=clean)

    def poison(x):
        own = x.shape[:1] == (toy.CLIENTS,) and jnp.issubdtype(x.dtype, jnp.inexact)
        return x.at[1].set(jnp.nan) if own and name not in HEARD else x

    found, _, _ = run(name, cohorts=padded, state=jax.tree.map(poison, rounds.start()))
    expected, found = models_of(expected, rounds), models_of(found, rounds)
    if expected.global_model is not None:
        assert_close(expected.global_model, found.global_model)
    others = np.array([0, 2, 3, 4])
    if expected.personal is not None:
        assert_close(*(jax.tree.map(lambda x: x[others], m.personal) for m in (expected, found)))


@everything
def test_a_client_whose_numbers_are_not_finite_is_as_good_as_absent(name, x64):
    """Client 1 holds one NaN: in its rounds all others, and its own model, end as if its weight had been 0."""
    inputs, labels = toy.make_pool()
    spoilt = inputs.copy()
    spoilt[toy.STARTS[1] + 2, 0] = np.nan
    members = ([0, 1, 2], [3, 1], [1, 4, 2])
    cohorts = [toy.make_cohort(ids, (spoilt, labels), pad_to=3) for ids in members]
    without = [dataclasses.replace(c, weight=jnp.where(c.ids == 1, 0, c.weight)) for c in cohorts]
    expected, _, rounds = run(name, cohorts=without)
    found, info, _ = run(name, cohorts=cohorts)
    if name in CHANCE + BEFORE:  # the client's model, which no training has spoilt, still reaches the others
        chex.assert_tree_all_finite(models_of(found, rounds))
        return
    assert_close(models_of(expected, rounds), models_of(found, rounds))
    assert np.isnan(info.loss[0]), "the loss tells who was left out"
    assert np.isfinite(info.loss[1:]).all()


@everything
def test_two_rounds_and_two_more_equal_four_bit_for_bit(name, x64):
    cohorts = [toy.make_cohort(ids, toy.make_pool(), pad_to=toy.CLIENTS) for ids in (*ROUNDS, [1, 4])]
    four, _, _ = run(name, cohorts=cohorts)
    two, _, _ = run(name, cohorts=cohorts[:2])
    again, _, _ = run(name, cohorts=cohorts[2:], state=two, first=2)
    chex.assert_trees_all_equal(four, again)


@pytest.mark.parametrize("name", cases(TRACED))
def test_vmapped_numbers_equal_separate_runs(name, x64):
    rounds, values = traced(name)
    start, step, models = (
        jax.jit(jax.vmap(fn, axes))
        for fn, axes in ((rounds.start, 0), (rounds.step, (None, 0, None, None, 0)), (rounds.models, 0))
    )

    def final(start, step, models, value):
        state = start(value)
        for t, ids in enumerate(ROUNDS):
            cohort = toy.make_cohort(ids, toy.make_pool(), pad_to=3)
            state, _ = step(jax.random.key(t), state, cohort, jnp.asarray(0.1), value)
        return toy.to_numpy(models(state, value))

    together = final(start, step, models, values)
    for i, value in enumerate(values):
        apart = final(rounds.start, rounds.step, rounds.models, value)
        assert_close(jax.tree.map(lambda x, i=i: x[i], together), apart)


@everything
def test_an_empty_cohort_changes_no_model(name, x64):
    empty = toy.make_cohort([], toy.make_pool(), pad_to=3)
    state, _, rounds = run(name)
    after, _, _ = run(name, cohorts=[empty], state=state, first=3)
    chex.assert_trees_all_equal(models_of(state, rounds), models_of(after, rounds))
    first, _, _ = run(name, cohorts=[empty])
    chex.assert_trees_all_equal(models_of(rounds.start(), rounds), models_of(first, rounds))


@pytest.mark.parametrize("name", cases(page_costs.ROWS))
def test_a_round_sends_and_computes_what_the_page_says(name, x64):
    _, info, _ = run(name)
    page_costs.compare(name, info, ROUNDS[-1])


def served(name, **kw):
    """Served personal models after a few rounds of full participation."""
    pool = toy.make_pool()
    cohorts = [toy.make_cohort(range(toy.CLIENTS), pool) for _ in range(3)]
    state, _, rounds = run(name, cohorts=cohorts, **{"args": {}} | kw)
    models = rounds.models(state)
    if models.personal is not None:
        return models.personal
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (toy.CLIENTS, *x.shape)), models.global_model)


ALL_LAYERS = [
    ("fedper", {"personal_layers": 0}),
    ("player_fl", {"threshold": 1e9}),
    ("fedtlu", {"k": 3}),
    *(
        pytest.param(name, args, marks=pytest.mark.slow)
        for name, args in (
            ("lg_fedavg", {"local_layers": 0}),
            ("fixed_sharing", {"shared": ("0", "1", "2")}),
            ("player_fl", {"fixed_cut": 3}),
            ("player_fl", {"threshold": 1e9, "shared_layers": "below"}),
            ("random_layers", {"k": 3}),
            ("fedbabu", {"head_layers": 0}),
            ("fedprox", {"mu": 0.0}),
            ("fedprox", {"mu": 5.0, "published_self_reference": True}),
            ("local_adaptation", {}),
        )
    ),
]


@pytest.mark.parametrize(("name", "args"), ALL_LAYERS)
def test_sharing_all_layers_is_fedavg_to_the_bit(name, args, x64):
    jax.tree.map(np.testing.assert_array_equal, served(name, args=args), served("fedavg"))


@pytest.mark.parametrize("variant", ["fo", pytest.param("hf", marks=pytest.mark.slow)])
def test_without_adaptation_per_fedavg_is_fedavg(variant, x64):
    assert_close(served("per_fedavg", args={"adaptation_rate": 0.0, "variant": variant}), served("fedavg"))


@pytest.mark.parametrize(
    ("name", "args"), [("fedper", {"personal_layers": 3}), ("player_fl", {"fixed_cut": 0}), ("ditto", {"lam": 0.0})]
)
def test_sharing_no_layer_is_local(name, args, x64):
    assert_close(served(name, args=args), served("local"))


def test_a_fixed_cut_is_fedper(x64):
    assert_close(served("player_fl", args={"fixed_cut": 2}), served("fedper", args={"personal_layers": 1}))


def test_the_proximal_term_changes_what_the_published_self_reference_left_alone(x64):
    with_term = jax.tree.leaves(served("fedprox", args={"mu": 5.0}))
    without = jax.tree.leaves(served("fedprox", args={"mu": 5.0, "published_self_reference": True}))
    assert max(float(jnp.abs(a - b).max()) for a, b in zip(with_term, without, strict=True)) > 1e-3
