"""Flags that nothing uses are refused, with what they need."""

import pytest

from fedjax_layers.cli import compare, sweep
from fedjax_layers.cli.arguments import parse
from fedjax_layers.cli.given import effect_lines, refuse_varied, without_effect
from tests.cli.command import assert_refused, cli

UNUSED = [
    ("run fedavg --fedprox.nonsense 3", "--fedprox.nonsense: ", "an option of fedavg, got one of fedprox"),
    ("run fedavg --fedprox.mu 3", "--fedprox.mu: ", "an option of fedavg, got one of fedprox"),
    ("compare fedavg,fedprox --fedprox.nonsense 3", "option of algorithm 'fedprox': ", "got 'nonsense'"),
    ("compare fedavg,local --mu 3", "--mu: ", "not of algorithm"),
    ("run fedavg --attack-strength 1", "--attack-strength: ", "it needs --attack"),
    ("run fedavg --attack-fraction 0.2", "--attack-fraction: ", "it needs --attack"),
    ("run fedavg --attack label_flip --attack-blocks Dense_0", "--attack-blocks: ", "--attack with a poison (noise,"),
    ("run fedavg --attack alie --attack-blocks Dense_0", "--attack-blocks: ", "--attack with a poison (noise,"),
    ("run fedavg --attack min_sum --attack-strength 1", "--attack-strength: ", "which min_max and min_sum find"),
    ("run fedavg --attack ipm --attack-direction std", "--attack-direction: ", "it needs --attack min_max or min_sum"),
    ("run fedavg --attack noise --attack-target 1", "--attack-target: ", "it needs --attack backdoor"),
    ("run fedavg --attack scale --attack-boost 2", "--attack-boost: ", "it needs --attack backdoor"),
    ("run fedavg --focal-gamma 1", "--focal-gamma: ", "it needs --loss focal"),
    ("run fedavg --focal-alpha 1,1", "--focal-alpha: ", "it needs --loss focal"),
    ("run fedavg --epochs 1 --steps 2", "--epochs: ", "it needs no --steps"),
    ("run fedavg --optimizer adam --momentum 0.9", "--momentum: ", "it needs --optimizer sgd"),
    ("run fedavg --sampling uniform", "--sampling: ", "it needs --cohort"),
    ("run fedavg --server-learning-rate 1", "--server-learning-rate: ", "it needs --server-optimizer"),
    ("run local --weighting examples", "--weighting: ", "it needs an algorithm that averages"),
    ("run fedavg --aggregate-bad 1", "--aggregate-bad: ", "--aggregate with trimmed_mean, krum, multi_krum, bulyan"),
    ("run fedavg --aggregate krum --aggregate-bound 1", "--aggregate-bound: ", "with norm_clipping, centred_clipping"),
    ("sweep fedavg --aggregate krum --vary aggregate-smoothing=1,2", "--aggregate-smoothing: ", "geometric_median"),
    ("pretrain --aggregate krum", "--aggregate: ", "expected none for pretrain"),
    ("run fedavg --dataset heart --partition-seed 0", "--partition-seed: ", "it needs a --partition that is drawn"),
    ("data show heart --partition-seed 0", "--partition-seed: ", "it needs a --partition that is drawn"),
    ("run fedavg --model mlp --conv auto", "--conv: ", "it needs a --model with convolutions"),
    ("compare fedavg,local --focal-gamma 1", "--focal-gamma: ", "it needs --loss focal"),
    ("sweep fedavg --vary focal-gamma=1,2", "--focal-gamma: ", "it needs --loss focal"),
    ("sweep fedavg --vary rounds=1,2 --keep 0.5", "--keep: ", "it needs --rungs"),
    ("sweep fedavg --vary rounds=1,2 --seeds-vary start", "--seeds-vary: ", "it needs --seeds"),
    ("sweep fedavg --vary rounds=1,2 --random 2 --zip", "--zip: ", "it needs no --random"),
    ("pretrain --keep-optimizer", "--keep-optimizer: ", "expected none for pretrain"),
    ("pretrain --no-save-model", "--save-model: ", "expected none for pretrain"),
    ("pretrain --unseen 1", "--unseen: ", "expected none for pretrain"),
    ("pretrain --sampling uniform", "--sampling: ", "expected none for pretrain"),
    ("run fedavg --team-formation by_labels", "--team-formation: ", "which has no teams"),
]


@pytest.mark.parametrize(("line", "names", "tells"), UNUSED, ids=[line for line, *_ in UNUSED])
def test_a_flag_that_changes_nothing_is_refused(line, names, tells, tmp_path):
    assert_refused(cli(*line.split()), names, tells)
    assert list(tmp_path.iterdir()) == []


VARIED = [
    ("sweep fedprox --vary mu=0.1,1 --mu 3", "--mu: expected it once, got it beside the values that the sweep gives"),
    ("sweep fedprox --vary learning-rate=0.1,1 --learning-rate 0.1", "--learning-rate: expected it once"),
    ("sweep fedprox --vary algorithm=fedavg,local", "algorithm: expected it once"),
]


@pytest.mark.parametrize(("line", "told"), VARIED, ids=[line for line, _ in VARIED])
def test_a_flag_that_is_given_and_varied_is_refused(line, told, tmp_path):
    assert_refused(cli(*line.split()), told)
    assert list(tmp_path.iterdir()) == []


def test_a_flag_may_be_for_the_settings_that_do_not_have_their_own():
    options = parse(["sweep", "--mu", "3"])
    refuse_varied(options, [{"algorithm": "fedprox"}, {"algorithm": "fedprox", "mu": 2}])


def idle(line):
    options = parse(line.split())
    return without_effect(options, compare._configs(options))


def test_flags_without_effect_on_one_of_several_algorithms_are_told():
    found = idle("compare local,fedavg,fedprox --mu 1 --server-optimizer adam --weighting uniform --rounds 3 --alpha 1")
    assert found == {
        "--mu": ["local", "fedavg"], "--server-optimizer": ["local"], "--weighting": ["local"],
    }  # fmt: skip
    assert effect_lines(found) == [
        "Without effect: --mu for local and fedavg; --server-optimizer for local; --weighting for local."
    ]
    assert idle("compare permfl,fedavg --team-formation by_labels --num-teams 3") == {
        "--team-formation": ["fedavg"], "--num-teams": ["fedavg"],
    }  # fmt: skip
    assert idle("compare local,fedprox --fedprox.mu 1 --rounds 3") == {}
    assert effect_lines({}) == []


def test_values_of_a_sweep_without_effect_on_an_algorithm_are_told():
    options = parse(["sweep", "--vary", "algorithm=fedavg,fedprox", "--vary", "mu=0.1,1", "--dataset", "heart"])
    asked = sweep.varied(options)
    request = sweep._request(options, asked)
    configs = [run.config for run in sweep._runs(options, asked, request)]
    assert without_effect(options, configs, request.names) == {"--mu": ["fedavg"]}
