"""A user's CSV and Parquet files."""

import datetime
import gzip
import re
from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from fedjax_layers.data import load, load_dataset
from fedjax_layers.data.sources.own.tables import describe

PATIENTS = """\
id,age,sex,ward,died
p1,63,m,north,no
p2,41.5,f,south,yes
p3,70,f,north,no
p4,58,m,south,no
"""


@pytest.fixture
def write(tmp_path):
    """A function that writes a text to a file of the test's folder and returns its path."""

    def write(text, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def test_columns_become_inputs_categories_one_each(write):
    data = load_dataset("csv", path=write(PATIENTS), label="died", client="ward", id="id")
    assert data.class_names == ("no", "yes")
    assert data.labels.tolist() == [0, 1, 0, 0]
    assert data.client_names == ("north", "south")
    assert data.clients.tolist() == [0, 1, 0, 1]
    # age, then sex f, then sex m
    np.testing.assert_array_equal(data.inputs, [[63, 0, 1], [41.5, 1, 0], [70, 1, 0], [58, 0, 1]])
    assert data.inputs.dtype == np.float32
    assert data.preprocess == "standardise"
    assert data.example_ids.tolist() == [0, 1, 2, 3]


def test_the_heart_files_as_one_csv_are_the_built_in_set(write):
    heart = load_dataset("heart")
    columns = ["age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak"]
    lines = [",".join([*columns, "slope,ca,thal,num,hospital"])]
    for hospital in heart.client_names:
        text = (resources.files("fedjax_layers.data") / f"uci_heart/processed.{hospital}.data").read_text()
        lines += [f"{line},{hospital}" for line in text.splitlines()]
    path = write("\n".join(lines))
    data = load_dataset("csv", path=path, label="num", client="hospital", features=columns, missing="drop")
    for field in ("inputs", "labels", "clients", "example_ids"):
        np.testing.assert_array_equal(getattr(data, field), getattr(heart, field))
    assert data.client_names == heart.client_names
    gaps = {s.name: s.missing for s in describe(path)}
    assert (gaps["trestbps"], gaps["thalach"], gaps["ca"]) == (59, 55, 611)


def test_describe_shows_kind_gaps_and_distinct_values(write):
    path = write("a,b,c\n1,x,?\n2,,3\n2.0,y, NA \n")
    found = [(s.name, s.kind, s.missing, s.distinct) for s in describe(path)]
    assert found == [("a", "number", 0, 2), ("b", "category", 1, 2), ("c", "number", 2, 1)]
    assert describe(path, kinds=("a:category",))[0].kind == "category"


def test_kinds_override_what_is_found(write):
    path = write("code,y\n7,a\n12,b\n7,b\n")
    data = load_dataset("csv", path=path, label="y", kinds=("code:category",))
    np.testing.assert_array_equal(data.inputs, [[1, 0], [0, 1], [1, 0]])  # 7 before 12: by size, not as texts
    assert load_dataset("csv", path=path, label="y").inputs.shape == (3, 1)
    # A command line hands over one name without a tuple around it.
    assert load_dataset("csv", path=path, label="y", kinds="code:category").inputs.shape == (3, 2)


@pytest.mark.parametrize(
    ("labels", "task", "classes"),
    [
        (["1", "2", "10"], "classification", ("1", "2", "10")),
        (["0.5", "1", "2"], "regression", ()),
        ([str(n) for n in range(21)], "regression", ()),
        ([str(n) for n in range(20)], "classification", tuple(str(n) for n in range(20))),
        (["b", "a"], "classification", ("a", "b")),
    ],
)
def test_auto_tells_classes_from_targets(write, labels, task, classes):
    rows = "".join(f"{i},{label}\n" for i, label in enumerate(labels))
    data = load_dataset("csv", path=write(f"x,y\n{rows}"), label="y")
    assert (data.task, data.class_names) == (task, classes)
    if task == "regression":
        np.testing.assert_allclose(data.labels, [float(label) for label in labels])


def test_a_task_and_classes_can_be_asked_for(write):
    path = write("x,y\n1,0\n2,1\n3,1\n")
    assert load_dataset("csv", path=path, label="y", task="regression").labels.dtype == np.float32
    data = load_dataset("csv", path=path, label="y", classes=("1", "0", "2"))
    assert data.labels.tolist() == [1, 0, 0]
    assert data.num_classes == 3


def test_missing_values_are_dropped_or_kept_for_the_mean(write):
    path = write("x,s,w,y\n1,a,h,0\n,a,h,1\n3,?,k,0\n5,b,k,1\n")
    dropped = load_dataset("csv", path=path, label="y", client="w", missing="drop")
    assert dropped.example_ids.tolist() == [0, 3]
    np.testing.assert_array_equal(dropped.inputs, [[1, 1, 0], [5, 0, 1]])
    kept = load_dataset("csv", path=path, label="y", client="w", missing="mean")
    nan = np.nan
    np.testing.assert_array_equal(kept.inputs, [[1, 1, 0], [nan, 1, 0], [3, nan, nan], [5, 0, 1]])


def test_the_mean_is_that_of_the_training_examples(write):
    rows = "".join(f"{'' if i % 7 == 0 else i},{i % 2}\n" for i in range(60))
    data = load("csv", path=write(f"x,y\n{rows}"), label="y", missing="mean", partition="iid", clients=2)
    seen = data.preprocess(data.inputs)
    gaps = np.isnan(data.inputs)
    assert gaps.sum() == 9
    assert np.isfinite(seen).all()
    np.testing.assert_array_equal(seen[gaps], 0)


def test_gzip_separator_quotes_and_byte_order_mark(write):
    text = '\ufeffname;y\n"a;b\nc";1\n d ;2\n'
    path = write(gzip.compress(text.encode()), "table.csv.gz")
    data = load_dataset("csv", path=path, label="y", separator=";")
    np.testing.assert_array_equal(data.inputs, [[1, 0], [0, 1]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "dead"}, "label: expected a column of .*table.csv, got 'dead'; its columns are id, age, sex, ward"),
        ({"label": "died", "client": "hospital"}, "client: expected a column .* got 'hospital'"),
        ({"label": "died", "features": ("age", "height")}, "features: expected a column .* got 'height'"),
        ({"label": "died", "features": ("died",)}, "features: expected none of label, client and id, got 'died'"),
        ({"label": "died", "client": "died"}, "label, client, id: expected different columns, got died, died"),
        ({"label": "died", "classes": ("no", "maybe")}, "table.csv, row 2, column died: .* no, maybe, got 'yes'"),
        ({"label": "died", "kinds": ("sex:number",)}, "table.csv, row 1, column sex: expected a number, got 'm'"),
        ({"label": "died", "kinds": ("sex:text",)}, "kinds, column sex: expected one of category, number, got 'text'"),
        ({"label": "died", "kinds": ("sex",)}, "kinds: expected entries like 'age:number', got 'sex'"),
        ({"label": "died", "task": "regression"}, "row 1, column died: expected a number, got 'no'"),
        ({"label": "died", "task": "rank"}, "task: expected one of auto, classification, regression, got 'rank'"),
        ({"label": "died", "missing": "skip"}, "missing: expected one of drop, error, mean, got 'skip'"),
        (
            {"label": "died", "max_categories": 3},
            "column id: expected at most 3 categories .*, found 4.*--features can leave it out",
        ),
        ({"label": "died", "id": "sex"}, "row 3, column sex: expected an id of its own, got 'f' as in .*, row 2"),
        ({"label": "died", "separator": ", "}, "separator: expected one character, got ', '"),
        (
            {"label": "died", "sepparator": ";"},
            "option of data set 'csv': .* got 'sepparator'; did you mean 'separator'",
        ),
    ],
)
def test_wrong_options_are_named(write, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_dataset("csv", path=write(PATIENTS), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "table.csv: expected a table, found an empty file"),
        ("x,y\n", "table.csv: expected at least one row below the header, found none"),
        ("x,y\n1,a\n2\n", "table.csv: .* row 2: Expected 2 columns, got 1: 2"),
        ("x,x,y\n1,2,a\n", "table.csv: expected distinct column names, found 'x' more than once"),
        (b"x,y\n1,a\n\xff,b\n", "table.csv: .*column #0: row 2: .* invalid UTF8"),
        ("x,y\n1,a\n,b\n", "table.csv, row 2, column x: expected a value, found none.*--missing drop.*--missing mean"),
        ("x,y\n1,a\n2,?\n", "table.csv, row 2, column y: expected a value, found none[^;]*; [^;]*--missing drop[^;]*$"),
        ("x,y\n1,a\ninf,b\n", "table.csv, row 2, column x: expected a finite number, got inf"),
        ("x,y\n1,a\n1e300,b\n", "table.csv, row 2, column x: expected a finite number, got 1e300"),
        ("x,y\n1,a\n2,a\n", "table.csv, column y: expected at least two classes, got only a"),
        ("x,y\n,a\n,b\n", "table.csv, column x: expected at least one value, found none"),
        ("y\na\nb\n", "features: expected at least one column .* besides y"),
    ],
)
def test_bad_files_are_named_by_row_and_column(write, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_dataset("csv", path=write(text), label="y")
    assert "\n" not in str(caught.value)


def test_a_missing_client_is_refused_even_where_the_mean_fills_inputs(write):
    with pytest.raises(ValueError, match="row 1, column w: expected a value, found none"):
        load_dataset("csv", path=write("x,w,y\n,,1\n2,h,0\n"), label="y", client="w", missing="mean")


def test_no_file_is_its_own_error(tmp_path):
    for name in ("csv", "parquet"):
        with pytest.raises(FileNotFoundError, match=r"path: expected a file, found none at .*none.csv"):
            load_dataset(name, path=str(tmp_path / "none.csv"), label="y")


@pytest.fixture
def write_parquet(tmp_path):
    """A function that writes columns to a Parquet file and returns its path."""

    def write(**columns):
        path = tmp_path / "table.parquet"
        parquet.write_table(pa.table(columns), path, write_page_checksum=True)
        return str(path)

    return write


def test_parquet_reads_like_the_same_csv(write, write_parquet):
    columns = {
        "age": [63, 41.5, 70, 58],
        "sex": pa.array(["m", "f", "f", "m"]).dictionary_encode(),
        "ward": [2, 10, 2, 10],
        "died": [False, True, False, False],
    }
    data = load_dataset("parquet", path=write_parquet(**columns), label="died", client="ward")
    same = load_dataset("csv", path=write(PATIENTS), label="died", client="ward", id="id")
    np.testing.assert_array_equal(data.inputs, same.inputs)
    np.testing.assert_array_equal(data.labels, same.labels)
    np.testing.assert_array_equal(data.clients, same.clients)
    assert data.client_names == ("2", "10")


def test_parquet_nulls_and_nan_are_missing(write_parquet):
    path = write_parquet(x=[1.0, None, float("nan"), 4.0], y=["a", "b", "a", "b"])
    assert load_dataset("parquet", path=path, label="y", missing="drop").example_ids.tolist() == [0, 3]
    assert describe(path)[0].missing == 2
    with pytest.raises(ValueError, match=r"table.parquet, row 2, column x: expected a value, found none"):
        load_dataset("parquet", path=path, label="y")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            [datetime.date(2020, 1, 1)] * 2,
            "column x: expected numbers or texts, got date32.*--features can leave it out",
        ),
        ([[1, 2], [3]], "column x: expected numbers or texts, got list"),
    ],
)
def test_parquet_types_without_numbers_are_refused(write_parquet, column, message):
    path = write_parquet(x=column, z=[1, 2], y=["a", "b"])
    assert describe(path)[0].kind == "unsupported"
    with pytest.raises(ValueError, match=message):
        load_dataset("parquet", path=path, label="y")
    assert load_dataset("parquet", path=path, label="y", features="z").inputs.shape == (2, 1)


@pytest.mark.parametrize("clients", [[1.5, 2.0], [[1], [2]], [{"a": 1}, {"a": 2}]])
def test_parquet_clients_are_integers_or_texts(write_parquet, clients):
    path = write_parquet(x=[1, 2], c=clients, y=["a", "b"])
    with pytest.raises(ValueError, match="column c: expected integers or texts, got "):
        load_dataset("parquet", path=path, label="y", client="c")


def test_damaged_parquet_is_refused(tmp_path, write_parquet):
    content = bytearray(Path(write_parquet(x=list(range(1000)), y=["a", "b"] * 500)).read_bytes())
    damaged = content.copy()
    damaged[500] ^= 0xFF
    for name, data in {"short": content[:300], "damaged": damaged, "other": b"x,y\n1,2\n"}.items():
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(data)
        with pytest.raises(
            ValueError, match=re.escape(f"{path}: expected a Parquet file, could not read it")
        ) as caught:
            load_dataset("parquet", path=str(path), label="y")
        assert "\n" not in str(caught.value)
