"""Teams of a run: how many, who is in which, and that neither recompiles nor leaks what it should not."""

import dataclasses

import numpy as np
import optax
import pytest

from fedjax_layers import LocalSolver, algorithms, simulate
from fedjax_layers.data.partitions import consecutive_teams
from fedjax_layers.data.team_formation import by_labels, label_counts, random_teams, team_sizes
from fedjax_layers.experiment.config.run_config import RunConfig
from fedjax_layers.experiment.records.run_directory import RunDirectory
from fedjax_layers.experiment.run import execute
from fedjax_layers.experiment.setup.prepare import assemble, load_clients
from fedjax_layers.experiment.setup.teams import count_teams
from tests.counting import count_compilations

TWO_LEVEL = {"partition": "two_level", "data_options": {"teams": 3, "team_alpha": 0.2}}
CLASSES = {"partition": "classes_per_team", "data_options": {"team_classes": ("0-4", "5-9"), "classes": 3}}


def config_of(algorithm="permfl", options=None, **changes):
    values = {
        "model": "logistic_regression",
        "clients": 10,
        "rounds": 2,
        "batch_size": 64,
        "client_width": "all",
        "algorithm_options": {"team_rounds": 2} | (options or {}),
    }
    return RunConfig(algorithm=algorithm, dataset="digits", **(values | changes))


@pytest.fixture(scope="module")
def clients():
    """Ten clients, Dirichlet, in no teams."""
    return load_clients(config_of())


@pytest.fixture(scope="module")
def teamed():
    """Ten clients in the three teams of a partition."""
    return load_clients(config_of(**TWO_LEVEL))


def teams_of(config, clients):
    return assemble(config, clients).team_of.tolist()


def same_grouping(a, b):
    return len(set(zip(a, b, strict=True))) == len(set(a)) == len(set(b))


@pytest.mark.parametrize(
    ("on", "changes", "options", "expected"),
    [
        ("clients", {}, {}, 4),  # PerMFL's default
        ("clients", {}, {"num_teams": 2}, 2),
        ("clients", {"team_of": (0, 1) * 5}, {}, 2),
        ("clients", {"team_of": (0, 1) * 5}, {"num_teams": 5}, 5),
        ("teamed", {}, {}, 3),
        ("teamed", {}, {"num_teams": 3}, 3),
        ("teamed", {"team_formation": "random_teams"}, {}, 3),
        ("teamed", {"team_formation": "random_teams"}, {"num_teams": 5}, 5),
        ("teamed", {"team_of": (1, 0) * 5}, {}, 2),
    ],
)
def test_how_many_teams(request, on, changes, options, expected):
    data = request.getfixturevalue(on)
    assert count_teams(config_of(options=options, **changes), data) == expected
    assert count_teams(config_of("fedavg", algorithm_options={}), data) is None


def test_the_default_is_at_most_the_clients_that_train():
    config = config_of(clients=5, data_options={"unseen": (0, 3)})
    assert count_teams(config, load_clients(config)) == 3


@pytest.mark.parametrize("algorithm", ["permfl", "hsgd"])
def test_without_a_formation_teams_are_the_partitions_else_consecutive(clients, teamed, algorithm):
    assert teams_of(config_of(algorithm), clients) == consecutive_teams(10, 4).tolist()
    moved = dataclasses.replace(teamed, teams=teamed.teams[::-1].copy())
    built = assemble(config_of(algorithm), moved)
    assert built.team_of.tolist() == moved.teams.tolist() == teamed.teams[::-1].tolist()
    assert dict(built.builder.options)["num_teams"] == 3


def test_a_formation_or_a_list_takes_the_place_of_the_partitions_teams(teamed):
    counts = label_counts(teamed)
    by = config_of(team_formation="by_labels", team_options={"size_ratio": 0.5}, options={"num_teams": 4})
    assert teams_of(by, teamed) == by_labels(counts, 4, size_ratio=0.5).tolist()
    drawn = config_of(team_formation="random_teams", seed=7)
    assert teams_of(drawn, teamed) == random_teams(counts, 3, 7).tolist()
    assert teams_of(config_of(team_of=(2, 1, 0) * 3 + (0,)), teamed) == [2, 1, 0] * 3 + [0]


def run(config, clients, directory=None):
    return execute(assemble(config, clients), directory)


@pytest.mark.slow
def test_other_teams_and_shares_compile_nothing_and_change_the_result(clients):
    def config(**changes):
        options = {"num_teams": 3, "client_participation": changes.pop("share", 0.5)}
        return config_of(options=options, team_formation="random_teams", **changes)

    one, other = assemble(config(), clients), assemble(config(seed=1), clients)
    assert one.team_of.tolist() != other.team_of.tolist()
    assert (one.builder, one.plan) == (other.builder, other.plan)
    assert hash(one.builder) == hash(other.builder)
    _, first = run(config(), clients)
    for changes in ({"seed": 1}, {"share": 1.0}, {"seed": 2, "share": 0.7}):
        with count_compilations() as clock:
            _, history = run(config(**changes), clients)
        assert clock.compilations == 0
        assert not np.array_equal(history.evaluations["team/test/loss"], first.evaluations["team/test/loss"])


@pytest.mark.slow
def test_the_same_numbers_as_the_algorithm_with_a_list(clients):
    """From a config, and from the functions: a solver, hsgd and simulate."""
    team_of = (0, 2, 1, 1, 0, 2, 2, 1, 0, 0)
    config = config_of("hsgd", momentum=0.0, team_of=team_of)
    built = assemble(config, clients)
    _, history = execute(built)
    solver = LocalSolver(optax.sgd(config.learning_rate), config.batch_size)
    method = algorithms.hsgd(solver, team_of=np.array(team_of), num_teams=3, team_rounds=2)
    direct = simulate(method, built.plan.task, clients, rounds=config.rounds).history
    for name in ("team/test/loss", "global/test/loss", "trained/val/loss"):
        np.testing.assert_allclose(history.evaluations[name], direct.evaluations[name], rtol=1e-4)


def test_updates_tell_teams_with_other_classes_apart():
    """Two teams without a class in common: one epoch from the common start points in two directions."""
    config = config_of(team_formation="by_updates", options={"num_teams": 2}, **CLASSES)
    data = load_clients(config)
    shuffled = dataclasses.replace(data, teams=None)  # what the partition says is not looked at
    found = teams_of(config, shuffled)
    assert same_grouping(found, data.teams.tolist())
    assert found == teams_of(config, shuffled)
    sized = dataclasses.replace(config, team_options={"size_ratio": 0.25})
    assert sorted(np.bincount(teams_of(sized, shuffled))) == sorted(team_sizes(10, 2, 0.25))


def test_updates_need_no_optimiser_that_is_kept_and_no_data_that_come_late():
    changes = {"keep_optimizer": True, "drift": ("new_clients@1",), "optimizer": "adam", "learning_rate": 0.01}
    config = config_of(team_formation="by_updates", options={"num_teams": 2}, **CLASSES, **changes)
    data = load_clients(config)
    built = assemble(config, data)
    assert built.inputs.device_data.at(0).train.count.min() == 0, "somebody comes late"
    assert same_grouping(built.team_of.tolist(), data.teams.tolist())


@pytest.mark.parametrize("name", ["by_labels", "by_updates", "worst_case", "hierarchical", "average_case"])
def test_clients_that_never_take_part_decide_nothing(name):
    unseen = {**CLASSES, "data_options": {**CLASSES["data_options"], "unseen": (2, 9)}}
    config = config_of(team_formation=name, options={"num_teams": 2}, **unseen)
    data = load_clients(config)
    rows = np.isin(data.places[0], (2, 9))
    labels = data.labels.copy()
    labels[rows] = np.random.default_rng(0).integers(0, 10, rows.sum())
    other = dataclasses.replace(data, labels=labels, strata=labels)
    seen = np.flatnonzero(~data.unseen)
    found = assemble(config, data).team_of
    assert found[seen].tolist() == assemble(config, other).team_of[seen].tolist()
    if name != "average_case":
        assert same_grouping(found.tolist(), data.teams.tolist()), "they join those that they are like"


def test_summary_and_clients_tell_the_teams(clients, tmp_path):
    config = config_of(team_of=(0, 1, 1, 2, 2, 2, 2, 2, 2, 2))
    directory = RunDirectory.create(tmp_path / "run", config)
    summary, _ = run(config, clients, directory)
    assert (summary["teams"], summary["team_sizes"]) == (3, [1, 2, 7])
    read = directory.read("summary")
    assert (read["teams"], read["team_sizes"]) == (3, [1, 2, 7])
    assert directory.read_clients()["team_of"].tolist() == list(config.team_of)
    assert RunConfig.from_mapping(directory.read("config")) == config
    scores = directory.read_clients()["team/best/test/macro_f1"]
    assert summary["team"]["macro_f1"]["mean"] == pytest.approx(scores.mean())
    without, _ = run(config_of("fedavg", algorithm_options={}), clients)
    assert without["team"] is without["teams"] is without["team_sizes"] is None


BAD_CONFIGS = [
    ({"team_formation": "by_label"}, "team_formation: .*did you mean 'by_labels'"),
    ({"team_formation": "by_labels", "team_options": {"distanc": "hellinger"}}, "did you mean 'distance'"),
    ({"team_formation": "by_labels", "team_options": {"distance": "cosine"}}, "option distance: expected one of"),
    ({"team_formation": "average_case", "team_options": {"overlap": "much"}}, "option overlap: expected a number"),
    ({"team_formation": "random_teams", "team_options": {"size_ratio": float("nan")}}, "option size_ratio: .*finite"),
    ({"team_options": {"distance": "hellinger"}}, "team_options: expected none without a team_formation"),
    ({"team_formation": "given"}, "team formation 'given': expected a value for 'team_of', got none"),
    ({"team_formation": "sequential", "team_of": (0, 1)}, "team_of: expected none with team_formation 'sequential'"),
    ({"team_formation": "given", "team_options": {"team_of": (0, 1)}}, "team_options: .*in the field team_of"),
    ({"team_of": (0, 0.5)}, "team_of: expected a list, each a whole number or none"),
    ({"algorithm_options": {"team_of": (0, 1)}}, "algorithm_options: expected team_of in the field team_of"),
    (
        {"algorithm": "fedavg", "algorithm_options": {}, "team_formation": "by_labels"},
        "team_formation: expected none for fedavg, which has no teams, got 'by_labels'",
    ),
    ({"algorithm": "local", "algorithm_options": {}, "team_of": (0,)}, "team_of: expected none for local, which has"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_CONFIGS)
def test_a_bad_config_is_refused_in_one_line(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        config_of(**changes)
    assert "\n" not in str(caught.value)


BAD_TEAMS = [
    ("clients", {"team_of": (0, 1, 2)}, {}, "team_of: expected an integer for each of 10 clients, got shape"),
    ("clients", {"team_of": (0, 1, -1) * 3 + (0,)}, {}, "team_of: expected ids 0 to 1, got -1 for client 2"),
    ("clients", {"team_of": (0, 1, 2) * 3 + (0,)}, {"num_teams": 2}, "ids 0 to 1, got 2 for client 2"),
    ("clients", {"team_of": (0, 2) * 5}, {}, "team_of: expected a client in each of 3 teams, got none in team 1"),
    ("clients", {}, {"num_teams": 11}, r"num_teams: expected 1..10, the number of clients, got 11"),
    ("clients", {"team_formation": "by_updates"}, {"num_teams": 0}, "num_teams: expected at least 1"),
    (
        "clients",
        {},
        {"client_participation": 1.5},
        r"client_participation: expected more than 0 and at most 1, got 1.5",
    ),
    ("clients", {}, {"team_participation": 0.0}, r"team_participation: expected more than 0 and at most 1, got 0.0"),
    ("teamed", {}, {"num_teams": 4}, "num_teams: expected the partition's 3 teams, or a team_formation, got 4"),
]


@pytest.mark.parametrize(("on", "changes", "options", "message"), BAD_TEAMS)
def test_teams_that_do_not_fit_the_clients_are_refused_before_any_work(request, on, changes, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        assemble(config_of(options=options, **({"client_width": "auto"} | changes)), request.getfixturevalue(on))
    assert "\n" not in str(caught.value)


def test_a_warning_about_coefficients_comes_before_the_run(clients):
    with pytest.warns(UserWarning, match="permfl: the server .*got 3.5") as caught:
        assemble(config_of(options={"beta": 3.0}), clients)
    assert len(caught) == 1
