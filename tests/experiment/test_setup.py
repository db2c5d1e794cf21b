"""From config to experiment: what is traced, what is cached, what is refused beside the model and the data."""

import jax
import numpy as np
import pytest

from fedjax_layers.engine.intervals import common_start, setting_of
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.config.traced import traceable_counts
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.design import make_sampling
from fedjax_layers.experiment.setup.prepare import assemble, check_numbers, load_clients, prepare, vary


def config_of(algorithm="fedavg", **values):
    return RunConfig(algorithm=algorithm, dataset="heart", **({"client_width": "all"} | values))


@pytest.fixture(scope="module")
def clients():
    return load_clients(config_of())


def test_numbers_are_traced_and_equal_builders_share_their_programs(clients):
    """Runs that differ in floats only must be one program: builder and plan are equal and hash alike."""
    one = config_of("player_fl", algorithm_options={"threshold": 1.1, "gradient": "epoch"}, learning_rate=0.1)
    other = config_of("player_fl", algorithm_options={"threshold": 3, "gradient": "epoch"}, learning_rate=0.2, seed=4)
    a, b = assemble(one, clients), assemble(other, clients)
    assert (a.builder, a.plan) == (b.builder, b.plan)
    assert hash((a.builder, a.plan)) == hash((b.builder, b.plan))
    assert a.builder.options == (("gradient", "epoch"),)
    assert float(b.inputs.hyper["options"]["threshold"]) == 3.0
    same = jax.tree.map(lambda x, y: (x.shape, x.dtype) == (y.shape, y.dtype), a.inputs.hyper, b.inputs.hyper)
    assert all(jax.tree.leaves(same))


def test_static_options_make_another_program(clients):
    one = assemble(config_of("player_fl", algorithm_options={"agreement": "mean"}), clients)
    other = assemble(config_of("player_fl", algorithm_options={"agreement": "majority"}), clients)
    assert one.builder != other.builder


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [("fedper", {"personal_layers": 5}), ("fedbabu", {"head_layers": 5}), ("player_fl", {"fixed_cut": 5})],
)
def test_more_layers_than_the_model_has_are_refused(clients, algorithm, options):
    name = next(iter(options))
    with pytest.raises(ValueError, match=f"{name}: expected at most the model's 4 layers, got 5"):
        assemble(config_of(algorithm, algorithm_options=options), clients)
    assemble(config_of(algorithm, algorithm_options={name: 4}), clients)


def test_options_that_exclude_each_other_are_refused_before_any_work(clients):
    options = {"fixed_cut": 1, "random_prefix": True}
    with pytest.raises(ValueError, match="at most one of them"):
        assemble(config_of("player_fl", algorithm_options=options, client_width="auto"), clients)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "hart"}, "did you mean 'heart'"),
        ({"model": "heart_mpl"}, "did you mean 'heart_mlp'"),
        ({"model_options": {"hiden": (3,)}}, "did you mean 'hidden'"),
        ({"data_options": {"limit": 3}}, "option of heart"),
        ({"cohort": 5}, "cohort: expected 1 to 4 clients, the population, got 5"),
        ({"clients": 9}, r"clients: expected 1\.\.4, the natural clients"),
        ({"partition": "dirichlet", "data_options": {"alpha": 0.0}}, "alpha: expected a positive, finite number"),
        ({"partition": "dirichlet", "clients": 500, "data_options": {"min_size": 0}}, "a training example for each"),
        ({"loss": "focal", "focal_alpha": (0.5, 0.5)}, "alpha: expected 5 entries, got 2"),
    ],
)
def test_what_does_not_fit_data_or_model_is_refused_in_one_line(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        prepare(RunConfig(**({"algorithm": "fedavg", "dataset": "heart", "client_width": "all"} | changes)))
    assert "\n" not in str(caught.value)


def test_the_sampling_rule_follows_the_config(clients):
    assert make_sampling(config_of(), clients).scheme == "all"
    assert make_sampling(config_of(cohort=4), clients).scheme == "all"
    rule = make_sampling(config_of(cohort=3), clients)
    assert (rule.scheme, rule.size) == ("uniform", 3)
    assert make_sampling(config_of(cohort=3, sampling="by_size"), clients).scheme == "by_size"


@pytest.mark.parametrize("cohort", [None, 3])
def test_unseen_clients_are_not_in_the_cohort_of_everybody(cohort):
    config = config_of(cohort=cohort, data_options={"unseen": (1,)})
    rule = make_sampling(config, load_clients(config))
    assert (rule.scheme, rule.size, rule.given.tolist()) == ("fixed", 3, [0, 2, 3])


@pytest.mark.parametrize("sampling", ["uniform", "by_size"])
def test_cohorts_are_drawn_among_the_seen_clients(sampling):
    config = config_of(cohort=2, sampling=sampling, data_options={"unseen": (0,)})
    rule = make_sampling(config, load_clients(config))
    assert (rule.scheme, rule.size, rule.given.tolist()) == (sampling, 2, [1, 2, 3])
    with pytest.raises(ValueError, match="cohort: expected 1 to 3 clients, the population, got 4"):
        make_sampling(config_of(cohort=4, sampling=sampling), load_clients(config))


@pytest.mark.parametrize("change", ["class_swap@3", "new_clients@7"])
def test_a_change_after_the_last_round_is_refused(clients, change):
    with pytest.raises(ValueError, match=f"drift: expected rounds below the run's 3, got '{change}'"):
        assemble(config_of(rounds=3, drift=("class_swap@2", change)), clients)
    assert assemble(config_of(rounds=3, drift=("class_swap@2",)), clients).inputs.device_data.since.tolist() == [0, 2]


def test_weighting_and_partition_seed_reach_the_data(clients):
    assert assemble(config_of(), clients).inputs.weights is None
    assert assemble(config_of(weighting="uniform"), clients).inputs.weights.tolist() == [1.0] * 4
    drawn = {"partition": "dirichlet", "clients": 4}
    hashes = [
        load_clients(config_of(**drawn, **seeds)).partition_hash
        for seeds in ({"seed": 0}, {"seed": 1}, {"seed": 1, "partition_seed": 0})
    ]
    assert hashes[0] == hashes[2] != hashes[1]


@pytest.mark.parametrize(("evaluated_models", "expected"), [("both", ("trained", "served")), ("served", ("served",))])
def test_evaluated_models_and_interval_reach_the_plan(clients, evaluated_models, expected):
    plan = assemble(config_of(evaluated_models=evaluated_models, scored_model="served", eval_every=3), clients).plan
    assert (plan.evaluated_models, plan.eval_every) == (expected, 3)


def test_the_learning_rate_decays_by_round(clients):
    built = assemble(config_of(learning_rate_decay=0.5), clients)
    scale = built.builder.make_trainer(
        built.inputs.hyper, setting_of(built.plan, built.inputs.device_data)
    ).learning_rate_factor
    assert [float(scale(np.int32(t))) for t in range(3)] == [1.0, 0.5, 0.25]


def test_the_start_has_a_seed_of_its_own(clients):
    """The same start as that of another seed's run, in cohorts and batches of this one."""

    def first_loss(**seeds):
        experiment = assemble(config_of(rounds=1, **seeds), clients)
        start = common_start(experiment.plan.task, experiment.inputs)
        return execute(experiment)[1].rounds["loss"][0], np.concatenate([x.ravel() for x in jax.tree.leaves(start)])

    (loss, start), (own_loss, own_start), (other_loss, other_start) = (
        first_loss(seed=0),
        first_loss(seed=1),
        first_loss(seed=1, start_seed=0),
    )
    np.testing.assert_array_equal(start, other_start)
    assert not np.array_equal(start, own_start)
    assert len({loss, own_loss, other_loss}) == 3
    assert first_loss(seed=0, start_seed=0)[0] == loss


@pytest.mark.slow
def test_another_run_on_the_same_data_is_the_run_by_itself(clients):
    options = {"algorithm_options": {"threshold": 1.1}}
    first = assemble(config_of("player_fl", rounds=2, **options), clients)
    other = {"algorithm_options": {"threshold": 9.0}}
    for changes in ({"seed": 3, "learning_rate": 0.01}, {"start_seed": 5, **other}):
        config = config_of("player_fl", rounds=2, **options | changes)
        again, alone = vary(first, config), assemble(config, clients)
        assert again.inputs.device_data is first.inputs.device_data
        jax.tree.map(np.testing.assert_array_equal, again.inputs.hyper, alone.inputs.hyper)
        one, other = execute(again)[1].to_arrays(), execute(alone)[1].to_arrays()
        jax.tree.map(np.testing.assert_array_equal, one, other)


def test_whole_numbers_are_traced_where_asked_and_looked_at_all_the_same(clients):
    assert {"personal_layers"} <= traceable_counts("fedper")
    assert traceable_counts("fedtlu") == {"k", "score_every"}
    config = config_of("fedper", algorithm_options={"personal_layers": 1})
    experiment = assemble(config, clients, counts={"personal_layers"})
    assert experiment.builder.options == ()
    assert int(experiment.inputs.hyper["options"]["personal_layers"]) == 1
    assert assemble(config, clients).builder.options == (("personal_layers", 1),)
    check_numbers(experiment, config_of("fedper", algorithm_options={"personal_layers": 4}))
    with pytest.raises(ValueError, match="personal_layers: expected at most the model's 4 layers, got 5"):
        check_numbers(experiment, config_of("fedper", algorithm_options={"personal_layers": 5}))
    heurpfedla = config_of("heurpfedla", algorithm_options={"retained": 1})
    experiment = assemble(heurpfedla, clients, counts={"retained"})
    with pytest.raises(ValueError, match="retained"):
        check_numbers(experiment, config_of("heurpfedla", algorithm_options={"retained": 5}))
