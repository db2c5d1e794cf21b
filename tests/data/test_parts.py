"""Official parts of a data set, one or all, with ids that do not depend on which."""

import numpy as np
import pytest

from fedjax_layers.data.packing import ALIGNMENT
from fedjax_layers.data.tables.columns import Ragged
from fedjax_layers.data.tables.parts import join, take_parts

SIZES = {"train": 5, "val": 2, "test": 3}
WORDS = ["", "ein", "zwei", "drei", "", "fünf", "sechs", "", "acht", ""]


@pytest.fixture
def tables():
    """Ten rows that hold their own number, in three parts."""
    starts = dict(zip(SIZES, (0, 5, 7), strict=True))
    return {
        split: {
            "row": np.stack([np.arange(n) + starts[split]] * 2, axis=1),
            "word": Ragged.of_texts(WORDS[starts[split] : starts[split] + n]),
        }
        for split, n in SIZES.items()
    }


@pytest.mark.parametrize(
    ("split", "limit", "rows"),
    [
        ("train", None, range(5)),
        ("train", 2, range(2)),
        ("val", None, range(5, 7)),
        ("test", None, range(7, 10)),
        ("test", 3, range(7, 10)),
        ("all", None, range(10)),
        ("all", 1, range(1)),
        ("all", 5, range(5)),
        ("all", 6, range(6)),
        ("all", 9, range(9)),
        ("all", 10, range(10)),
    ],
)
def test_rows_ids_and_texts_of_a_part_are_those_of_the_whole(tables, split, limit, rows):
    examples = take_parts(tables, split, limit)
    assert len(examples) == len(rows)
    assert examples.ids.tolist() == list(rows)
    assert examples.ids.dtype == np.int64
    np.testing.assert_array_equal(examples.array("row")[:, 1], rows)
    word = examples.ragged("word")
    assert word.texts() == [WORDS[row] for row in rows]
    assert len(word.values) == word.offsets[-1]
    assert word.offsets[0] == 0


def test_the_test_part_is_flagged_where_all_are_taken(tables):
    assert take_parts(tables).official_test.tolist() == [False] * 7 + [True] * 3
    assert take_parts(tables, limit=8).official_test.tolist() == [False] * 7 + [True]
    for split in SIZES:
        assert take_parts(tables, split).official_test is None
    only = {"train": tables["train"]}
    assert take_parts(only).official_test is None  # nothing was set apart


def test_a_single_part_is_not_copied(tables):
    for split, limit in (("val", None), ("train", 3)):
        examples = take_parts(tables, split, limit)
        assert np.shares_memory(examples.array("row"), tables[split]["row"])
        assert np.shares_memory(examples.ragged("word").values, tables[split]["word"].values)


def test_only_what_is_within_the_limit_is_copied(tables):
    """The first rows of a large set are not worth reading all of it."""
    few = take_parts(tables, "all", 4)
    assert np.shares_memory(few.array("row"), tables["train"]["row"])
    assert np.shares_memory(few.ragged("word").values, tables["train"]["word"].values)
    more = take_parts(tables, "all", 6)
    for array in (more.array("row"), more.ragged("word").values):
        assert array.base is None or array.base.nbytes <= array.nbytes + ALIGNMENT


def test_joined_columns_keep_their_type(tables):
    parts = [np.ones((2, 3), np.int16), np.zeros((1, 3), np.int16)]
    assert join(parts).dtype == np.int16
    ragged = join([Ragged.of([[1], []], "uint16"), Ragged.of([], "uint16"), Ragged.of([[2, 3]], "uint16")])
    assert ragged.values.dtype == np.uint16
    assert [entry.tolist() for entry in ragged] == [[1], [], [2, 3]]


@pytest.mark.parametrize(
    ("split", "limit", "message"),
    [
        ("tets", None, "split: expected one of all, test, train, val, got 'tets'; did you mean 'test'?"),
        ("ALL", None, "split: expected one of all, test, train, val, got 'ALL'"),
        ("val", 0, "limit: expected 1..2 for split 'val', got 0"),
        ("val", 3, "limit: expected 1..2 for split 'val', got 3"),
        ("all", 11, "limit: expected 1..10 for split 'all', got 11"),
        ("all", -1, "limit: expected 1..10 for split 'all', got -1"),
    ],
)
def test_other_parts_and_limits_are_refused(tables, split, limit, message):
    with pytest.raises(ValueError, match=r"^(split|limit): ") as error:
        take_parts(tables, split, limit)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
