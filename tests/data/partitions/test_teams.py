"""Teams of clients: skew between teams and within."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedjax_layers.data.partitions import classes_per_team, consecutive_teams, natural_teams, partition, two_level
from tests.data.partitions.cases import BALANCED


@given(clients=st.integers(1, 200), data=st.data())
def test_teams_are_consecutive_and_of_equal_size(clients, data):
    teams = data.draw(st.integers(1, clients))
    team_of = consecutive_teams(clients, teams)
    assert team_of.dtype == np.int32
    assert team_of.tolist() == [c * teams // clients for c in range(clients)]
    sizes = np.bincount(team_of)
    assert len(sizes) == teams
    assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize(
    ("clients", "teams", "message"),
    [
        (5, 0, r"teams: expected 1\.\.5, the number of clients, got 0"),
        (5, 6, "teams: .* got 6"),
        (0, 1, "num_clients: expected an integer of at least 1, got 0"),
        (5.0, 1, "num_clients: .* got 5.0"),
    ],
)
def test_teams_out_of_range(clients, teams, message):
    with pytest.raises(ValueError, match=message):
        consecutive_teams(clients, teams)


def shares_of(owner, labels, parts):
    counts = np.zeros((labels.max() + 1, parts))
    np.add.at(counts, (labels, owner), 1)
    return counts / counts.sum(axis=1, keepdims=True)


def test_both_levels_have_the_moments_of_their_dirichlet():
    draws, each, teams, clients = 300, 2000, 3, 12
    labels = np.repeat(np.arange(draws), each)  # each label is one draw
    owner = two_level(labels, clients, 0, teams=teams, team_alpha=0.3, client_alpha=2.0, min_size=0)
    team_shares = shares_of(consecutive_teams(clients, teams)[owner], labels, teams)
    squares = (team_shares**2).sum(axis=1)
    assert abs(squares.mean() - 1.3 / (teams * 0.3 + 1)) < 4.5 * squares.std() / np.sqrt(draws) + 1 / each
    large = team_shares[:, 1] * each > 200  # enough examples to see the team's own cut
    within = shares_of(owner, labels, clients)[large, 4:8] / team_shares[large, 1:2]
    squares = (within**2).sum(axis=1)
    assert abs(squares.mean() - 3.0 / (4 * 2.0 + 1)) < 4.5 * squares.std() / np.sqrt(large.sum()) + 4 / 200


def test_alike_within_a_team_and_teams_apart_and_the_other_way_round():
    apart = two_level(BALANCED, 20, 0, teams=4, team_alpha=0.05, client_alpha=1e6)
    team_of = consecutive_teams(20, 4)
    shares = shares_of(apart, BALANCED, 20)  # of a label, by client
    for team in range(4):
        own = shares[:, team_of == team]
        assert np.ptp(own, axis=1).max() < 0.05
    assert np.ptp(shares_of(team_of[apart], BALANCED, 4), axis=1).max() > 0.9
    alike = two_level(BALANCED, 20, 0, teams=4, team_alpha=1e6, client_alpha=0.05)
    assert abs(shares_of(team_of[alike], BALANCED, 4) - 0.25).max() < 0.02


@pytest.mark.parametrize("seed", range(5))
def test_clients_are_topped_up_from_their_own_team(seed):
    repaired = two_level(BALANCED, 20, seed, teams=4, team_alpha=0.05, client_alpha=0.05, min_size=200)
    without = two_level(BALANCED, 20, seed, teams=4, team_alpha=0.05, client_alpha=0.05, min_size=0)
    sizes = np.bincount(without, minlength=20)
    assert sizes.min() < 200
    assert np.bincount(repaired, minlength=20).min() >= 200
    teams = consecutive_teams(20, 4)
    least = np.bincount(teams[without], minlength=4) >= 5 * 200
    moved = teams[without] != teams[repaired]
    # Examples change team only to reach 5 x 200 in a team that had fewer.
    assert not moved[np.isin(teams[repaired], np.flatnonzero(least))].any()
    assert moved.sum() == np.maximum(1000 - np.bincount(teams[without], minlength=4), 0).sum()


WORST, AVERAGE = ("0-4", "5-9"), ("0-6", "5-9+0-1")


def labels_by_team(owner, teams):
    team_of = consecutive_teams(owner.max() + 1, teams)[owner[owner >= 0]]
    return [np.unique(BALANCED[owner >= 0][team_of == t]).tolist() for t in range(teams)]


def test_permfl_s_two_teams():
    worst = classes_per_team(BALANCED, 40, 0, team_classes=WORST)
    assert labels_by_team(worst, 2) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert (np.bincount(worst) == 150).all()
    for client in range(20):  # a window over the team's own list
        assert set(BALANCED[worst == client]) == {client % 5, (client + 1) % 5}
        assert set(BALANCED[worst == client + 20]) == {5 + client % 5, 5 + (client + 1) % 5}
    average = classes_per_team(BALANCED, 40, 0, team_classes=AVERAGE)
    assert labels_by_team(average, 2) == [[0, 1, 2, 3, 4, 5, 6], [0, 1, 5, 6, 7, 8, 9]]
    order = [5, 6, 7, 8, 9, 0, 1]
    for client in range(20):
        assert set(BALANCED[average == client + 20]) == {order[client % 7], order[(client + 1) % 7]}


def test_lists_of_numbers_are_the_same_and_other_labels_are_nobody_s():
    numbers = tuple(tuple(range(*ends)) for ends in ((0, 5), (5, 10)))
    np.testing.assert_array_equal(
        classes_per_team(BALANCED, 10, 3, team_classes=numbers), classes_per_team(BALANCED, 10, 3, team_classes=WORST)
    )
    owner = classes_per_team(BALANCED, 9, 0, team_classes=("0-2", "2+4", "7"), classes=1)
    assert sorted(np.unique(BALANCED[owner < 0])) == [3, 5, 6, 8, 9]
    assert labels_by_team(owner, 3) == [[0, 1, 2], [2, 4], [7]]
    one = classes_per_team(BALANCED, 10, 0, team_classes="0-9")
    np.testing.assert_array_equal(one, partition("classes_per_client", BALANCED, 10, 0, assignment="sliding"))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"team_classes": ()}, r"team_classes: expected 1\.\.12 teams, the number of clients, got 0"),
        ({"team_classes": ("0",) * 13}, r"team_classes: expected 1\.\.12 teams, .* got 13"),
        ({"team_classes": ("0-4", "a-b")}, "team_classes: expected labels as in .* got 'a-b'"),
        ({"team_classes": (0, 1)}, "team_classes: expected labels as in .* got 0"),
        ({"team_classes": ("0-4", "5-10")}, "team_classes: expected labels that occur in the data, got 10"),
        ({"team_classes": ("0-4", "5+5")}, r"team_classes: expected some labels in each team, .* got \[5, 5\]"),
        ({"team_classes": ("0-4", "9-5")}, r"team_classes: expected some labels in each team, .* got \[\]"),
        ({"classes": 6}, r"classes: expected 1\.\.5, the classes of the smallest team, got 6"),
        ({"team_classes": ("0-9", "0-9"), "classes": 4}, "num_clients: expected at least 7 for 10 classes in windows"),
        ({"min_size": 500}, "min_size: expected at least 500 examples for each client, got"),
    ],
)
def test_bad_team_classes(params, message):
    with pytest.raises(ValueError, match=message) as error:
        partition("classes_per_team", BALANCED, 12, **params)
    assert "\n" not in str(error.value)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31))
def test_one_team_of_everybody_leaves_the_inner_cut_alone(seed):
    owner = two_level(BALANCED, 5, seed, teams=1, client_alpha=1e9, min_size=0)
    assert abs(shares_of(owner, BALANCED, 5) - 0.2).max() < 0.02


def test_teams_out_of_range_of_two_level():
    for teams in (0, 21, 2.5):
        with pytest.raises(ValueError, match=r"teams: expected 1\.\.20, the number of clients, got"):
            two_level(BALANCED, 20, teams=teams)


def test_natural_clients_become_the_teams():
    natural = np.repeat([5, 1, -1, 3], [2000, 1000, 500, 2500])  # nobody is 0, 2 or 4
    owner = natural_teams(BALANCED, 8, 1, clients=natural)
    assert (owner[natural < 0] == -1).all()
    team_of = consecutive_teams(8, 3)  # sizes 3, 3, 2
    for team, name in enumerate([1, 3, 5]):
        assert set(team_of[owner[natural == name]]) == {team}
    assert np.bincount(owner[owner >= 0], minlength=8).min() >= 10


def test_labels_differ_within_natural_teams_as_concentrated():
    natural = np.arange(len(BALANCED)) % 2
    alike = natural_teams(BALANCED, 8, 0, clients=natural, client_alpha=1e6)
    assert abs(shares_of(alike, BALANCED, 8) - 1 / 8).max() < 0.01
    apart = natural_teams(BALANCED, 8, 0, clients=natural, client_alpha=0.01)
    assert np.median(shares_of(apart, BALANCED, 8).max(axis=1)) > 0.45  # nearly all of a team's half


def test_what_natural_teams_refuse():
    natural = np.repeat([0, 1], [30, 5970])
    with pytest.raises(ValueError, match="num_clients: expected at least 2, the natural clients of the data, got 1"):
        natural_teams(BALANCED, 1, clients=natural)
    message = "min_size: expected natural clients with 10 examples a client, got 30 for 4 in team 0"
    with pytest.raises(ValueError, match=message):
        natural_teams(BALANCED, 8, clients=natural)
    with pytest.raises(ValueError, match=r"clients: expected 6000 integers, got shape \(3,\)"):
        natural_teams(BALANCED, 8, clients=np.arange(3))
