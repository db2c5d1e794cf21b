"""The number of values in a Parquet file's footer, against what Arrow says."""

import datetime

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from fedjax_layers.data.formats.parquet_footer import values_of_columns


@pytest.mark.parametrize("options", [{}, {"row_group_size": 3, "write_page_index": True, "sorting_columns": None}])
def test_it_says_what_arrow_says(tmp_path, options):
    table = pa.table(
        {
            "a": range(10),
            "lists": [[1.5] * (i % 4) for i in range(10)],
            "deep": [[[True, None], [False]]] * 10,
            "pictures": [{"bytes": b"x" * i, "path": None} for i in range(10)],
            "day": [datetime.date(2020, 1, 1)] * 10,
            "text": ["ä", None] * 5,
        }
    ).replace_schema_metadata({"k" * 300: "v"})
    path = tmp_path / "own.parquet"
    parquet.write_table(table, path, **options)
    about = parquet.ParquetFile(path).metadata
    groups = [about.row_group(i) for i in range(about.num_row_groups)]
    told = np.array([[group.column(j).num_values for j in range(about.num_columns)] for group in groups])
    assert values_of_columns(path) == told.sum(axis=0).tolist()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="expected the footer of a Parquet file, could not read it"):
        values_of_columns(path)
