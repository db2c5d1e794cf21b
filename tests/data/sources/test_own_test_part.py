"""Test parts of a user's own tables and folders: found, marked, and nobody's training examples."""

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from fedjax_layers.data import load, load_dataset
from fedjax_layers.data.sources.own.held_out import test_files as files_for_testing

ROWS = ["x,ward,part,died"] + [f"{i},{'ab'[i % 2]},{'test' if i % 5 == 4 else 'train'},{i // 2 % 2}" for i in range(40)]
TEST = [i for i in range(40) if i % 5 == 4]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("\n".join(ROWS) + "\n")
    return str(path)


def ids_for_testing(data):
    """Rows of all test splits and the global test set."""
    return sorted(data.example_ids[data.places[1] == 2].tolist())


def test_a_column_of_train_and_test_is_found_and_no_input(table):
    data = load("csv", path=table, label="died", client="ward")
    assert ids_for_testing(data) == TEST
    assert data.inputs.shape[1] == 1
    assert data.global_test == 0
    without = load("csv", path=table, label="died", partition="iid", clients=2, test_fraction=0)
    assert (ids_for_testing(without), without.global_test) == (TEST, 8)
    as_input = load_dataset("csv", path=table, label="died", client="ward", test_column="none")
    assert as_input.official_test is None
    assert as_input.inputs.shape[1] == 3


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("true", "false"), ("Test", "train"), ("test", "val")])
def test_a_column_that_is_named_may_hold_flags(tmp_path, yes, no):
    rows = [f"{i},{'ab'[i % 2]},{yes if i in TEST else no},{i // 2 % 2}" for i in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["x,ward,held_out,died", *rows]))
    data = load("csv", path=str(tmp_path / "t.csv"), label="died", client="ward", test_column="held_out")
    assert ids_for_testing(data) == TEST


def test_words_that_are_not_all_parts_are_a_category(tmp_path):
    (tmp_path / "t.csv").write_text("kind,died\ntest,0\ntrain,1\nbus,0\ntrain,1\n")
    assert load_dataset("csv", path=str(tmp_path / "t.csv"), label="died").inputs.shape == (4, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"test_column": "prt"},
            "test_column: expected a column of .*, got 'prt'; its columns are x, ward, part, died",
        ),
        ({"test_column": "died"}, "test_column: expected a column of its own, got 'died'"),
        ({"test_column": "x"}, r"table.csv, row 3, column x: expected train or test, or 0 or 1, got '2'"),
    ],
)
def test_a_wrong_column_is_named(table, options, message):
    with pytest.raises(ValueError, match=message):
        load_dataset("csv", path=table, label="died", client="ward", **options)


def test_a_file_of_test_rows(tmp_path, table):
    (tmp_path / "held_out.csv").write_text("x,ward,part,died\n100,a,train,1\n101,b,train,0\n102,c,train,0\n")
    data = load("csv", path=table, test_path=str(tmp_path / "held_out.csv"), label="died", client="ward")
    assert ids_for_testing(data) == [*TEST, 40, 41, 42]
    assert data.client_names == ("a", "b")
    assert data.global_test == 1, "ward c does not train"


def test_a_file_of_test_rows_without_clients(tmp_path, table):
    (tmp_path / "held_out.csv").write_text("x,died,part\n100,1,test\n101,0,test\n")
    data = load("csv", path=table, test_path=str(tmp_path / "held_out.csv"), label="died", client="ward")
    assert data.global_test == 2
    assert data.client_names == ("a", "b")


def test_parquet_has_the_same(tmp_path):
    columns = {"x": np.arange(40.0), "ward": np.array(list("ab" * 20)), "y": np.arange(40) // 2 % 2}
    flags = np.isin(np.arange(40), TEST)
    parquet.write_table(pa.table({**columns, "split": np.where(flags, "test", "train")}), tmp_path / "words.parquet")
    parquet.write_table(pa.table({**columns, "is_test": flags}), tmp_path / "flags.parquet")
    options = {"label": "y", "client": "ward"}
    words = load("parquet", path=str(tmp_path / "words.parquet"), **options)
    assert ids_for_testing(words) == TEST
    named = load("parquet", path=str(tmp_path / "flags.parquet"), test_column="is_test", **options)
    assert named.partition_hash == words.partition_hash


def paint(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (value, 0, 0)).save(path)


def colours(data, split):
    """The red of the pictures of one split, or of the global test set."""
    if split == "global":
        return sorted(data.inputs[len(data.inputs) - data.global_test :, 0, 0, 0].tolist())
    return sorted(data.inputs[data.places[1] == split, 0, 0, 0].tolist())


def test_folders_train_and_test_around_classes(tmp_path):
    for n in range(12):
        paint(tmp_path / "pets" / ("test" if n >= 10 else "train") / ("cat", "dog")[n % 2] / f"{n}.png", n)
    data = load("image_folder", path=str(tmp_path / "pets"), partition="iid", clients=2)
    assert data.class_names == ("cat", "dog")
    assert colours(data, "global") == [10, 11]


def test_classes_of_those_names_are_classes(tmp_path):
    for n in range(8):
        paint(tmp_path / "toys" / ("test", "train")[n % 2] / f"{n}.png", n)
    data = load_dataset("image_folder", path=str(tmp_path / "toys"))
    assert (data.class_names, data.official_test) == (("test", "train"), None)


@pytest.mark.parametrize("form", ["{part}/{client}/{kind}", "{client}/{part}/{kind}"])
def test_folders_train_and_test_around_clients_or_in_them(tmp_path, form):
    for n in range(24):
        part = "test" if n >= 20 else "train"
        place = form.format(part=part, client=("ann", "bob")[n % 2], kind=("cat", "dog")[n // 2 % 2])
        paint(tmp_path / "pets" / place / f"{n}.png", n)
    data = load("client_folder", path=str(tmp_path / "pets"))
    assert data.client_names == ("ann", "bob")
    assert colours(data, 2) == [20, 21, 22, 23]
    assert data.global_test == 0


@pytest.mark.parametrize(
    "names", [("train.csv", "test.csv"), ("data.csv", "test.csv"), ("2020_train.csv", "2020_test.csv")]
)
def test_files_of_a_client_by_their_names(tmp_path, names):
    for client in "ab":
        (tmp_path / client).mkdir()
        for name, rows in zip(names, (range(10), range(10, 14)), strict=True):
            text = "\n".join(["x,y", *(f"{n},{n % 2}" for n in rows)])
            (tmp_path / client / name).write_text(text)
    data = load("client_folder", path=str(tmp_path), label="y")
    assert sorted(set(data.inputs[data.places[1] == 2, 0].tolist())) == [10, 11, 12, 13]
    assert data.sizes["test"].tolist() == [4, 4]


def test_npz_files_of_a_client_by_their_names_and_folders(tmp_path):
    for client in "ab":
        for part, rows in {"train": range(10), "test": range(10, 14)}.items():
            (tmp_path / client / part).mkdir(parents=True)
            x = np.array(rows, np.float32)[:, None]
            np.savez(tmp_path / client / part / "data.npz", x=x, y=np.array(rows) % 2)
    data = load("client_folder", path=str(tmp_path))
    assert sorted(set(data.inputs[data.places[1] == 2, 0].tolist())) == [10, 11, 12, 13]


@pytest.mark.parametrize(
    ("names", "test"),
    [
        (["test.csv", "train.csv"], ["test.csv"]),
        (["test.csv", "data.csv", "val.csv"], ["test.csv"]),
        (["a_test.npz", "a_train.npz", "b.npz"], ["a_test.npz"]),
        (["a_test.npz", "b_train.npz"], []),
        (["blood_test.csv"], []),
        (["blood_test.csv", "visits.csv"], []),
        (["test.csv"], []),
        (["latest.csv", "contest.csv"], []),
    ],
)
def test_names_that_mean_a_test_part(tmp_path, names, test):
    assert {path.name for path in files_for_testing([tmp_path / name for name in names])} == set(test)
