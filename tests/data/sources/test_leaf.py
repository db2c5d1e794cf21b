"""FEMNIST and Sentiment140 by user, from files in LEAF's form."""

import csv
import json

import numpy as np
import pytest

from fedjax_layers.data import DATASETS, load_dataset

TWEETS = {"ann": [("so happy", 1), ("so sad", 0)], "bob": [("Bob's fine", 1)], "cy": [("no", 0), ("no!", 0), ("ok", 1)]}


def write(path, users):
    """A LEAF file: ``{user: (x, y)}``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "users": list(users),
        "num_samples": [len(y) for _, y in users.values()],
        "user_data": {user: {"x": x, "y": y} for user, (x, y) in users.items()},
    }
    path.write_text(json.dumps(content))
    return content


def pictures(*levels):
    """Flat pictures of one grey level each, as LEAF writes them."""
    return [(np.full(784, level) / 255).tolist() for level in levels]


@pytest.fixture
def femnist(tmp_path):
    """Two files with three writers."""
    folder = tmp_path / "femnist/all_data"
    write(folder / "all_data_0.json", {"f0": (pictures(0, 128), [0, 61]), "f1": (pictures(255), [10])})
    write(folder / "all_data_1.json", {"a9": (pictures(7, 8, 9), [36, 35, 9])})
    return folder


def test_femnist_small_files_of_the_official_layout(femnist, load_small):
    data = load_small(DATASETS["femnist"])
    assert data.inputs.shape == (6, 28, 28, 1)
    assert data.inputs.dtype == np.uint8
    assert data.inputs[:, 3, 4, 0].tolist() == [0, 128, 255, 7, 8, 9]
    assert [data.class_names[c] for c in data.labels] == ["0", "z", "A", "a", "Z", "9"]
    assert data.client_names == ("a9", "f0", "f1")
    assert data.clients.tolist() == [1, 1, 2, 0, 0, 0]
    np.testing.assert_allclose(data.preprocess(data.inputs)[1, 0, 0], 128 / 255, rtol=1e-6)


def test_femnist_writers_by_size(femnist, load_small):
    largest = load_small(DATASETS["femnist"], ranks=(1, 2))
    assert largest.client_names == ("a9", "f0")
    assert load_small(DATASETS["femnist"], ranks=(2, 9)).client_names == ("f0", "f1")
    enough = load_small(DATASETS["femnist"], min_examples=3)
    assert enough.client_names == ("a9",)
    assert enough.example_ids.tolist() == [3, 4, 5]


def test_femnist_train_and_test_small_files_of_the_official_layout(tmp_path, load_small):
    folder = tmp_path / "femnist"
    write(folder / "train/all_data_0_keep_0_train_9.json", {"f0": (pictures(1, 2), [1, 2])})
    write(folder / "test/all_data_0_keep_0_test_9.json", {"f0": (pictures(3), [3])})
    data = load_small(DATASETS["femnist"])
    assert data.labels.tolist() == [1, 2, 3]
    assert data.official_test.tolist() == [False, False, True]
    assert data.clients.tolist() == [0, 0, 0]
    assert load_small(DATASETS["femnist"], split="test").labels.tolist() == [3]


def test_femnist_says_what_is_missing_and_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"all_data/all_data_\*.json or .*LEAF's preprocess.sh makes them"):
        load_dataset("femnist", tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:200], "all_data_0.json: expected a complete JSON file, found a broken one"),
        (lambda text: "[1, 2]", "all_data_0.json: expected an object with users, num_samples, user_data, found list"),
        (lambda text: text.replace('"user_data"', '"data"'), "all_data_0.json: .*found data, num_samples, users"),
        (lambda text: text.replace("[2, 1]", "[2, 3]"), "user f1: expected 3 of each, found 1 inputs and 1 labels"),
        (lambda text: text.replace("[2, 1]", "[2]"), "expected num_samples of 2 users, found 1"),
        (lambda text: text.replace("[0, 61]", "[0, 62]"), r"user f0, example 1: expected a class 0..61, found 62"),
        (lambda text: text.replace("[0, 61]", "[0, null]"), r"user f0, example 1: expected a class 0..61, found None"),
        (lambda text: text.replace("[[0.0, 0.0,", "[[0.0,"), "user f0, example 0: expected 784 pixels, found 783"),
        (lambda text: text.replace("[[0.0, 0.0,", "[[0.0, 1.5,"), r"user f0, example 0: expected pixels k/255 .* 1.5"),
        (lambda text: text.replace('"f1": {"x"', '"f2": {"x"'), "user f1: expected lists x and y, found none"),
    ],
)
def test_femnist_refuses_other_files(femnist, load_small, change, message):
    path = femnist / "all_data_0.json"
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))
    with pytest.raises(ValueError, match=message) as caught:
        load_small(DATASETS["femnist"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ranks": (0, 2)}, r"ranks: expected first and last rank, counted from 1, got \(0, 2\)"),
        ({"ranks": (3,)}, r"ranks: expected first and last rank, counted from 1, got \(3,\)"),
        ({"ranks": (8, 9)}, r"ranks, min_examples: expected them to leave .* of 3 users, of whom the largest has 3"),
        ({"min_examples": 4}, r"ranks, min_examples: .*got all and 4"),
        ({"min_examples": 0}, "min_examples: expected at least 1, got 0"),
    ],
)
def test_ranks_that_leave_no_user_are_refused(femnist, load_small, options, message):
    with pytest.raises(ValueError, match=message):
        load_small(DATASETS["femnist"], **options)


def leaf_tweets(folder, name="all_data.json"):
    """The tweets in LEAF's form."""
    users = {
        user: ([["1", "Sat May 16", "NO_QUERY", user, text, "training"] for text, _ in own], [y for _, y in own])
        for user, own in TWEETS.items()
    }
    write(folder / name, users)


def csv_tweets(folder):
    """The tweets in the form of the original file, Latin-1."""
    folder.mkdir(parents=True)
    with (folder / "training.1600000.processed.noemoticon.csv").open("w", encoding="iso-8859-1", newline="") as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
        for user, own in TWEETS.items():
            for text, y in own:
                writer.writerow([4 * y, "1", "Sat May 16", "NO_QUERY", user, text])


@pytest.mark.parametrize("form", [leaf_tweets, csv_tweets])
def test_sent140_small_files_of_the_official_layout(tmp_path, load_small, form):
    form(tmp_path / "sent140")
    data = load_small(DATASETS["sent140"], tokens="byte", length=12)
    assert [bytes(row).rstrip(b"\0").decode() for row in data.inputs] == [t for own in TWEETS.values() for t, _ in own]
    assert data.labels.tolist() == [1, 0, 1, 0, 0, 1]
    assert data.class_names == ("negative", "positive")
    assert data.client_names == ("ann", "bob", "cy")
    assert data.clients.tolist() == [0, 0, 1, 2, 2, 2]


def test_sent140_words_are_numbered_by_the_users_taken(tmp_path, load_small):
    leaf_tweets(tmp_path / "sent140")
    data = load_small(DATASETS["sent140"], ranks=(1, 1), length=3)
    assert data.client_names == ("cy",)
    # no (twice) is 2; then "!" and "ok" in the order of their code points
    assert data.inputs.tolist() == [[2, 0, 0], [2, 3, 0], [4, 0, 0]]


def test_sent140_test_words_get_no_number(tmp_path, load_small):
    leaf_tweets(tmp_path / "sent140", "train/all_data_0_train_9.json")
    row = ["1", "Sat May 16", "NO_QUERY", "ann", "utterly sad", "training"]
    write(tmp_path / "sent140/test/all_data_0_test_9.json", {"ann": ([row], [0])})
    data = load_small(DATASETS["sent140"], length=2)
    assert data.official_test.tolist() == [False] * 6 + [True]
    unknown, sad = data.inputs[6]
    assert unknown == 1
    assert sad == data.inputs[1, 1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('"4","1","d","q","u"', r"csv: expected 6 cells polarity, .*, found 5 in line 7"),
        ('"2","1","d","q","u","t"', "csv, line 7, column polarity: expected 0 or 4, found '2'"),
        ('"4","1","d","q","u","t', "csv, line 7: expected quoted cells, found unexpected end of data"),
    ],
)
def test_sent140_refuses_other_lines(tmp_path, load_small, line, message):
    csv_tweets(tmp_path / "sent140")
    with (tmp_path / "sent140/training.1600000.processed.noemoticon.csv").open("a") as stream:
        stream.write(line)
    with pytest.raises(ValueError, match=message):
        load_small(DATASETS["sent140"])


def test_sent140_has_1_600_000_tweets(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDJAX_LAYERS_CACHE", str(tmp_path / "cache"))
    csv_tweets(tmp_path / "sent140")
    with pytest.raises(ValueError, match="sent140, train, column tweet: expected 1600000 examples, found 6"):
        load_dataset("sent140", tmp_path)


def test_sent140_reads_what_tfds_yields():
    yields = {"text": [b"good", b"bad"], "user": [b"u", b"v"], "polarity": [np.int32(4), np.int32(0)]}
    tables = DATASETS["sent140"].from_stock({"train": yields, "test": {"polarity": [np.int32(2)]}})
    assert tables["train"]["tweet"].texts() == ["good", "bad"]
    assert tables["train"]["label"].tolist() == [1, 0]
