"""The table of data sets, here and in the documentation."""

import pathlib

from fedjax_layers.data import DATASETS
from fedjax_layers.data.catalog import markdown_table, whereabouts

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "data.md"


def test_the_page_shows_the_table_of_the_code():
    text = PAGE.read_text(encoding="utf-8")
    shown = text.partition("<!-- table -->\n")[2].partition("\n<!-- end of table -->")[0]
    assert shown == markdown_table(), "docs/data.md: put the output of `fedjax-layers data list --markdown` there"


def test_every_data_set_has_a_row():
    assert list(DATASETS) == sorted(DATASETS)
    for name, source in DATASETS.items():
        assert f"| `{name}` | {source.title} |" in markdown_table()
        assert source.title
        assert source.licence
        assert source.citation


def test_what_is_missing_is_said_with_a_remedy(tmp_path):
    where = whereabouts(DATASETS["cifar10"], tmp_path)
    assert (where.there, where.kind) == (False, "missing")
    assert "cifar-10-binary.tar.gz" in where.detail
    assert "data prepare NAME fetches them" in where.detail
    assert "physionet.org" in whereabouts(DATASETS["mimic3_mortality"], tmp_path).detail
    assert whereabouts(DATASETS["heart"], tmp_path).kind == "package"
    assert whereabouts(DATASETS["digits"], tmp_path).kind == "generated"
    assert whereabouts(DATASETS["csv"], tmp_path).kind == "yours"
