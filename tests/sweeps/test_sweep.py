"""The public function: every run of a sweep equals the same run by itself."""

import functools

import jax
import numpy as np
import pytest

from fedjax_layers import ClientAxis, algorithms, simulate, sweep
from fedjax_layers.algorithms import threshold_decision
from fedjax_layers.engine.placement.width import device_mesh
from fedjax_layers.engine.sampling import uniform
from fedjax_layers.sweeps import request as grid
from fedjax_layers.sweeps.request import Stopping
from tests import toy
from tests.counting import count_compilations

TASK = toy.make_task(np.float32)
C = toy.CLIENTS
THRESHOLDS = [0.2, 0.20001, 0.6, 1.0, 1.00001, 1.7, 3.0, 40.0, 50.0]


@functools.cache
def build(name, *traced, **static):
    """The same function object for equal arguments, as ``simulate`` asks for."""

    def make(numbers):
        trainer = toy.make_trainer(TASK, learning_rate=numbers.get("rate", 0.1))
        return algorithms.registry[name](trainer, **{key: numbers[key] for key in traced}, **static)

    return make


def source(seed=0):
    return toy.make_federation(toy.make_pool(seed, dtype=np.float32))


def same(one, other, tolerance=0.0):
    one, other = one.to_arrays(), other.to_arrays()
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance), one, other)


@pytest.mark.parametrize(
    ("width", "mesh", "tolerance"),
    [
        pytest.param(1, False, 0.0, marks=pytest.mark.slow),
        (3, False, 1e-5),
        pytest.param(2, True, 1e-5, marks=pytest.mark.slow),
    ],
    ids=["in turn", "3", "devices"],
)
@pytest.mark.parametrize("name", ["fedprox", pytest.param("fedbabu", marks=pytest.mark.slow)])
def test_every_row_equals_its_separate_run(name, width, mesh, tolerance):
    traced = {"fedprox": ["mu"], "fedbabu": []}[name]
    settings = grid.product(rate=[0.1, 0.02], **{key: [0.0, 0.3] for key in traced})
    how = {"rounds": 3, "eval_every": 2, "sampling": uniform(3, C)}
    runs = ClientAxis(mesh=device_mesh(2)) if mesh else ClientAxis()
    found = sweep(build(name, *traced), settings, TASK, source(), seeds=(4, 7, 9), width=width, runs=runs, **how)
    assert len(found.histories) == 3 * len(settings)
    for setting, seed, history in zip(found.settings, found.seeds, found.histories, strict=True):
        alone = simulate(build(name, *traced), TASK, source(), hyper=setting, seed=seed, **how)
        same(history, alone.history, tolerance)
    assert set(found.why) == {"finished"}


@pytest.mark.parametrize(
    "options", [{"repeat_every": 2}, pytest.param({"cumulative": True}, marks=pytest.mark.slow)], ids=str
)
@pytest.mark.parametrize("width", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_thresholds_that_give_the_same_cut_are_computed_once(options, width):
    how = {"rounds": 5, "sampling": uniform(3, C)}
    found = sweep(
        build("player_fl", "threshold", **options),
        {"threshold": THRESHOLDS},
        TASK,
        source(),
        decide=("threshold", threshold_decision(cumulative=options.get("cumulative", False))),
        seeds=(0, 1),
        width=width,
        **how,
    )
    cuts = [tuple(history.rounds["cut"]) for history in found.histories]
    for seed in (0, 1):
        different = len({cut for cut, own in zip(cuts, found.seeds, strict=True) if own == seed})
        objects = {id(h) for h, own in zip(found.histories, found.seeds, strict=True) if own == seed}
        assert 1 < different == len(objects) < len(THRESHOLDS)
    for setting, seed, history in zip(found.settings, found.seeds, found.histories, strict=True):
        alone = simulate(build("player_fl", "threshold", **options), TASK, source(), hyper=setting, seed=seed, **how)
        same(history, alone.history, 1e-5 if width else 0.0)


def test_other_settings_and_seeds_compile_nothing():
    how = {"rounds": 2, "width": 1}
    make = build("fedprox", "mu")
    sweep(make, [{"rate": 0.1, "mu": 0.0}], TASK, source(), **how)
    with count_compilations() as clock:
        one = sweep(make, [{"rate": 0.2, "mu": 0.0}], TASK, source(), **how)
    with count_compilations() as more:
        many = sweep(make, grid.product(rate=[0.1, 0.2, 0.3], mu=[0.5, 0.7]), TASK, source(), seeds=range(5), **how)
    assert many.record["programs"] == one.record["programs"] == 1
    assert more.compilations == clock.compilations


def test_seeds_vary_what_they_are_told_to():
    make, how = build("fedavg"), {"rounds": 2, "width": 1, "sampling": uniform(3, C)}

    def losses(*vary):
        found = sweep(make, [{"rate": 0.1}], TASK, source, seeds=(3, 8), seeds_vary=vary, **how)
        return [history.rounds["loss"].tolist() for history in found.histories]

    alone = simulate(make, TASK, source(8), hyper={"rate": 0.1}, seed=8, rounds=2, sampling=uniform(3, C))
    assert losses("start", "partition", "sampling")[1] == alone.history.rounds["loss"].tolist()
    assert losses()[0] == losses()[1]
    found = {vary: losses(vary) for vary in ("start", "partition", "sampling")}
    assert all(one != other for one, other in found.values())
    assert len({str(other) for _, other in found.values()}) == 3
    assert len({str(one) for one, _ in found.values()}) == 1


def test_settings_behind_at_a_rung_stop_and_the_others_end_as_without_rungs():
    make = build("fedprox", "mu")
    settings = grid.product(rate=[1e-6, 0.05, 0.1, 0.2], mu=[0.0])
    how = {"rounds": 4, "eval_every": 2, "seeds": (0, 1), "compare": ("served", "last")}
    whole = sweep(make, settings, TASK, source(), **how)
    for width in (1, 2):
        found = sweep(make, settings, TASK, source(), stopping=Stopping((1, 4), keep=0.5), width=width, **how)
        merits = [h.evaluations["global/val/macro_f1"][0].mean() for h in whole.histories]
        means = np.array(merits).reshape(4, 2).mean(1)
        stays = set(np.argsort(-means, kind="stable")[:2])
        assert found.why == ["finished" if i // 2 in stays else "stopped" for i in range(8)]
        for i, history in enumerate(found.histories):
            expected = whole.histories[i]
            if i // 2 in stays:
                same(history, expected, 1e-5 if width > 1 else 0.0)
            else:
                assert history.rounds_done == 2


@pytest.mark.parametrize("width", [1, 4])
def test_a_run_without_numbers_ends_and_hurts_no_other(width):
    make, how = build("fedavg"), {"rounds": 3, "width": width}
    found = sweep(make, {"rate": np.array([0.1, 1e38, 0.05])}, TASK, source(), **how)
    assert found.why == ["finished", "diverged", "finished"]
    assert found.histories[1].rounds_done < 3
    for i, rate in ((0, 0.1), (2, 0.05)):
        alone = simulate(make, TASK, source(), hyper={"rate": rate}, rounds=3)
        same(found.histories[i], alone.history, 1e-5 if width > 1 else 0.0)
    kept = sweep(make, [{"rate": 1e38}], TASK, source(), stopping=Stopping(diverged=False), **how)
    assert kept.why == ["finished"]


def test_many_settings_with_a_seed_are_vectorised_over_settings():
    settings = grid.product(rate=np.geomspace(0.01, 0.2, 9).tolist(), mu=[0.1])
    how = {"rounds": 2, "sampling": uniform(3, C)}
    runs = ClientAxis(mesh=device_mesh(2))
    found = sweep(build("fedprox", "mu"), settings, TASK, source(), seeds=(4, 7), width=2, runs=runs, **how)
    assert found.record["programs"] == 1
    for i in (0, 7, 16, 17):
        setting, seed = found.settings[i], found.seeds[i]
        alone = simulate(build("fedprox", "mu"), TASK, source(), hyper=setting, seed=seed, **how)
        same(found.histories[i], alone.history, 1e-5)


def test_the_scores_of_all_runs():
    found = sweep(build("fedavg"), {"rate": [0.1, 0.2]}, TASK, source(), rounds=2, evaluated_models=("served",))
    expected = [h.scores("served", "best")["accuracy"].mean() for h in found.histories]
    np.testing.assert_array_equal(found.scores("accuracy", "served"), expected)
    with pytest.raises(ValueError, match="metric: expected one that these runs have"):
        found.scores("perplexity")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid": []}, "grid: expected at least one setting, got none"),
        ({"grid": [{"rate": 0.1}, {"mu": 0.1}]}, "grid: expected the names"),
        ({"seeds": ()}, "seeds: expected different numbers, got"),
        ({"seeds": (1, 1)}, "seeds: expected different numbers, got"),
        ({"seeds_vary": ("cohorts",)}, "seeds_vary: expected one of partition, sampling, start, got 'cohorts'"),
        ({"rounds": 0}, "rounds: expected at least 1, got 0"),
        ({"width": 0}, "width: expected at least 1, got 0"),
        (
            {"evaluated_models": ("served",), "stopping": Stopping((1,)), "compare": ("trained", "best")},
            "compare: expected one of the evaluated models served",
        ),
        ({"decide": ("threshold", threshold_decision())}, "decide: expected a name of the grid, one of rate"),
    ],
)
def test_bad_input_is_named(changes, message):
    arguments = {"grid": [{"rate": 0.1}], "rounds": 1} | changes
    chosen = arguments.pop("grid")
    with pytest.raises(ValueError, match=message.replace("(", "[(]")):
        sweep(build("fedavg"), chosen, TASK, source(), **arguments)


def test_one_mapping_makes_every_combination():
    assert grid.settings_of({"rate": np.array([0.1, 0.2]), "mu": 0.5}) == grid.product(rate=[0.1, 0.2], mu=[0.5])
    assert len(grid.settings_of({"rate": [0.1, 0.2], "mu": [0.5, 0.7, 0.9]})) == 6
