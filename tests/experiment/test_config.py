"""Configs: every bad value is one line that names it, and a config read from a file repeats its run."""

import dataclasses
import inspect
import json

import numpy as np
import pytest

from fedjax_layers import algorithms
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.run_directory import RunDirectory, to_json
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import prepare
from tests import toy

NAN, INF = float("nan"), float("inf")

BAD_FIELDS = [
    ("algorithm", "fedavgg", "did you mean 'fedavg'"),
    ("algorithm", 3, "expected text"),
    ("optimizer", "sgdd", "did you mean 'sgd'"),
    ("server_optimizer", "admm", "did you mean 'adam'"),
    ("sampling", "unifrm", "did you mean 'uniform'"),
    ("weighting", "exampels", "did you mean 'examples'"),
    ("loss", "focl", "did you mean 'focal'"),
    ("scored_model", "served!", "did you mean 'served'"),
    ("scored_round", "bst", "did you mean 'best'"),
    ("conv", "patchs", "did you mean 'patches'"),
    ("client_width", "0", "expected auto, all or a number of 1 to"),
    ("client_width", "wide", "expected auto, all or a number of 1 to"),
    ("client_width", "²", "expected auto, all or a number of 1 to"),
    *[(n, 0, "at least 1, got 0") for n in ("rounds", "batch_size", "min_batch", "steps", "clients", "cohort")],
    ("epochs", 0, "a positive number, got 0"),
    ("epochs", (1, -0.5), "a positive number, got (1, -0.5)"),
    *[(n, -2, "at least 1, got -2") for n in ("eval_every", "patience")],
    *[("rounds", bad, "a whole number") for bad in ("3", 2.5, True, None)],
    ("clients", "3", "a whole number or none"),
    *[(n, bad, n) for n in ("learning_rate", "server_learning_rate") for bad in (0.0, -1.0, NAN, INF, "fast")],
    *[(n, bad, n) for n in ("weight_decay", "momentum", "focal_gamma") for bad in (-1.0, NAN, INF, None)],
    *[("seed", bad, "expected 0 to 4294967295") for bad in (-1, 2**32)],
    ("partition_seed", -1, "expected 0 to 4294967295"),
    ("keep_optimizer", "yes", "true or false"),
    ("focal_alpha", "half", "a list, each a number"),
    ("data_options", 3, "a mapping"),
]
EVALUATED_MODELS = [  # config, scored scored_model
    ({}, "trained"),
    ({"cohort": 3}, "served"),
    ({"evaluated_models": "served"}, "served"),
    ({"cohort": 3, "evaluated_models": "trained"}, "trained"),
    ({"cohort": 3, "scored_model": "trained"}, "trained"),
    ({"scored_model": "served"}, "served"),
]
BAD_OPTIONS = [
    ("fedavg", {"mu": 1.0}, "option of algorithm 'fedavg'"),
    ("fedprox", {"muu": 1.0}, "did you mean 'mu'"),
    ("fedprox", {"mu": -0.5}, "mu: expected at least 0, got -0.5"),
    ("fedprox", {"mu": NAN}, "finite"),
    ("fedprox", {"mu": "much"}, "mu: expected a number, got 'much'"),
    ("player_fl", {"threshold": NAN}, "finite"),
    ("player_fl", {"threshold": -1}, "threshold: expected at least 0"),
    ("player_fl", {"agreement": "majorty"}, "did you mean 'majority'"),
    ("player_fl", {"combine": "elemnts"}, "did you mean 'elements'"),
    ("player_fl", {"cumulative": 7}, "true or false"),
    ("player_fl", {"fixed_cut": -1}, "at least 0"),
    ("player_fl", {"repeat_every": 1.5}, "a whole number"),
    ("player_fl", {"server_optimizer": "adam"}, "in the field server_optimizer"),
    ("fedper", {"personal_layers": 1.5}, "a whole number"),
    ("fedbabu", {"finish_epochs": 0}, "finish_epochs: expected a positive number"),
]


@pytest.mark.parametrize(("fields", "scored_model"), EVALUATED_MODELS)
def test_the_scored_model_follows_participation_unless_named(fields, scored_model):
    config = RunConfig(**fields)
    assert config.scored_model == scored_model
    assert to_json(config)["scored_model"] == scored_model, "config.json is resolved"
    assert RunConfig.from_mapping(to_json(config)) == config


def test_a_model_that_is_not_evaluated_cannot_be_scored():
    with pytest.raises(ValueError, match="evaluated_models: expected both or the scored 'trained', got 'served'"):
        RunConfig(scored_model="trained", evaluated_models="served")


MAY_BE_NEGATIVE = {"cosine_threshold", "cut_offset", "self_bias"}
NUMBERS = [
    (name, option.name)
    for name, factory in algorithms.registry.items()
    for option in inspect.signature(factory).parameters.values()
    if any(kind in str(option.annotation) for kind in ("int", "float", "Number")) and option.name not in MAY_BE_NEGATIVE
]


@pytest.mark.parametrize(("algorithm", "option"), NUMBERS)
def test_no_number_of_an_algorithm_is_silently_negative(algorithm, option, x64):
    """Config or factory refuses it: a negative rate would climb, and a negative count do nothing."""

    def build():
        config = RunConfig(algorithm=algorithm, algorithm_options={option: -1})
        algorithms.registry[algorithm](toy.make_trainer(toy.make_task()), **config.algorithm_options)

    with pytest.raises(ValueError, match=option.removeprefix("hyper_")):
        build()


@pytest.mark.parametrize(("field", "value", "message"), BAD_FIELDS)
def test_a_bad_field_is_refused_in_one_line_that_names_it(field, value, message):
    with pytest.raises(ValueError, match=field) as caught:
        RunConfig(**{field: value})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("algorithm", "options", "message"), BAD_OPTIONS)
def test_a_bad_option_is_refused_in_one_line_that_names_it(algorithm, options, message):
    with pytest.raises(ValueError, match=next(iter(options))) as caught:
        RunConfig(algorithm=algorithm, algorithm_options=options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "options", "message"),
    [
        ("data_options", {"alpha": "some"}, "alpha: expected a number, got 'some'"),
        ("data_options", {"alpha": INF}, "finite"),
        ("data_options", {"test_fraction": "half"}, "a number"),
        ("model_options", {"hidden": "wide"}, "hidden: expected a list, each a whole number"),
        ("model_options", {"hidden": (8, 0)}, "hidden: expected at least 1"),
        ("model_options", {"channels": (8, -1)}, "channels: expected at least 1"),
        ("model_options", {"kernel_size": 2.5}, "kernel_size: expected a whole number"),
        ("model_options", {"dropout": (0.1, NAN)}, "finite"),
    ],
)
def test_bad_options_of_data_and_model_are_refused(field, options, message):
    with pytest.raises(ValueError, match="option") as caught:
        RunConfig(dataset="digits", **{field: options})
    assert message in str(caught.value)


def test_an_algorithm_without_server_takes_no_server_optimizer():
    with pytest.raises(ValueError, match="server_optimizer: expected none for local, got 'adam'"):
        RunConfig(algorithm="local", server_optimizer="adam")


def test_steps_take_the_place_of_epochs():
    assert RunConfig(steps=3).epochs is None
    assert RunConfig(steps=3) == RunConfig(steps=3, epochs=None)


def test_values_take_the_type_of_their_field():
    config = RunConfig(
        algorithm="player_fl",
        algorithm_options={"threshold": 2, "fixed_cut": np.int64(1)},
        model="mlp",
        model_options={"hidden": 8},
        learning_rate=np.float32(0.5),
        momentum=0,
        focal_alpha=[1, 0.5],
    )
    assert config.algorithm_options == {"threshold": 2.0, "fixed_cut": 1}
    assert isinstance(config.algorithm_options["threshold"], float)
    assert config.model_options == {"hidden": (8,)}
    assert type(config.learning_rate) is type(config.momentum) is float
    assert config.focal_alpha == (1.0, 0.5)


def test_an_unknown_field_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"config field: .*got 'learning_rte'; did you mean 'learning_rate'"):
        RunConfig.from_mapping({"learning_rte": 0.1})


@pytest.mark.parametrize("values", [{}, {"model": "mlp", "model_options": {"hidden": (5, 4)}, "focal_alpha": (0.5,)}])
def test_a_config_survives_json(values):
    config = RunConfig(**values)
    assert RunConfig.from_mapping(json.loads(json.dumps(to_json(config)))) == config


def test_every_field_has_a_help_text():
    assert not [f.name for f in dataclasses.fields(RunConfig) if not f.metadata.get("help")]


def test_a_config_read_from_its_run_repeats_the_scores_exactly(tmp_path):
    config = RunConfig(
        algorithm="fedper",
        algorithm_options={"personal_layers": 2},
        dataset="heart",
        model_options={"hidden": (6, 5)},
        loss="focal",
        focal_gamma=2.0,
        focal_alpha=(0.1, 0.2, 0.3, 0.4, 0.5),
        rounds=2,
        cohort=3,
        seed=7,
        learning_rate_decay=0.9,
        client_width="all",
    )
    first = RunDirectory.create(tmp_path / "first", config)
    execute(prepare(config), first)
    again = RunConfig.from_mapping(first.read("config"))
    assert again == config
    second = RunDirectory.create(tmp_path / "second", again)
    execute(prepare(again), second)
    assert first.read("summary")["personal"] == second.read("summary")["personal"]
    clients, clients_again = first.read_clients(), second.read_clients()
    for name, values in clients.items():
        np.testing.assert_array_equal(values, clients_again[name], name)


def deep(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("content", "tells"),
    [
        ({"algorithm": ["local"]}, "algorithm: expected text, got"),
        ({"algorithm_file": 3}, "algorithm_file: expected"),
        ({"algorithm_file": "\0"}, "algorithm_file: expected"),
        ({"learning_rate": 10**400}, "learning_rate: expected a number"),
        ({"clients": 10**400}, "clients: expected at most 2147483647"),
        ({"steps": deep(900)}, "config: expected fields of plain values"),
        ({"by_default": 3}, "by_default: expected a list of names, got 3"),
        ({"by_default": [["clients"]]}, "by_default: expected a list of names"),
        ({"by_default": ["data_options.alpha"]}, "by_default: expected names of options that are there"),
        ({"by_default": ["data_options.alpha"], "data_options": 3}, "by_default: expected names of options"),
    ],
    ids=range(10),
)
def test_a_config_of_other_types_is_told(content, tells):
    with pytest.raises(ValueError, match=tells):
        RunConfig.from_mapping(content)
