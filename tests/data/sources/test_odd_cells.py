"""One cell that is no number does not turn a column of numbers into categories unseen."""

import re

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from fedjax_layers.data import load_dataset
from fedjax_layers.data.sources.own.tables import describe

NUMBERS = [f"{n / 4}" for n in range(40)]


@pytest.fixture
def write(tmp_path):
    """A function that writes a column beside a label, and names the file to ``load_dataset``."""

    def write(cells, name="pressure"):
        rows = [f'"{cell}",{n % 2}' for n, cell in enumerate(cells)]
        (tmp_path / "t.csv").write_text("\n".join([f"{name},y", *rows]))
        return {"name": "csv", "path": str(tmp_path / "t.csv"), "label": "y"}

    return write


def with_cell(cell, row=17):
    return [*NUMBERS[: row - 1], cell, *NUMBERS[row:]]


@pytest.mark.parametrize(
    "cell",
    [
        "0x1A",
        "1_000",
        "1,5",
        "1.234,5",
        "1,234",
        "12 mg",
        "37.5°C",
        "<0.1",
        "$5",
        "2020-01-05",
        "na",
        "n.a.",
        "-",
        "unknown",
        "1e",
    ],
)
def test_a_cell_that_is_no_number_is_named_by_row_and_column(write, cell):
    message = f"t.csv, row 17, column pressure: expected a number as in 39 of 40 cells, got {cell!r}; "
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        load_dataset(**write(with_cell(cell)))
    assert "missing_values" in str(error.value)
    assert "kinds='pressure:category'" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("cell", ["N/A", "NA", "#N/A", "<NA>", "NaN", "?", "", " 5.5 ", "+5", "1E+3"])
def test_gaps_and_numbers_in_their_other_forms_are_no_odd_cells(write, cell):
    data = load_dataset(**write(with_cell(cell)), missing="mean")
    assert data.inputs.shape == (40, 1)


def test_the_ways_out(write):
    where = write(with_cell("n.a."))
    told = load_dataset(**where, missing_values=("n.a.", "unknown"), missing="mean")
    assert np.isnan(told.inputs[16, 0])
    assert load_dataset(**where, missing_values="n.a.", missing="drop").inputs.shape == (39, 1)
    with pytest.raises(ValueError, match="row 17, column pressure: expected a value, found none"):
        load_dataset(**where, missing_values="n.a.")
    assert load_dataset(**where, kinds="pressure:category").inputs.shape == (40, 40)


@pytest.mark.parametrize("form", ["{},{}", "1.{:03},{}", "1_{:03}.{}", "{}.{} mg", "{}.{}%", "${}.{}"])
def test_a_column_that_only_looks_like_numbers_is_no_category(write, form):
    cells = [form.format(n, n % 10) for n in range(40)]
    with pytest.raises(
        ValueError, match=r"t.csv, row 1, column pressure: expected a number, got .* \(and 39 more cells"
    ):
        load_dataset(**write(cells))


@pytest.mark.parametrize(
    "cells", [["5mg", "10mg"] * 20, ["1a", "2b", "3T", "4c"] * 10, ["A1", "B2"] * 20, ["20-30", "30-40"] * 20]
)
def test_a_few_values_that_begin_with_digits_are_categories(write, cells):
    assert load_dataset(**write(cells)).inputs.shape == (40, len(set(cells)))


@pytest.mark.parametrize("form", ["2020-03-{:02}", "2020-03-{:02} 10:30:00", "{:02}.03.2020", "3/{}/20", "12:{:02}"])
def test_dates_are_refused_like_those_of_parquet(write, form):
    with pytest.raises(ValueError, match=r"t.csv, row 1, column seen: expected a number or a category, got the date '"):
        load_dataset(**write([form.format(n % 20 + 1) for n in range(40)], "seen"))


def test_the_label_is_looked_at_too(tmp_path):
    """A target of a regression with one odd cell would else be a classification into a hundred classes."""
    rows = [f"{n},{cell}" for n, cell in enumerate(with_cell("0x1A"))]
    (tmp_path / "t.csv").write_text("\n".join(["x,score", *rows]))
    where = {"name": "csv", "path": str(tmp_path / "t.csv"), "label": "score"}
    with pytest.raises(ValueError, match=r"t.csv, row 17, column score: expected a number as in 39 of 40 cells"):
        load_dataset(**where)
    assert load_dataset(**where, kinds="score:category").num_classes == 40
    grades = [f"{n},{grade}" for n, grade in enumerate(["1", "2", "3a"] * 6)]
    (tmp_path / "t.csv").write_text("\n".join(["x,score", *grades]))
    assert load_dataset(**where, classes=("1", "2", "3a")).class_names == ("1", "2", "3a")


def test_texts_of_parquet_are_looked_at_too(tmp_path):
    table = pa.table({"pressure": with_cell("1,5"), "y": np.arange(40) % 2})
    parquet.write_table(table, tmp_path / "t.parquet")
    where = {"name": "parquet", "path": str(tmp_path / "t.parquet"), "label": "y"}
    with pytest.raises(
        ValueError, match=r"t.parquet, row 17, column pressure: expected a number as in 39 of 40 cells, got '1,5'"
    ):
        load_dataset(**where)
    assert load_dataset(**where, missing_values="1,5", missing="mean").inputs.shape == (40, 1)


def test_describe_says_what_would_be_refused(write):
    summary, label = describe(write(with_cell("1_000"))["path"])
    assert "row 17, column pressure: expected a number as in 39 of 40 cells, got '1_000'" in summary.refused
    assert label.refused == ""
