import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedjax_layers.data.tables.columns import Ragged
from fedjax_layers.data.text.encoding import (
    BYTE_NAMES,
    cut,
    encode,
    number_texts,
    pad_to,
    row_ids,
    windows,
    words,
)
from fedjax_layers.data.text.vocabulary import Vocabulary, id_dtype

LENGTHS = st.lists(st.integers(0, 30), max_size=8)


def tokens_of(lengths):
    """Documents in which each token is unlike every other: 1000 times the document, plus the place."""
    return Ragged.of((1000 * doc + 1 + np.arange(n) for doc, n in enumerate(lengths)), "int32")


@given(LENGTHS, st.integers(1, 12))
def test_windows_predict_every_token_once_and_from_its_own_document(lengths, length):
    documents = tokens_of(lengths)
    inputs, targets, rows = windows(documents, length)
    assert inputs.shape == targets.shape == rows.mask.shape == (len(rows.document), length)
    real = targets >= 0
    np.testing.assert_array_equal(real, rows.mask)
    # All tokens but the first of each document, each once and in order.
    expected = [token for doc in documents for token in doc[1:].tolist()]
    assert targets[real].tolist() == expected
    # The input is the token right before, which has to be of the same document.
    np.testing.assert_array_equal(inputs[real], targets[real] - 1)
    np.testing.assert_array_equal(inputs[real] // 1000, np.repeat(rows.document, real.sum(1)))
    assert (inputs[~real] == 0).all()
    assert (targets[~real] == -1).all()
    assert real.any(axis=1).all()  # no window is empty


def test_windows_by_hand():
    documents = Ragged.of([[5, 6, 7, 8], [9], [], [3, 4]], "uint16")
    inputs, targets, rows = windows(documents, 2)
    assert inputs.tolist() == [[5, 6], [7, 0], [3, 0]]
    assert targets.tolist() == [[6, 7], [8, -1], [4, -1]]
    assert rows.document.tolist() == [0, 0, 3]
    assert rows.number.tolist() == [0, 1, 0]
    assert inputs.dtype == np.uint16
    assert targets.dtype == np.int32


@given(LENGTHS, st.integers(1, 12))
def test_cut_keeps_every_token_and_fills_all_rows_but_a_document_s_last(lengths, length):
    documents = tokens_of(lengths)
    rows = cut(documents.lengths, length)
    filled = rows.fill(documents.values, -1)
    assert filled[rows.mask].tolist() == documents.values.tolist()
    owner = np.repeat(rows.document, rows.mask.sum(1))
    np.testing.assert_array_equal(documents.values // 1000, owner)
    last = np.append(rows.document[1:] != rows.document[:-1], True)[: len(rows.document)]
    assert rows.mask[~last].all()
    assert rows.mask.any(axis=1).all()


@given(LENGTHS, st.integers(1, 12))
def test_pad_to_keeps_the_start_of_each_sequence(lengths, length):
    documents = tokens_of(lengths)
    padded = pad_to(documents, length, -7)
    assert padded.shape == (len(lengths), length)
    for row, document in zip(padded, documents, strict=True):
        kept = document[:length].tolist()
        assert row.tolist() == kept + [-7] * (length - len(kept))


@pytest.mark.parametrize("function", [windows, pad_to])
def test_a_length_has_to_be_positive(function):
    with pytest.raises(ValueError, match="length: expected at least 1, got 0"):
        function(tokens_of([3]), 0)


def test_row_ids_do_not_depend_on_what_else_is_cut():
    rows = cut(np.array([5, 0, 3]), 2)
    ids = row_ids(np.array([12, 13, 14]), rows)
    assert ids.tolist() == [12_000_000, 12_000_001, 12_000_002, 14_000_000, 14_000_001]
    assert row_ids(np.array([14]), cut(np.array([3]), 2)).tolist() == ids[3:].tolist()


def test_row_ids_refuse_documents_with_more_rows_than_ids():
    with pytest.raises(ValueError, match="length: expected fewer than 1000000 rows per document, got 1000001"):
        row_ids(np.array([0]), cut(np.array([1_000_001]), 1))


def test_words_are_split_from_punctuation_and_keep_their_apostrophes():
    text = "Don't stop -- it's  naïve,\n“yes”!"
    assert words(text) == ["Don't", "stop", "-", "-", "it's", "naïve", ",", "\n", "“", "yes", "”", "!"]


def test_vocabulary_is_ordered_by_frequency_then_by_code_point():
    vocabulary = Vocabulary.of_words([["b", "a", "c"], ["c", "Z", "b", "c"]])
    assert vocabulary.names == ("<pad>", "<unk>", "c", "b", "Z", "a")
    # The order of the documents changes nothing.
    assert Vocabulary.of_words([["c", "Z", "b", "c"], ["b", "a", "c"]]) == vocabulary
    assert Vocabulary.of_words([["b", "a", "c"], ["c", "Z", "b", "c"]], limit=4).names == vocabulary.names[:4]
    assert vocabulary.encode_words(["a", "new", "c"]).tolist() == [5, 1, 2]


def test_spelled_out_special_tokens_keep_their_place():
    vocabulary = Vocabulary.of_words([["<unk>", "<unk>", "<pad>", "a"]])
    assert vocabulary.names == ("<pad>", "<unk>", "a")
    assert vocabulary.encode_words(["<pad>", "<unk>", "a"]).tolist() == [1, 1, 2]  # nothing in a text is padding


def test_vocabulary_needs_room_for_a_token():
    with pytest.raises(ValueError, match=r"vocabulary: expected at least 3, with <pad> and <unk>, got 2"):
        Vocabulary.of_words(["a"], limit=2)


@pytest.mark.parametrize(("size", "dtype"), [(256, "uint8"), (257, "uint16"), (65_536, "uint16"), (65_537, "int32")])
def test_numbers_are_stored_in_the_smallest_type(size, dtype):
    assert id_dtype(size) == dtype


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10), max_size=5))
def test_characters_are_those_of_python(texts):
    encoded, names = encode(Ragged.of_texts(texts), Ragged.of_texts(texts), "char")
    assert [[names[number] for number in entry] for entry in encoded] == [list(text) for text in texts]


def test_characters_outside_the_training_texts_are_unknown():
    encoded, names = encode(Ragged.of_texts(["aé", "ba€"]), Ragged.of_texts(["ab", "éa"]), "char")
    assert names == ("<pad>", "<unk>", "a", "b", "é")
    assert [entry.tolist() for entry in encoded] == [[2, 4], [3, 2, 1]]
    assert encoded.values.dtype == np.uint8


def test_words_outside_the_training_texts_are_unknown():
    encoded, names = encode(Ragged.of_texts(["an egg", "an ox"]), Ragged.of_texts(["an ox", "an ax"]), "word", 4)
    assert names == ("<pad>", "<unk>", "an", "ax")
    assert [entry.tolist() for entry in encoded] == [[2, 1], [2, 1]]


def test_bytes_are_their_own_numbers():
    encoded, names = encode(Ragged.of_texts(["é\n", "A"]), Ragged.of_texts([]), "byte")
    assert [entry.tolist() for entry in encoded] == [[0xC3, 0xA9, 0x0A], [0x41]]
    assert names == BYTE_NAMES
    assert (names[0x41], names[0x0A], len(set(names))) == ("A", "0x0a", 256)


def test_bytes_refuse_what_would_be_taken_for_padding():
    with pytest.raises(ValueError, match="expected no NUL byte, which is the padding, got one in text 2"):
        encode(Ragged.of_texts(["a", "", "b\0"]), Ragged.of_texts([]), "byte")


def test_bytes_have_no_vocabulary():
    with pytest.raises(ValueError, match="vocabulary: expected None for tokens='byte', which has its own, got 99"):
        encode(Ragged.of_texts(["a"]), Ragged.of_texts([]), "byte", 99)


def test_an_unknown_kind_of_token_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="tokens: expected one of byte, char, word, got 'words'; did you mean 'word'"):
        encode(Ragged.of_texts(["a"]), Ragged.of_texts(["a"]), "words")


def test_names_are_numbered_in_order_of_appearance():
    numbers, names = number_texts(Ragged.of_texts(["b", "a", "b", "c"]))
    assert numbers.tolist() == [0, 1, 0, 2]
    assert names == ("b", "a", "c")
