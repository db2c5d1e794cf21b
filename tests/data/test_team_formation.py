"""Team formations against planted groups and PerMFL's two cases; every team has somebody, everybody a team."""

import subprocess
import sys

import numpy as np
import pytest

from fedjax_layers.data import load
from fedjax_layers.data.partitions import consecutive_teams
from fedjax_layers.data.team_formation import (
    NEEDS_NO_DATA,
    TEAM_FORMATIONS,
    average_case,
    by_labels,
    by_updates,
    form_teams,
    given,
    hierarchical,
    label_counts,
    mixed_labels,
    nearest_team,
    random_teams,
    sequential,
    team_sizes,
    worst_case,
)

LABELS = 10
SIZED = sorted(set(TEAM_FORMATIONS) - {"given", "hierarchical"})


def dirichlet_counts(clients=23, seed=0):
    """Skewed clients of ten labels, each with an example or more."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.multinomial(50, rng.dirichlet(np.full(LABELS, 0.3))) for _ in range(clients)])


def one_label_each(per_label=4):
    """Clients of a single label each, in mixed order: the label of each, and the counts."""
    label = np.random.default_rng(1).permutation(np.repeat(np.arange(LABELS), per_label))
    return label, np.eye(LABELS, dtype=np.int64)[label] * 30


def label_sets(team_of, counts):
    return [set(np.flatnonzero(counts[team_of == t].sum(0)).tolist()) for t in range(team_of.max() + 1)]


def planted(groups=3, clients=24, seed=2):
    """Clients whose labels come from one of a few distributions: the group of each, and the counts."""
    rng = np.random.default_rng(seed)
    group = np.arange(clients) % groups
    shares = np.eye(groups) * 0.85 + 0.15 / groups
    return group, np.stack([rng.multinomial(rng.integers(40, 400), shares[g]) for g in group])


def same_grouping(a, b):
    return len(set(zip(a.tolist(), b.tolist(), strict=True))) == len(set(a.tolist())) == len(set(b.tolist()))


def spread(team_of, counts):
    """Mean total variation distance between a team's labels and everybody's."""
    shares = counts / counts.sum(1, keepdims=True)
    teams = np.stack([shares[team_of == t].mean(0) for t in range(team_of.max() + 1)])
    return 0.5 * np.abs(teams - shares.mean(0)).sum(1).mean()


@pytest.mark.parametrize("name", TEAM_FORMATIONS)
@pytest.mark.parametrize(("clients", "teams"), [(1, 1), (7, 7), (23, 1), (23, 4), (23, 22)])
def test_everybody_has_a_team_and_every_team_somebody(name, clients, teams):
    counts = dirichlet_counts(clients)
    before = counts.copy()
    options = {"team_of": np.arange(clients) % teams} if name == "given" else {}
    found = form_teams(name, counts, teams, 5, **options)
    assert (found.shape, found.dtype) == ((clients,), np.int32)
    assert sorted(set(found.tolist())) == list(range(teams))
    np.testing.assert_array_equal(found, form_teams(name, counts, teams, 5, **options))
    np.testing.assert_array_equal(counts, before)


@pytest.mark.parametrize("name", SIZED)
@pytest.mark.parametrize("ratio", [1.0, 0.5, 2.0])
def test_sizes_are_kept_by_every_formation_that_takes_them(name, ratio):
    found = np.bincount(form_teams(name, dirichlet_counts(), 4, size_ratio=ratio))
    np.testing.assert_array_equal(np.sort(found), np.sort(team_sizes(23, 4, ratio)))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((10, 4), [3, 2, 3, 2]),
        ((30, 4, 0.5), [16, 8, 4, 2]),
        ((30, 4, 2.0), [2, 4, 8, 16]),
        ((20, 5, 0.1), [15, 2, 1, 1, 1]),
        ((3, 3, 1e-9), [1, 1, 1]),
        ((5, 2, 1e300), [1, 4]),
    ],
)
def test_sizes_by_hand(arguments, expected):
    assert team_sizes(*arguments).tolist() == expected


@pytest.mark.parametrize(("clients", "teams"), [(10, 4), (40, 4), (7, 3), (5, 5), (9, 1)])
def test_sequential_teams_are_the_partitions(clients, teams):
    found = sequential(np.empty((clients, 0)), teams)
    np.testing.assert_array_equal(found, consecutive_teams(clients, teams))


def test_random_teams_follow_the_seed_and_favour_nobody():
    nobody = np.empty((12, 0))
    draws = np.stack([random_teams(nobody, 3, seed) for seed in range(600)])
    assert len({tuple(draw) for draw in draws}) > 500
    assert (np.sort(draws, axis=1) == np.repeat(np.arange(3), 4)).all()
    shares = np.stack([(draws == t).mean(0) for t in range(3)])
    np.testing.assert_allclose(shares, 1 / 3, atol=0.08)  # four standard errors


def test_the_worst_case_is_that_of_permfl():
    label, counts = one_label_each()
    assert label_sets(worst_case(counts, 2), counts) == [set(range(5)), set(range(5, 10))]
    np.testing.assert_array_equal(worst_case(counts, 10), label)


def test_clients_of_two_labels_stay_beside_those_that_share_one():
    """Windows of two labels: only the clients at the two borders of the circle tie the teams together."""
    counts = np.zeros((20, LABELS), np.int64)
    for client in range(20):
        counts[client, [client % LABELS, (client + 1) % LABELS]] = (60, 50)
    first, second = label_sets(worst_case(counts, 2), counts)
    assert first & second == {0, 5}
    assert first | second == set(range(LABELS))


def test_the_average_case_is_that_of_permfl():
    """Seven labels each, four of them shared: two at either border of the circle of labels."""
    _, counts = one_label_each()
    first, second = label_sets(average_case(counts, 2), counts)
    assert (len(first), len(second), first & second) == (7, 7, {9, 0, 4, 5})


def test_overlap_grows_from_the_worst_case():
    _, counts = one_label_each(8)
    np.testing.assert_array_equal(average_case(counts, 4, overlap=0.0), worst_case(counts, 4))
    spreads = [spread(average_case(counts, 4, overlap=o), counts) for o in (0.0, 0.4, 1.0)]
    assert spreads[0] > spreads[1] > spreads[2] > spread(mixed_labels(counts, 4), counts)
    assert np.bincount(average_case(counts, 4, overlap=1.0, size_ratio=0.5)).tolist() == team_sizes(80, 4, 0.5).tolist()


def test_mixed_teams_have_every_label():
    _, counts = one_label_each()
    assert label_sets(mixed_labels(counts, 4), counts) == [set(range(LABELS))] * 4


def test_alike_and_mixed_lie_on_either_side_of_chance():
    counts = dirichlet_counts(60)
    chance = np.mean([spread(random_teams(counts, 5, seed), counts) for seed in range(20)])
    assert spread(mixed_labels(counts, 5), counts) < 0.75 * chance
    for alike in (worst_case(counts, 5), by_labels(counts, 5, size_ratio=1.0), hierarchical(counts, 5)):
        assert spread(alike, counts) > 1.5 * chance


@pytest.mark.parametrize(
    "options",
    [{}, {"distance": "total_variation"}, {"method": "kmeans"}, {"size_ratio": 1.0}],
    ids=lambda o: " ".join(map(str, o.values())) or "default",
)
@pytest.mark.parametrize("groups", [2, 3, 4])
def test_planted_groups_are_found_by_labels(options, groups):
    group, counts = planted(groups)
    found = by_labels(counts, groups, **options)
    assert same_grouping(found, group)
    if "size_ratio" not in options:
        assert found[0] == 0


def test_the_two_distances_by_hand():
    """A label that another client lacks weighs more in Hellinger's distance than in total variation."""
    counts = np.array([[50, 50, 0], [50, 40, 10], [70, 30, 0]])
    assert by_labels(counts, 2, distance="total_variation").tolist() == [0, 0, 1]  # 0.1 against 0.2
    assert by_labels(counts, 2, distance="hellinger").tolist() == [0, 1, 0]  # 0.325 against 0.205


def test_the_number_of_examples_does_not_matter():
    counts = dirichlet_counts()
    scaled = counts * np.arange(1, len(counts) + 1)[:, None]
    np.testing.assert_array_equal(by_labels(scaled, 4), by_labels(counts, 4))


@pytest.mark.parametrize("method", ["agglomerative", "kmeans"])
def test_equal_clients_part_so_that_no_team_is_empty(method):
    found = by_labels(np.ones((9, 3), np.int64), 4, method=method)
    assert sorted(set(found.tolist())) == [0, 1, 2, 3]


def test_the_largest_cluster_is_the_largest_team():
    counts = np.repeat(np.array([[9, 1, 0], [0, 9, 1], [1, 0, 9]]), [3, 8, 4], axis=0)
    found = by_labels(counts, 3, size_ratio=0.5)  # sizes 9, 4, 2
    assert set(found[3:11].tolist()) == {0}
    assert np.bincount(found).tolist() == [9, 4, 2]


def test_updates_are_compared_by_direction_alone():
    rng = np.random.default_rng(3)
    group = rng.integers(0, 3, 30)
    directions = rng.normal(size=(3, 200))
    updates = directions[group] + 0.2 * rng.normal(size=(30, 200))
    found = by_updates(updates, 3)
    assert same_grouping(found, group)
    np.testing.assert_array_equal(by_updates(updates * rng.uniform(0.01, 100, (30, 1)), 3), found)
    opposite = np.concatenate([updates[:5], -updates[:5]])
    assert by_updates(opposite, 2)[:5].tolist() != by_updates(opposite, 2)[5:].tolist()
    assert len(set(by_updates(np.zeros((4, 6)), 3).tolist())) == 3, "clients that learn nothing have teams too"


def test_levels_are_nested_and_find_groups_of_groups():
    """Two families of labels, two kinds of clients in each."""
    kinds = np.array([[8, 2, 0, 0], [2, 8, 0, 0], [0, 0, 8, 2], [0, 0, 2, 8]]) * 10
    kind = np.array([2, 0, 3, 1] * 4)
    finest = hierarchical(kinds[kind], 4)
    assert same_grouping(finest, kind)
    assert same_grouping(finest // 2, kind // 2)


def test_levels_have_the_branching_asked_for_and_equal_sizes():
    counts = dirichlet_counts(50)
    finest = hierarchical(counts, 12, branching=(3, 4))
    np.testing.assert_array_equal(finest // 4, hierarchical(counts, 3))
    assert set(np.bincount(finest).tolist()) == {4, 5}
    by_default = hierarchical(counts, 12)
    np.testing.assert_array_equal(by_default, hierarchical(counts, 12, branching=(2, 2, 3)))
    np.testing.assert_array_equal(by_default // 6, hierarchical(counts, 2))


def test_clients_left_out_go_to_the_nearest_team():
    group, counts = planted(3)
    rest = np.arange(len(group)) >= 18
    team_of = np.full(len(group), -1, np.int32)
    team_of[~rest] = by_labels(counts[~rest], 3)
    found = nearest_team(counts, team_of, rest)
    np.testing.assert_array_equal(found[~rest], team_of[~rest])
    assert same_grouping(found, group)


def test_training_examples_alone_are_counted():
    data = load("digits", clients=6, unseen=(2,))
    counts = label_counts(data)
    np.testing.assert_array_equal(counts.sum(1), data.sizes["train"])
    for client in range(6):
        labels = data.labels[data.rows(client, "train")]
        np.testing.assert_array_equal(counts[client], np.bincount(labels, minlength=10))


def test_digits_in_two_level_teams_are_found_again():
    data = load("digits", partition="two_level", clients=16, teams=4, team_alpha=0.1, client_alpha=1000.0)
    assert same_grouping(by_labels(label_counts(data), 4), data.teams)


BAD = [
    ("sequentail", {}, "did you mean 'sequential'"),
    ("random_teams", {"size_ration": 1.0}, "did you mean 'size_ratio'"),
    ("sequential", {"size_ratio": 0.0}, "size_ratio: expected a positive, finite number, got 0.0"),
    ("by_labels", {"size_ratio": -1.0}, "size_ratio: expected a positive"),
    ("by_labels", {"distance": "helinger"}, "did you mean 'hellinger'"),
    ("by_labels", {"method": "k_means"}, "did you mean 'kmeans'"),
    (
        "by_labels",
        {"method": "kmeans", "distance": "total_variation"},
        "distance: expected hellinger with method",
    ),
    ("hierarchical", {"distance": "cosine"}, "distance: expected one of hellinger, total_variation"),
    ("hierarchical", {"branching": (3, 2)}, "branching: expected numbers whose product is 4"),
    ("hierarchical", {"branching": ()}, "branching: expected numbers whose product is 4"),
    ("average_case", {"overlap": 1.5}, r"overlap: expected a share in \[0, 1\], got 1.5"),
    ("given", {}, "expected a value for 'team_of', got none"),
    ("given", {"team_of": (0, 1, 2)}, "team_of: expected an integer for each of 6 clients, got shape"),
    ("given", {"team_of": (0.0, 1, 2, 3, 0, 0)}, "team_of: expected an integer for each of 6 clients, got shape"),
    ("given", {"team_of": (0, 1, 2, 3, 4, 0)}, "team_of: expected ids 0 to 3, got 4 for client 4"),
    ("given", {"team_of": (0, 1, -1, 3, 2, 0)}, "team_of: expected ids 0 to 3, got -1 for client 2"),
    ("given", {"team_of": (0, 1, 1, 3, 3, 0)}, "team_of: expected a client in each of 4 teams, got none in team 2"),
]


@pytest.mark.parametrize(("name", "options", "message"), BAD)
def test_bad_input_is_one_line(name, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        form_teams(name, dirichlet_counts(6), 4, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(set(TEAM_FORMATIONS) - {"given"}))
@pytest.mark.parametrize("teams", [0, 7])
def test_a_number_of_teams_that_cannot_be_is_refused(name, teams):
    with pytest.raises(ValueError, match=rf"num_teams: expected 1\.\.6, the number of clients, got {teams}"):
        form_teams(name, dirichlet_counts(6), teams)


def test_clients_that_cannot_be_compared_are_named():
    counts = dirichlet_counts(6)
    counts[4] = 0
    for name in ("by_labels", "hierarchical"):
        with pytest.raises(ValueError, match="counts: expected examples of each client, got none of client 4"):
            form_teams(name, counts, 2)
    updates = np.ones((3, 2))
    updates[1, 0] = np.inf
    with pytest.raises(ValueError, match="updates: expected finite numbers, got others from client 1; it diverged"):
        by_updates(updates, 2)
    with pytest.raises(ValueError, match="expected at most 20000 clients to compare in pairs, got 20001"):
        by_labels(np.ones((20_001, 2)), 2)


def test_many_clients_are_formed_without_pairs():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, 30_000)
    counts = (np.eye(3, dtype=np.int64) * 40)[group] + rng.integers(0, 10, (30_000, 3))
    assert same_grouping(by_labels(counts, 3, method="kmeans"), group)


def test_formations_that_look_at_nothing_need_no_labels():
    nobody = np.empty((6, 0))
    assert given(nobody, 2, team_of=[0, 1] * 3).tolist() == [0, 1] * 3
    assert set(NEEDS_NO_DATA) == {"given", "random_teams", "sequential"}


def test_importing_them_loads_no_clustering():
    code = "import sys, fedjax_layers.data.team_formation; print('sklearn.cluster' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
