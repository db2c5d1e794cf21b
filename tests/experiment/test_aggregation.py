"""The rule of a run from its flags: what is traced, what is refused, and that it changes the run."""

import pytest

from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import assemble, load_clients
from fedjax_layers.ops.robust import RULES
from fedjax_layers.sweeps.configs import family_key, is_traced, program_key


def config_of(**values):
    usual = {"algorithm": "fedavg", "clients": 9, "rounds": 2, "client_width": "all", "model": "logistic_regression"}
    return RunConfig(**usual | values)


@pytest.fixture(scope="module")
def clients():
    return load_clients(config_of())


def test_settings_are_traced_where_the_rule_takes_them(clients):
    one, other = (
        assemble(config_of(aggregate="multi_krum", aggregate_bad=bad, aggregate_keep=2), clients) for bad in (1, 2)
    )
    assert (one.builder, one.plan) == (other.builder, other.plan)
    assert one.inputs.hyper["aggregate"] == {"bad": 1, "keep": 2}
    assert one.builder != assemble(config_of(aggregate="krum"), clients).builder
    assert one.builder != assemble(config_of(aggregate="multi_krum", aggregate_per_layer=True), clients).builder
    assert "aggregate" not in assemble(config_of(), clients).inputs.hyper


def test_runs_that_differ_in_a_traced_setting_share_a_program():
    krum = config_of(aggregate="krum")
    assert is_traced(krum, "aggregate_bad")
    assert not is_traced(krum, "aggregate_bound")
    assert not is_traced(config_of(), "aggregate_bad")
    assert program_key(krum) == program_key(config_of(aggregate="krum", aggregate_bad=2))
    assert family_key(krum) != family_key(config_of(aggregate="krum", aggregate_bad=2))
    assert program_key(krum) != program_key(config_of(aggregate="krum", aggregate_per_layer=True))
    clipped = config_of(aggregate="centred_clipping")
    assert program_key(clipped) != program_key(config_of(aggregate="centred_clipping", aggregate_steps=2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"aggregate": "krum", "aggregate_bad": 4},
            "aggregate_bad: expected at most 3, got 4; krum needs 2 \\* bad \\+ 3",
        ),
        (
            {"aggregate": "bulyan", "aggregate_bad": 2},
            "aggregate_bad: expected at most 1, got 2; bulyan needs 4 \\* bad",
        ),
        (
            {"aggregate": "trimmed_mean", "aggregate_bad": 1, "cohort": 2},
            "at most 0, got 1; .* and a round, or its largest team, has 2",
        ),
        (
            {"aggregate": "multi_krum", "aggregate_keep": 10},
            "aggregate_keep: expected at most 9, got 10; a round, or its",
        ),
    ],
)
def test_a_rule_that_the_cohort_is_too_small_for_is_refused(clients, changes, message):
    with pytest.raises(ValueError, match=message):
        assemble(config_of(**changes), clients)


def test_a_rule_that_the_largest_team_is_too_small_for_is_refused(clients):
    teams = {"algorithm": "permfl", "algorithm_options": {"num_teams": 2}}  # of 5 and 4 clients
    with pytest.raises(ValueError, match=r"aggregate_bad: expected at most 1, got 2; krum .* largest team, has 5"):
        assemble(config_of(aggregate="krum", aggregate_bad=2, **teams), clients)
    assemble(config_of(aggregate="krum", aggregate_bad=1, **teams), clients)


def test_an_algorithm_without_a_mean_refuses():
    with pytest.raises(ValueError, match="aggregate: expected none for pfedla, in which no rule can take"):
        config_of(algorithm="pfedla", aggregate="krum")
    with pytest.raises(ValueError, match=r"aggregate: expected .*did you mean 'krum'"):
        config_of(aggregate="crum")


def test_the_median_keeps_an_attacked_run_on_its_way(clients):
    """Boosted by 1e6, a fifth of the clients ruin the mean and not the median; the config says what was run."""
    attack = {"attack": "sign_flip", "attack_strength": 1e6}
    losses = {}
    for rule in (None, "coordinate_median"):
        summary = execute(assemble(config_of(aggregate=rule, **attack), clients))[0]
        losses[rule] = summary["global"]["loss"]["mean"]
    assert losses["coordinate_median"] < 2.5
    assert not losses[None] < 100


def test_the_forecast_counts_the_models_that_the_rule_holds(clients):
    plain, ruled = (assemble(config_of(aggregate=rule), clients).memory for rule in (None, "bulyan"))
    assert ruled.round.slot - plain.round.slot == RULES["bulyan"].models * plain.model
