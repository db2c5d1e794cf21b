"""The command that a report gives repeats the runs: parsed again, it makes the same configs."""

import shlex

import pytest

from fedjax_layers.cli.arguments import config_of, parse
from fedjax_layers.cli.compare import _configs
from fedjax_layers.cli.sweep import _asked
from fedjax_layers.experiment.config.command_line import compare_command, run_command, sweep_command
from fedjax_layers.experiment.records.run_directory import to_json

RUNS = [
    "run player_fl",
    "run player_fl --alpha 0.3 --hidden 32,16 --threshold 2.5 --average-first false --seed 4 --cohort 5 --epochs 2,1",
    "run fedavg --dataset tiny_shakespeare --data.length 30 --model.length 40 --drop-during 0.1",
    "run fedavg --init-from 'a b' --feature-shift rotation --keep-optimizer --scored-model served",
]


@pytest.mark.parametrize("line", RUNS)
def test_a_run(line):
    options = parse(shlex.split(line))
    config = config_of(options, options.algorithm)
    again = parse(shlex.split(run_command(to_json(config)))[1:])
    assert config_of(again, again.algorithm) == config


def test_a_comparison():
    line = "compare player_fl,permfl,fedprox --dataset heart --threshold 2 --mu 0.3 --num-teams 2 --seeds 2 --seed 3"
    configs = _configs(parse(shlex.split(line)))
    told = compare_command([to_json(config) for config in configs])
    assert _configs(parse(shlex.split(told)[1:])) == configs


SWEEPS = [
    "sweep player_fl --dataset heart --vary threshold=1:3:5 --seeds 2",
    "sweep fedprox --vary mu=0.1,1 --vary learning_rate=0.1,0.2 --zip",
    "sweep --vary algorithm=fedprox,fedavg --vary batch_size=8,16 --seed 3",
]


@pytest.mark.parametrize("line", SWEEPS)
def test_a_sweep(line):
    def runs_of(text):
        return _asked(parse([*shlex.split(text), "--out", "nowhere"]))[1].runs

    runs = runs_of(line)
    settings = list({repr(run.setting): run.setting for run in runs}.values())
    seeds = list(dict.fromkeys(run.seed for run in runs))
    told = sweep_command([to_json(run.config) for run in runs], settings, seeds)
    assert runs_of(told.removeprefix("fedjax-layers ")) == runs


def test_settings_without_an_order_have_no_command():
    config = {"algorithm": "fedavg", "seed": 0}
    assert sweep_command([config], [{"a": 1}, {"b": 1}], [0]) is None
    assert sweep_command([config], [{"a": (1, 2)}], [0]) is None
