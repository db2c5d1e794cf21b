"""Flags: which field or option they set, in which type."""

import pytest

from fedjax_layers.cli.arguments import config_of, parse
from fedjax_layers.cli.usage import UsageError
from fedjax_layers.experiment.config.run_config import RunConfig


def config(line, algorithm=None):
    options = parse(line.split())
    beside = options.algorithms.split(",") if "algorithms" in options else ()
    return config_of(options, algorithm or options.algorithm, beside=beside)


def test_without_flags_the_config_is_the_default():
    assert config("run player_fl") == RunConfig()
    assert config("run fedavg") == RunConfig(algorithm="fedavg")


def test_flags_set_fields_in_their_type():
    found = config(
        "run fedavg --dataset heart --rounds 7 --learning-rate 1 --cohort 3 --keep-optimizer "
        "--focal-alpha 0.5,1 --server-optimizer adam --client-width 4 --seed=9"
    )
    assert found == RunConfig(
        algorithm="fedavg",
        dataset="heart",
        rounds=7,
        learning_rate=1.0,
        cohort=3,
        keep_optimizer=True,
        focal_alpha=(0.5, 1.0),
        server_optimizer="adam",
        client_width="4",
        seed=9,
    )
    assert config("run fedavg --no-keep-optimizer").keep_optimizer is False


@pytest.mark.parametrize(
    ("line", "field", "expected"),
    [
        ("run player_fl --threshold 2", "algorithm_options", {"threshold": 2.0}),
        ("run player_fl --threshold=1e-1 --fixed-cut 1", "algorithm_options", {"threshold": 0.1, "fixed_cut": 1}),
        ("run player_fl --cumulative --gradient epoch", "algorithm_options", {"cumulative": True, "gradient": "epoch"}),
        ("run player_fl --average-first false", "algorithm_options", {"average_first": False}),
        ("run player_fl --cut-offset -1", "algorithm_options", {"cut_offset": -1}),
        ("run --threshold 3", "algorithm_options", {"threshold": 3.0}),
        ("run fedavg --alpha 1 --min-size 3", "data_options", {"alpha": 1.0, "min_size": 3}),
        ("run fedavg --partition classes_per_client --classes 3", "data_options", {"classes": 3}),
        ("run fedavg --dataset synthetic --beta 0", "data_options", {"beta": 0.0}),
        ("run fedavg --dataset mnist --limit 100 --split test", "data_options", {"limit": 100, "split": "test"}),
        ("run fedavg --channels 4,8 --hidden 16", "model_options", {"channels": (4, 8), "hidden": (16,)}),
        ("run fedavg --dataset fashion_mnist --width 0.5", "model_options", {"width": 0.5}),
        ("run fedavg --model mlp --hidden 9,9", "model_options", {"hidden": (9, 9)}),
        ("run permfl --num-teams 3 --gamma 2", "algorithm_options", {"num_teams": 3, "gamma": 2.0}),
        ("run permfl --client-participation 1", "algorithm_options", {"client_participation": 1.0}),
        ("run permfl --pace 10,5,2,1", "algorithm_options", {"pace": (10, 5, 2, 1)}),
        ("run permfl --partition two_level --teams 4", "data_options", {"teams": 4}),
        ("run permfl --team-of 0,1,0", "team_of", (0, 1, 0)),
        ("run hsgd --team-formation by_labels", "team_formation", "by_labels"),
        ("run hsgd --team-formation by_labels --size-ratio 1", "team_options", {"size_ratio": 1.0}),
        ("run hsgd --team-formation hierarchical --branching 2,3", "team_options", {"branching": (2, 3)}),
    ],
)
def test_other_flags_go_to_who_takes_them(line, field, expected):
    assert getattr(config(line), field) == expected


def test_a_flag_may_be_one_algorithms_only():
    line = "compare fedprox,fedper --fedprox.mu 3 --fedper.personal-layers 2"
    assert config(line, "fedprox").algorithm_options == {"mu": 3.0}
    assert config(line, "fedper").algorithm_options == {"personal_layers": 2}
    hyphens = "compare player_fl,fedper --player-fl.threshold 2"
    assert config(hyphens, "player_fl").algorithm_options == {"threshold": 2.0}
    assert config(hyphens, "fedper").algorithm_options == {}


def test_a_name_that_two_take_needs_its_owner():
    """PLayer-FL scores with dropout, the network has a rate of it."""
    message = "--dropout: expected --algorithm.dropout or --model.dropout, got an option of algorithm player_fl and"
    with pytest.raises(UsageError, match=message):
        config("run player_fl --dataset digits --dropout true")
    assert config("run player_fl --algorithm.dropout true").algorithm_options == {"dropout": True}
    assert config("run player_fl --model.dropout 0.5,0").model_options == {"dropout": (0.5, 0.0)}
    assert config("run player_fl --dataset digits --player-fl.dropout true").algorithm_options == {"dropout": True}


def test_the_algorithm_may_follow_its_flags():
    assert config("run --rounds 3 fedavg") == RunConfig(algorithm="fedavg", rounds=3)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rnu", "invalid choice: 'rnu'"),
        ("run fedavg --rounds many", "argument --rounds: invalid int value: 'many'"),
        ("run permfl --team-of 0,1.5", "argument --team-of: expected whole numbers separated by commas, got '0,1.5'"),
        ("run fedavg --focal-alpha 1,x", "argument --focal-alpha: expected numbers separated by commas, got '1,x'"),
        ("run fedavg extra", "unrecognized arguments: extra"),
        ("merge a --out b --fast", "merge: expected no flags but its own, got '--fast'"),
    ],
)
def test_what_cannot_be_parsed_is_one_line(line, message):
    with pytest.raises(UsageError) as caught:
        parse(line.split())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_where_data_and_partition_have_a_name_each_gets_its_own():
    line = "run fedavg --dataset synthetic --partition dirichlet"
    with pytest.raises(
        UsageError, match=r"--alpha: expected --data.alpha or --partition.alpha, got an option of data set"
    ):
        config(f"{line} --alpha 1")
    both = config(f"{line} --data.alpha 2 --partition.alpha 0.3 --min-size 2")
    assert both.data_options == {"data.alpha": 2.0, "partition.alpha": 0.3, "min_size": 2}
    assert config("run fedavg --dataset synthetic --alpha 1").data_options == {"alpha": 1.0}


def test_an_option_of_one_of_the_algorithms_is_none_of_the_others():
    line = "compare fedprox,fedavg,fedtlu --mu 3"
    assert config(line, "fedprox").algorithm_options == {"mu": 3.0}
    assert config(line, "fedtlu").algorithm_options == {"mu": 3.0}
    assert config(line, "fedavg").algorithm_options == {}


def test_homes_are_expanded_in_every_path(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    options = parse(
        ["run", "fedavg", "--out=~/x", "--data-dir", "~", "--init-from=~/start", "--partition-file=~/p.npz"]
    )
    assert (options.out, options.data_dir, options.init_from) == ("/home/me/x", "/home/me", "/home/me/start")
    assert config_of(options, "fedavg").data_options == {"partition_file": "/home/me/p.npz"}
    assert parse(["merge", "~/a", "--out", "~/b"]).parts == ["/home/me/a"]
