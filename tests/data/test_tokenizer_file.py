"""A tokenizer.json from a local path: its numbers, its names, and what it has no number for."""

import json
import re
import sys

import numpy as np
import pytest

from fedjax_layers.data.tables.columns import Ragged
from fedjax_layers.data.text.encoding import decode, encode

TEXTS = Ragged.of_texts(["good day", "day after day"])


def write(folder, vocabulary, unknown=None):
    """A tokenizer of words at spaces, as the library itself writes one."""
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": unknown or "<none>"}
    path = folder / "tokenizer.json"
    parts = {"truncation": None, "padding": None, "normalizer": None, "post_processor": None, "decoder": None}
    spaces = {"type": "WhitespaceSplit"}
    content = {"version": "1.0", **parts, "added_tokens": [], "pre_tokenizer": spaces, "model": model}
    path.write_text(json.dumps(content))
    return str(path)


def test_numbers_and_names_are_the_files(tmp_path):
    path = write(tmp_path, {"day": 0, "good": 2, "after": 5})
    encoded, names = encode(TEXTS, TEXTS, path)
    assert [row.tolist() for row in encoded] == [[2, 0], [0, 5, 0]]
    assert names == ("day", "", "good", "", "", "after")
    assert encoded.values.dtype == np.uint8
    assert decode(encoded[1], names) == ["day", "after", "day"]


def test_an_unknown_token_has_its_number_or_is_refused(tmp_path):
    path = write(tmp_path, {"day": 0, "good": 1, "[UNK]": 2}, unknown="[UNK]")
    assert encode(TEXTS, TEXTS, path)[0][1].tolist() == [0, 2, 0]
    path = write(tmp_path, {"day": 0, "good": 1})
    says = f"{path}: expected a number for every token, got none for one of text 1"
    with pytest.raises(ValueError, match=re.escape(says)):
        encode(TEXTS, TEXTS, path)


def test_an_unknown_number_is_refused():
    with pytest.raises(ValueError, match=re.escape("numbers: expected token numbers 0..1, got 7 at place 2")):
        decode(np.array([0, 1, 7]), ("a", "b"))


@pytest.mark.parametrize("content", ["", "{}", '{"model": 3}', "["])
def test_another_file_is_named(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=re.escape(f"{path}: expected a tokenizer.json")):
        encode(TEXTS, TEXTS, str(path))


def test_a_missing_file_or_package_is_named(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=re.escape("none.json")):
        encode(TEXTS, TEXTS, str(tmp_path / "none.json"))
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ValueError, match=re.escape("expected the package tokenizers")):
        encode(TEXTS, TEXTS, "tokenizer.json")


def test_its_vocabulary_is_not_to_be_chosen(tmp_path):
    path = write(tmp_path, {"day": 0})
    with pytest.raises(ValueError, match=re.escape("vocabulary: expected None for tokens=")):
        encode(TEXTS, TEXTS, path, 100)


@pytest.mark.parametrize("tokens", ["byte", "char", "word"])
def test_an_empty_document_is_named(tokens):
    texts = Ragged.of_texts(["one", "", "two"])
    with pytest.raises(ValueError, match=re.escape("texts: expected a token at least in each, got none in text 1")):
        encode(texts, texts, tokens)
