"""Numbers of any size end in a line or in what they mean, never in memory or a traceback."""

from types import SimpleNamespace

import pytest

from fedjax_layers.engine.intervals import setting_of
from fedjax_layers.engine.plan import rounds_per_interval
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.setup.prepare import assemble, load_clients
from fedjax_layers.sweeps.request import product, spaced
from fedjax_layers.sweeps.widths import Programs
from tests.cli.command import assert_refused, cli

HEART = "--dataset heart --model logistic_regression --client-width all"
HUGE = 10**12
LARGE = 2 * 10**9

REFUSED = [
    (f"run fedavg {HEART} --rounds {HUGE}", "rounds: ", "expected at most 2147483647"),
    (f"run fedavg {HEART} --batch-size {HUGE}", "--batch-size: ", "expected at most 2147483647"),
    (f"run fedavg {HEART} --rounds {LARGE} --eval-every {LARGE}", "--eval-every: ", "expected at most 1000000 rounds"),
    (f"run fedavg {HEART} --epochs {LARGE}", "epochs: ", "for clients of 193 examples"),
    (f"run fedavg {HEART} --clients {LARGE} --partition iid", "--clients: ", "expected 1..740"),
    (f"run fedavg --dataset synthetic --clients {LARGE}", "clients: ", "expected at most"),
    (f"run permfl {HEART} --num-teams {HUGE}", "--num-teams: ", "expected at most 2147483647"),
    (f"run fedavg {HEART} --client-width {HUGE}", "--client-width: ", "expected auto, all or a number of 1 to"),
    (f"sweep fedavg {HEART} --vary learning-rate=0:1:{LARGE}", "range: ", "expected at most 100000 numbers"),
    (f"sweep fedavg {HEART} --vary learning-rate=0.1,0.2 --seeds {LARGE}", "grid: ", "expected at most 100000 runs"),
    (f"sweep fedavg {HEART} --vary learning-rate=0:1 --random {LARGE}", "grid: ", "expected at most 100000 runs"),
    (f"sweep fedavg {HEART} --vary momentum=0:1:999 --vary learning-rate=0:1:999", "grid: ", "998001 settings"),
    (
        f"sweep fedavg {HEART} --vary rounds=1,2 --run-width {HUGE}",
        "--run-width: ",
        "expected auto or a number of 1 to",
    ),
    (f"compare fedavg,local {HEART} --seeds {LARGE}", "grid: ", "expected at most 100000 runs"),
]


@pytest.mark.parametrize(("line", "names", "tells"), REFUSED, ids=[line for line, *_ in REFUSED])
def test_a_number_beyond_what_it_means_is_one_line(line, names, tells, tmp_path):
    assert_refused(cli(*line.split()), names, tells)
    assert list(tmp_path.iterdir()) == []


def trainer_of(experiment):
    setting = setting_of(experiment.plan, experiment.inputs.device_data)
    return experiment.builder.make_trainer(experiment.inputs.hyper, setting)


def test_more_than_there_is_acts_as_what_there_is():
    config = RunConfig("fedavg", dataset="heart", model="logistic_regression", rounds=3, client_width="all")
    clients = load_clients(config)
    largest = int(clients.sizes["train"].max())
    large = assemble(config.__class__.from_mapping(vars(config) | {"batch_size": LARGE, "eval_every": LARGE}), clients)
    assert large.plan.eval_every == 3
    assert trainer_of(large).batch_size == largest
    assert trainer_of(assemble(config, clients)).batch_size == 32


def test_an_interval_is_no_longer_than_the_run():
    assert [rounds_per_interval(n, 5) for n in (1, 4, 5, 6, LARGE)] == [1, 4, 5, 5, 5]
    with pytest.raises(ValueError, match="eval_every: expected at least 1 round, got 0"):
        rounds_per_interval(0, 5)


def test_no_more_runs_are_computed_at_once_than_there_are():
    class Program:
        size = 1

        def __init__(self, width, same_seed):
            self.width = width

        def put(self, runs):
            return runs

        def start(self, stack):
            return stack

        def planned_bytes(self, stack, state):
            return 1

    runs = [SimpleNamespace(inputs=None, stream=None)]
    group = SimpleNamespace(kind="runs", static=(), program=Program, runs=runs, number=6, exact=False, facts={})
    made = Programs(LARGE).choose(group, same_seed=False)
    assert made.width == 6


def test_grids_of_python_are_bounded_too():
    with pytest.raises(ValueError, match="grid: expected at most 100000 runs, got 1000000000 settings"):
        product(a=range(1000), b=range(1000), c=range(1000))
    with pytest.raises(ValueError, match="range: expected at most 100000 numbers, got 2000000000"):
        spaced(0, 1, LARGE)


def test_a_model_larger_than_the_memory_is_refused_before_it_is_made(tmp_path):
    flags = ["--dataset", "heart", "--rounds", 2, "--client-width", 1, "--hidden", 2_000_000_000]
    outcome = cli("run", "fedper", *flags, "--out", tmp_path / "run")
    assert outcome.code == 2
    assert "model: expected one that fits into the free" in outcome.err
    assert not (tmp_path / "run").exists()
