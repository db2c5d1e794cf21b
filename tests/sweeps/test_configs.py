"""Configs from settings and seeds, and which of them are computed together."""

import pytest

from fedjax_layers.experiment.config.named_options import with_setting
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.sweeps.configs import data_key, family_key, is_traced, program_key, swept_runs
from fedjax_layers.sweeps.request import SEEDED, SweepRequest

BASE = RunConfig(algorithm="player_fl", dataset="heart", algorithm_options={"threshold": 1.5}, rounds=4)
KEYS = (program_key, data_key, family_key)


def apart(one, other):
    """Which keys differ."""
    return {key.__name__ for key in KEYS if key(one) != key(other)}


def runs_of(base, settings, seeds, vary=SEEDED):
    return swept_runs(SweepRequest(settings, seeds, vary), lambda setting: with_setting(base, setting))


def test_settings_reach_fields_and_options():
    config = with_setting(BASE, {"threshold": 2, "learning_rate": 0.1, "split_seed": 3, "hidden": (8,)})
    assert config.algorithm_options == {"threshold": 2.0}
    assert (config.learning_rate, config.data_options, config.model_options) == (
        0.1,
        {"split_seed": 3},
        {"hidden": (8,)},
    )
    with pytest.raises(ValueError, match=r"flag: expected one .*, got '--thresold'; did you mean '--threshold'"):
        with_setting(BASE, {"thresold": 2})


def test_every_setting_has_every_seed():
    runs = runs_of(BASE, [{"threshold": 1.0}, {"threshold": 2.0}], [5, 6])
    assert [(r.number, r.setting["threshold"], r.seed) for r in runs] == [(0, 1, 5), (1, 1, 6), (2, 2, 5), (3, 2, 6)]
    assert [r.config.seed for r in runs] == [5, 6, 5, 6]
    assert {(r.config.partition_seed, r.config.start_seed) for r in runs} == {(None, None)}


def test_texts_are_read_as_the_types_of_their_options():
    settings = [
        {"threshold": "1", "player_fl.gradient": "epoch", "batch_size": "8", "client_width": "2", "hidden": "4,8"},
        {"threshold": "2.5", "cumulative": "true", "embeddings": "7,true", "learning_rate": "1e-3", "hidden": [4]},
    ]
    one, other = runs_of(BASE, settings, [0])
    assert one.config.algorithm_options == {"threshold": 1.0, "gradient": "epoch"}
    assert (one.config.batch_size, one.config.client_width, one.config.model_options) == (8, "2", {"hidden": (4, 8)})
    values = {"threshold": 1, "player_fl.gradient": "epoch", "batch_size": 8, "client_width": "2", "hidden": (4, 8)}
    assert one.setting == values
    assert other.config.algorithm_options == {"threshold": 2.5, "cumulative": True, "embeddings": ("7", "true")}
    assert other.setting["embeddings"] == ("7", "true"), "texts of an option that is text stay texts"
    assert (other.setting["learning_rate"], other.setting["hidden"]) == (0.001, [4])


@pytest.mark.parametrize(
    ("vary", "seed", "start", "partition"),
    [
        (("start",), 9, 7, None),
        (("partition",), 9, None, 7),
        (("sampling",), 7, 9, 9),
        (("start", "sampling"), 7, None, 9),
        (("partition", "sampling"), 7, 9, None),
        ((), 9, None, None),
    ],
)
def test_seeds_decide_what_they_are_told_to(vary, seed, start, partition):
    base = RunConfig(seed=9)
    (run,) = runs_of(base, [{"rounds": 3}], [7], vary)
    assert (run.config.seed, run.config.start_seed, run.config.partition_seed) == (seed, start, partition)


@pytest.mark.parametrize(
    ("setting", "differ"),
    [
        ({"threshold": 2.0}, set()),
        ({"scored_round": "last"}, set()),
        ({"scored_model": "served"}, set()),
        ({"rounds": 9}, set()),
        ({"patience": 3}, set()),
        ({"learning_rate": 0.2}, {"family_key"}),
        ({"seed": 4, "partition_seed": 0}, {"family_key"}),
        ({"partition_seed": 4}, {"data_key", "family_key"}),
        ({"seed": 4}, {"data_key", "family_key"}),
        ({"start_seed": 4}, {"program_key", "family_key"}),
        ({"batch_size": 4}, {"program_key", "family_key"}),
        ({"gradient": "epoch"}, {"program_key", "family_key"}),
        ({"alpha": 0.1}, {"program_key", "data_key", "family_key"}),
    ],
)
def test_what_runs_have_in_common(setting, differ):
    base = RunConfig(algorithm="player_fl", algorithm_options={"threshold": 1.5}, rounds=4)
    assert apart(base, with_setting(base, setting)) == differ


def test_runs_that_end_between_evaluations_share_no_rounds():
    base = RunConfig(rounds=4, eval_every=2)
    assert apart(base, with_setting(base, {"rounds": 6})) == set()
    assert apart(base, with_setting(base, {"rounds": 5})) == {"program_key", "family_key"}


def test_a_voting_cut_is_not_made_again():
    base = with_setting(BASE, {"agreement": "majority"})
    assert apart(base, with_setting(base, {"threshold": 2.0})) == {"family_key"}


def test_corrupt_data_and_drift_are_drawn_by_the_seed():
    pinned = {"partition_seed": 0}
    bad = with_setting(BASE, {"attack": "label_flip", **pinned})
    assert "data_key" in apart(bad, with_setting(bad, {"seed": 1}))
    assert "data_key" in apart(bad, with_setting(bad, {"attack_strength": 0.5}))
    poison = with_setting(BASE, {"attack": "noise", **pinned})
    assert apart(poison, with_setting(poison, {"seed": 1, "attack_strength": 0.5})) == {"family_key"}
    planted = with_setting(BASE, {"attack": "backdoor", **pinned})
    assert apart(planted, with_setting(planted, {"attack_target": 3})) == {"program_key", "data_key", "family_key"}
    lie = with_setting(BASE, {"attack": "alie", **pinned})
    known = with_setting(lie, {"attack_strength": 0.5})
    assert apart(lie, known) == {"program_key", "family_key"}, "by the numbers of clients, or traced"
    assert apart(known, with_setting(known, {"attack_strength": 2.0, "seed": 1})) == {"family_key"}


def test_traced_numbers():
    assert [is_traced(BASE, name) for name in ("threshold", "learning_rate", "player_fl.threshold")] == [True] * 3
    assert [is_traced(BASE, name) for name in ("batch_size", "rounds", "alpha", "attack_strength")] == [False] * 4


@pytest.mark.parametrize(
    ("settings", "seeds", "vary", "message"),
    [
        ([], [0], (), "grid: expected at least one setting, got none"),
        ([{"rounds": 2}], [], (), "seeds: expected different numbers, got"),
        ([{"rounds": 2}], [1, 1], (), "seeds: expected different numbers, got"),
        ([{"rounds": 2}], [1], ("partiton",), "seeds_vary: expected one of .* did you mean 'partition'"),
        ([{"seed": 2}], [1], (), "seed: expected seeds beside the grid, got them as a setting"),
        ([{"save_model": True}], [1], (), "save_model: expected none in a sweep"),
        ([{"rounds": 0}], [1], (), "rounds: expected at least 1, got 0"),
    ],
)
def test_bad_input_is_named(settings, seeds, vary, message):
    with pytest.raises(ValueError, match=message):
        runs_of(BASE, settings, seeds, vary)
