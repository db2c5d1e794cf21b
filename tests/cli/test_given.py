"""Flags that nothing uses are refused, with what they need."""

import pytest

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
    ("run fedavg --team-formation by_labels", "team_formation: ", "which has no teams"),
]


@pytest.mark.parametrize(("line", "names", "tells"), UNUSED, ids=[line for line, *_ in UNUSED])
def test_a_flag_that_changes_nothing_is_refused(line, names, tells, tmp_path):
    assert_refused(cli(*line.split()), names, tells)
    assert list(tmp_path.iterdir()) == []
