"""Some of the clients that the data come with: so many, by name, by size."""

import numpy as np
import pytest

from fedjax_layers.data import load, load_dataset, save_partition

SIZES = np.arange(6, 36)  # of thirty clients


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Thirty natural clients ``s00`` to ``s29`` of 6 to 35 examples, each example's input its client."""
    path = tmp_path_factory.mktemp("own") / "own.npz"
    owner = np.repeat(np.arange(30), SIZES)
    x = owner[:, None].astype(np.float32)
    np.savez(path, x=x, y=np.arange(len(x)) % 2, client=np.array([f"s{c:02}" for c in owner]))
    return {"name": "npz", "path": str(path)}


def whole(data, names):
    """Whether each client has all examples of the natural client of its name, and the names are these."""
    assert data.client_names == tuple(names)
    sizes = sum(data.sizes.values())
    for client, name in enumerate(data.client_names):
        number = int(name[1:])
        assert sizes[client] == SIZES[number]
        rows = np.concatenate([data.inputs[data.rows(client, split), 0] for split in data.ranges])
        assert (rows == number).all()
    return True


def test_so_many_whole_clients_are_drawn_by_the_seed(own):
    draws = [load(**own, clients=10, seed=seed) for seed in range(4)]
    for data in draws:
        assert data.num_clients == 10
        assert whole(data, sorted(data.client_names))
    assert len({data.client_names for data in draws}) == 4
    assert load(**own, clients=10, seed=2).client_names == draws[2].client_names
    assert set(draws[0].client_names) < set(load(**own, clients=15, seed=0).client_names)
    assert load(**own, clients=30).partition_hash == load(**own).partition_hash


def test_each_client_is_drawn_as_often_as_another(own):
    drawn = np.zeros(30)
    for seed in range(200):
        drawn[[int(name[1:]) for name in load(**own, clients=10, seed=seed).client_names]] += 1
    # Binomial(200, 1/3): mean 66.7, standard deviation 6.7.
    assert abs(drawn - 200 / 3).max() < 4 * 6.7


def test_a_clients_split_does_not_depend_on_who_else_takes_part(own):
    every, some = load(**own), load(**own, clients=3)
    for client, name in enumerate(some.client_names):
        same = every.client_names.index(name)
        for split in every.ranges:
            np.testing.assert_array_equal(
                some.example_ids[some.rows(client, split)], every.example_ids[every.rows(same, split)]
            )


def test_by_name_in_the_order_of_the_data(own):
    assert whole(load(**own, natural_clients=("s07", "s02", "s29")), ["s02", "s07", "s29"])
    assert whole(load(**own, natural_clients=["s07", "s07"]), ["s07"])


def test_by_size_and_together(own):
    assert whole(load(**own, smallest_client=33), ["s27", "s28", "s29"])
    both = load(**own, natural_clients=("s00", "s01", "s20", "s21", "s22"), smallest_client=20, clients=2)
    assert both.num_clients == 2
    assert set(both.client_names) < {"s20", "s21", "s22"}


def test_grouping_keeps_its_meaning_and_groups_those_that_are_left(own):
    grouped = load(**own, partition="natural_grouped", clients=4)
    assert sum(grouped.sizes.values()).sum() == SIZES.sum()
    some = load(**own, partition="natural_grouped", clients=4, smallest_client=20)
    assert sum(some.sizes.values()).sum() == SIZES[SIZES >= 20].sum()
    teams = load(**own, partition="natural_teams", clients=4, natural_clients=("s28", "s29"))
    assert sum(teams.sizes.values()).sum() == SIZES[28] + SIZES[29]


def test_what_was_chosen_is_in_the_description_and_in_a_partition_file(own, tmp_path):
    data = load(**own, natural_clients=("s03", "s04"), smallest_client=5)
    assert data.partition["natural_clients"] == ["s03", "s04"]
    assert data.partition["smallest_client"] == 5
    save_partition(data, tmp_path / "split.npz")
    assert load(**own, partition_file=tmp_path / "split.npz").client_names == ("s03", "s04")
    with pytest.raises(ValueError, match=r"partition_file: expected no other choice .*, got natural_clients="):
        load(**own, partition_file=tmp_path / "split.npz", natural_clients=("s03",))


def test_numbered_clients_have_numbers_for_names(tmp_path):
    np.savez(tmp_path / "own.npz", x=np.ones((8, 2)), y=np.arange(8) % 2, client=np.repeat([10, 20, 30, 40], 2))
    data = load("npz", path=str(tmp_path / "own.npz"), natural_clients=(20, 40))
    assert data.client_names == ("20", "40")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clients": 31}, r"clients: expected 1\.\.30, the natural clients of npz, got 31"),
        ({"clients": 0}, r"clients: expected 1\.\.30, the natural clients of npz, got 0"),
        (
            {"clients": 3, "smallest_client": 34},
            r"clients: expected 1\.\.2, natural clients that are left of npz, got 3",
        ),
        ({"natural_clients": ("s3",)}, r"natural_clients: expected one of .*, got 's3'; did you mean 's.3'"),
        ({"smallest_client": 36}, "smallest_client: expected at most 35, the examples of the largest .*, got 36"),
        ({"smallest_client": -1}, "smallest_client: expected at least 0 examples, got -1"),
        (
            {"natural_clients": ("s03",), "partition": "iid"},
            "natural_clients: expected a partition of natural clients, got 'iid'",
        ),
    ],
)
def test_what_cannot_be_chosen_is_refused(own, options, message):
    with pytest.raises(ValueError, match=message) as error:
        load(**own, **options)
    assert "\n" not in str(error.value)


def test_data_without_natural_clients_are_not_affected(tmp_path):
    assert load("digits", clients=7, min_size=5).num_clients == 7
    with pytest.raises(
        ValueError, match="smallest_client: expected data with natural clients, got digits, which has none"
    ):
        load("digits", smallest_client=5)


def test_who_is_in_the_global_test_set_is_no_candidate(tmp_path):
    """The official part is one of other clients, who are not drawn, and it is complete whoever trains."""
    x = np.arange(40, dtype=np.float32)[:, None]
    arrays = {"x": x[:30], "y": np.arange(30) % 2, "client": np.repeat(np.arange(6), 5)}
    np.savez(tmp_path / "own.npz", **arrays, x_test=x[30:], y_test=np.arange(10) % 2, client_test=np.repeat([0, 9], 5))
    where = {"name": "npz", "path": str(tmp_path / "own.npz")}
    for seed in range(5):
        data = load(**where, clients=3, seed=seed)
        assert "9" not in data.client_names
        assert data.global_test == 5, "client 9's; those of client 0 are its own, or nobody's where it is not drawn"
    with pytest.raises(ValueError, match="natural_clients: expected one of 0, 1, 2, 3, 4, 5, got '9'"):
        load(**where, natural_clients=("9",))


def test_heart_by_hospital():
    assert load("heart", natural_clients=("va", "hungarian")).client_names == ("hungarian", "va")
    sizes = np.bincount(load_dataset("heart").clients)
    assert load("heart", smallest_client=200).num_clients == (sizes >= 200).sum()
