"""A round's memory, as the compiler tells it: what the algorithm declares, by width and not by cohort where it can."""

import dataclasses
import itertools
import pathlib
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest

from fedjax_layers import algorithms, models, ops
from fedjax_layers.algorithms.factory import Method, colluded
from fedjax_layers.clients import LocalSolver, Setting
from fedjax_layers.experiment.setup.attack import make_collusion
from fedjax_layers.ops import ClientAxis, mix
from fedjax_layers.ops.robust import RULES
from fedjax_layers.types import Cohort, Observer, Pool, Ranges, Task
from tests.adapter_toy import NEED_ADAPTERS
from tests.registry import NEEDED, marks_of

WIDTH, BATCH = 2, 4
SIZES = (30, 300, 300, 10)  # a model of 0.4 MB, beside which a cohort's numbers are small
CLIENTS = 40
FEW, MANY = 8, 20


def _init(key):
    del key
    return [{"w": jnp.zeros(shape), "b": jnp.zeros(shape[1])} for shape in itertools.pairwise(SIZES)]


def _apply(params, inputs, key):
    del key
    for layer in params:
        inputs = jnp.tanh(inputs @ layer["w"] + layer["b"])
    return inputs


def _loss(params, batch, key):
    losses = optax.softmax_cross_entropy_with_integer_labels(_apply(params, batch.inputs, key), batch.labels)
    return jnp.where(batch.mask, losses, 0).mean()


def _size_of(params, ident, data):
    del ident, data
    return sum(jnp.square(x).sum() for x in jax.tree.leaves(params))


TASK = Task(
    _init,
    _apply,
    optax.softmax_cross_entropy_with_integer_labels,
    _loss,
    ops.layer_map(jax.eval_shape(_init, jax.random.key(0))),
    SIZES[-1],
    example=jax.ShapeDtypeStruct(SIZES[:1], jnp.float32),
    features=lambda params, inputs, key: _apply(params[:-1], inputs, key),
)


class Norms(nn.Module):
    """The same widths, with batch normalisation."""

    @nn.compact
    def __call__(self, x, train: bool = False):
        for width in SIZES[1:-1]:
            x = jnp.tanh(nn.BatchNorm(not train)(nn.Dense(width)(x)))
        return nn.Dense(SIZES[-1])(x)


def task_of(name):
    if name in NEED_ADAPTERS:
        return models.low_rank(TASK, 150, targets=("1",), train=("0", "2"), example=SIZES[:1])
    return models.task(Norms(), SIZES[:1], SIZES[-1]) if name == "fedbn" else TASK


class Measured:
    """One algorithm's memory, compiled and declared; nothing is run."""

    def __init__(self, name, clients=CLIENTS, optimizer=None, aggregate=None, collude=None, **options):
        self.clients, self.task, self.optimizer = clients, task_of(name), optimizer or optax.sgd(0.1)
        solver = LocalSolver(self.optimizer, batch_size=BATCH)
        trainer = Setting(self.task, clients, 8, axis=ClientAxis(WIDTH)).bind(solver)
        trainer = dataclasses.replace(trainer, aggregate=aggregate)
        method = Method(solver, lambda t: algorithms.registry[name](t, **NEEDED.get(name, {}), **options))
        self.algorithm = (method if collude is None else colluded(method, collude)).make(trainer)
        self.params = jax.eval_shape(self.task.init, jax.random.key(0))
        self.state = jax.eval_shape(self.algorithm.init, jax.random.key(0), self.params)
        self.model = sum(self.task.layers.bytes)

    def temporary(self, slots):
        """Bytes of a round that is looked at, beside its arguments and results."""

        def of(dtype, *shape):
            return jax.ShapeDtypeStruct(shape, dtype)

        ranges = Ranges(of(jnp.int32, slots), of(jnp.int32, slots))
        pool = Pool(of(jnp.float32, 1000, SIZES[0]), of(jnp.int32, 1000))
        cohort = Cohort(of(jnp.int32, slots), of(jnp.float32, slots), ranges, pool, Observer(_size_of))
        lowered = jax.jit(self.algorithm.round, donate_argnums=1).lower(jax.random.key(0), self.state, cohort)
        found = lowered.compile().memory_analysis()
        return found.temp_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes

    def served(self):
        """Bytes while the models that are served are scored."""

        def scores(state):
            found = self.algorithm.personal(state).completed()
            look = lambda row, ident, shared: _size_of(found.build(row, shared, ident), None, None)  # noqa: E731
            return ops.map_clients(look, found.rows, found.ids, shared=(found.shared,), axis=ClientAxis(WIDTH))

        return jax.jit(scores).lower(self.state).compile().memory_analysis().temp_size_in_bytes

    @property
    def declared(self):
        kept = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(jax.eval_shape(self.optimizer.init, self.params)))
        return self.algorithm.memory.in_bytes(self.model, kept, BATCH * SIZES[0] * 4)


CASES = [pytest.param(name, {}, id=name, marks=marks_of(name)) for name in algorithms.registry]
CASES += [
    pytest.param("fedtlu", {"reading": "clients"}, id="fedtlu-clients"),
    *(
        pytest.param(name, options, id=f"{name}-{'-'.join(map(str, options.values()))}", marks=pytest.mark.slow)
        for name, options in (
            ("fedala", {"layers": 3}),
            ("pfedla", {"order": "sequential"}),
            ("pfedla", {"hyper_hidden": (100, 500, 300)}),
            ("pfedla", {"server_keeps": "added"}),
            ("pfedla", {"shared_hypernetwork": True}),
            ("heurpfedla", {"upload_retained": False}),
            ("layer_mix", {"rule": "logits"}),
            ("layer_mix", {"rule": "cosine"}),
            ("pfedhn", {"order": "sequential"}),
            ("al2gd", {"num_teams": 10}),
            ("permfl", {"num_teams": 10}),
        )
    ),
    *(
        pytest.param(name, {"optimizer": optax.adam(0.1)}, id=f"{name}-adam", marks=pytest.mark.slow)
        for name in ("fedavg", "per_fedavg", "pfedme", "ditto", "apfl", "permfl", "l2gd")
    ),
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_round_holds_what_the_algorithm_declares(name, options, monkeypatch):
    """Neither more, nor less than half of it, for two cohorts, and by slot what it says that it stacks."""
    monkeypatch.setattr(mix, "_CHUNK_ELEMENTS", 1 << 16)  # as with models much larger than what is shifted at once
    measured = Measured(name, **options)
    declared, found = measured.declared, {}
    for slots in (FEW, MANY):
        found[slots] = measured.temporary(slots)
        assert found[slots] <= declared.total(WIDTH, 1, slots, CLIENTS) <= 2 * found[slots], (
            found[slots] / measured.model,
            measured.algorithm.memory,
        )
    by_slot = (found[MANY] - found[FEW]) / (MANY - FEW)
    small = 0.02 * measured.model  # of a slot's numbers
    assert by_slot <= declared.slot + small
    if declared.slot and name != "pfedhn":  # whose network hides it
        assert declared.slot <= 2 * by_slot


RULED = [("fedavg", rule) for rule in RULES] + [("permfl", "trimmed_mean")]


@pytest.mark.parametrize(
    ("name", "rule"), [pytest.param(*case, marks=pytest.mark.slow if i else ()) for i, case in enumerate(RULED)]
)
def test_a_rule_holds_the_models_that_it_declares(name, rule):
    settings = {"bad": 1, "keep": 2, "bound": 1.0, "steps": 3, "smoothing": 1e-6}
    measured = Measured(name, aggregate=ops.make_rule(rule, settings))
    for slots in (FEW, MANY):
        found = measured.temporary(slots)
        assert found <= measured.declared.total(WIDTH, 1, slots, CLIENTS) <= 2 * found, found / measured.model


@pytest.mark.parametrize("name", ["fedavg", pytest.param("permfl", marks=pytest.mark.slow)])
def test_clients_that_collude_hold_the_models_that_are_declared(name):
    bad = {"bad": jnp.arange(CLIENTS) % 3 == 0, "attack_strength": None}
    measured = Measured(name, collude=make_collusion("min_max", "unit", bad))
    for slots in (FEW, MANY):
        found = measured.temporary(slots)
        assert found <= measured.declared.total(WIDTH, 1, slots, CLIENTS) <= 2 * found, found / measured.model


def test_the_page_on_rules_tells_how_many_models_they_hold():
    page = pathlib.Path(__file__).parents[2].joinpath("docs/robustness.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\| ([\d.]+) \|", page, re.MULTILINE)
    assert {name: float(models) for name, models in rows} == {name: kind.models for name, kind in RULES.items()}


def test_the_table_of_the_documentation_tells_what_is_declared():
    table = pathlib.Path(__file__).parents[2].joinpath("docs/client_axis.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`\w+`.*?) \| ([\d.]+)[^|]* \| (\d) \|", table, re.MULTILINE)
    told = {name: (float(slot), float(client)) for row, slot, client in rows for name in re.findall(r"`(\w+)`", row)}
    stacking = {}
    for name in algorithms.registry:
        memory = Measured(name, **({"reading": "clients"} if name == "fedtlu" else {})).algorithm.memory
        if memory.slot or memory.client:
            stacking[name] = (memory.slot, memory.client)
    assert told == stacking


SERVED = [name for name in algorithms.registry if name.endswith(("fedla", "mix", "fomo", "learn", "hn"))]


@pytest.mark.parametrize("name", SERVED)
def test_served_models_are_put_together_as_declared(name):
    found = {clients: Measured(name, clients).served() for clients in (10, 20)}
    measured = Measured(name, 20)
    by_client, declared = (found[20] - found[10]) / 10, measured.declared.served
    assert by_client <= declared + 0.02 * measured.model
    assert declared <= 2 * by_client


@pytest.mark.parametrize("name", ["fedavg", "player_fl", "permfl"])
def test_a_larger_cohort_takes_no_more_than_its_numbers(name):
    measured = Measured(name, 1000)
    few, many = (measured.temporary(slots) for slots in (10, 1000))
    assert many < 1.05 * few


def test_fedavg_grows_by_less_than_a_hundredth_and_holds_few_models():
    measured = Measured("fedavg", 1000)
    few, many = (measured.temporary(slots) for slots in (10, 1000))
    assert few < many < 1.01 * few + 1
    assert few < (2 + 3 * WIDTH) * measured.model
