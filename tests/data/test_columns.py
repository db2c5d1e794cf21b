"""Ragged columns, and the refusal of tables that are not what was announced."""

import numpy as np
import pytest

from fedjax_layers.data.tables.columns import Column, Ragged, check_tables, image, label, number, text, tokens

TEXTS = ["", "naïve café", "北京", "🙂 two\nlines", "", "x"]


def test_texts_come_back_whatever_their_length_and_alphabet():
    ragged = Ragged.of_texts(TEXTS)
    assert ragged.texts() == TEXTS
    assert len(ragged) == 6
    assert ragged.lengths.tolist() == [0, 12, 6, 14, 0, 1]  # UTF-8: two bytes for ï and é, three for 北, four for 🙂
    assert (ragged.values.dtype, ragged.offsets.dtype) == (np.uint8, np.int64)
    assert [bytes(entry).decode() for entry in ragged] == TEXTS
    assert bytes(ragged[2]) == b"\xe5\x8c\x97\xe4\xba\xac"


def test_tokens_come_back_in_their_type():
    ragged = Ragged.of([[3, -4], [], [5]], "int16")
    assert (ragged.values.tolist(), ragged.values.dtype) == ([3, -4, 5], np.int16)
    assert ragged.offsets.tolist() == [0, 2, 2, 3]
    assert [entry.tolist() for entry in ragged] == [[3, -4], [], [5]]


@pytest.mark.parametrize("entries", [[], ["", ""]])
def test_nothing_at_all_is_ragged_too(entries):
    ragged = Ragged.of_texts(entries)
    assert ragged.texts() == entries
    assert ragged.values.shape == (0,)
    assert ragged.values.dtype == np.uint8


COLUMNS = {
    "picture": image(2, 3),
    "class": label(["no", "yes"]),
    "measures": number("float32", 4),
    "words": text(),
    "tags": tokens("uint8"),
}
COUNTS = {"train": 3, "test": 1}


@pytest.fixture
def tables():
    def table(n):
        return {
            "picture": np.zeros((n, 2, 3, 1), np.uint8),
            "class": np.arange(n) % 2,
            "measures": np.full((n, 4), np.nan, np.float32),
            "words": Ragged.of_texts(TEXTS[:n]),
            "tags": Ragged.of([[1]] * n, "uint8"),
        }

    return {split: table(n) for split, n in COUNTS.items()}


def test_what_was_announced_is_accepted(tables):
    check_tables(tables, COLUMNS, COUNTS, "toy")
    check_tables(tables, COLUMNS, {}, "toy")  # the numbers of examples are not known beforehand
    empty = {"train": {"class": np.zeros(0, np.int64)}}
    check_tables(empty, {"class": COLUMNS["class"]}, {"train": 0}, "toy")


CHANGES = {
    "short": ("class", np.zeros(2, np.int64), "expected 3 examples, found 2"),
    "ragged short": ("words", Ragged.of_texts(["a"]), "expected 3 examples, found 1"),
    "type": ("measures", np.zeros((3, 4)), "expected number of float32, found float64"),
    "shape": ("measures", np.zeros((3, 5), np.float32), r"expected entries of shape \(4,\), found \(5,\)"),
    "channels": ("picture", np.zeros((3, 2, 3, 3), np.uint8), r"entries of shape \(2, 3, 1\), found \(2, 3, 3\)"),
    "array for text": ("words", np.zeros(3, np.uint8), "expected text of uint8, found uint8"),
    "text for array": ("class", Ragged.of([[0]] * 3, "int64"), "expected label of int64, found ragged int64"),
    "class above": ("class", np.array([0, 1, 2]), r"expected a class 0\.\.1, found 2 in row 2"),
    "class below": ("class", np.array([0, -1, -2]), r"expected a class 0\.\.1, found -1 in row 1"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_what_is_refused_is_named_by_split_column_and_row(tables, kind):
    column, entries, message = CHANGES[kind]
    tables["train"][column] = entries
    with pytest.raises(ValueError, match=rf"^toy, train, column {column}: .*{message}$"):
        check_tables(tables, COLUMNS, COUNTS, "toy")


def test_columns_of_one_table_are_of_one_length_though_it_is_not_announced(tables):
    tables["test"]["tags"] = Ragged.of([[1], [2]], "uint8")
    with pytest.raises(ValueError, match=r"^toy, test, column tags: expected 1 examples, found 2$"):
        check_tables(tables, COLUMNS, {}, "toy")


def test_other_splits_and_columns_are_refused(tables):
    with pytest.raises(ValueError, match=r"^toy: expected splits test, train, val, found test, train$"):
        check_tables(tables, COLUMNS, {**COUNTS, "val": 2}, "toy")
    del tables["test"]["tags"]
    with pytest.raises(
        ValueError, match=r"^toy, test: expected columns class, measures.*, found class, measures, pict"
    ):
        check_tables(tables, COLUMNS, COUNTS, "toy")
    more = {split: {**table, "tags": Ragged.of([[1]] * n, "uint8"), "extra": np.zeros(n)}
            for (split, table), n in zip(tables.items(), COUNTS.values(), strict=True)}  # fmt: skip
    with pytest.raises(ValueError, match=r"^toy, train: expected columns .*, found class, extra,"):
        check_tables(more, COLUMNS, COUNTS, "toy")


def test_offsets_that_do_not_fit_the_values_are_refused(tables):
    for offsets in ([0, 1, 2, 4], [1, 1, 2, 3], [0, 2, 1, 3]):
        tables["train"]["tags"] = Ragged(np.ones(3, np.uint8), np.array(offsets))
        with pytest.raises(
            ValueError, match=r"^toy, train, column tags: expected offsets that rise from 0 to 3, found"
        ):
            check_tables(tables, COLUMNS, COUNTS, "toy")


def test_columns_by_their_makers():
    assert image(4, 5, 3) == Column("image", (4, 5, 3), "uint8")
    assert label(str(d) for d in range(3)).names == ("0", "1", "2")
    assert number() == Column("number", (), "float32")
    assert number("int16", 2, 3).shape == (2, 3)
    assert (text().dtype, tokens().dtype) == ("uint8", "int64")
