"""Penn Treebank from files in Mikolov's form."""

import numpy as np
import pytest

from fedjax_layers.data import DATASETS, load_dataset

PARTS = {
    "train": " the cat sat \n the <unk> sat on N mats \n the end \n",
    "valid": " the dog sat \n",
    "test": " no end \n",
}


@pytest.fixture
def treebank(tmp_path):
    """The three files."""
    folder = tmp_path / "penn_treebank"
    folder.mkdir()
    for part, text in PARTS.items():
        (folder / f"ptb.{part}.txt").write_text(text)
    return folder


def spelled(data, numbers):
    return [[data.class_names[i] for i in row if i > 0] for row in numbers]


def test_penn_treebank_small_files_of_the_official_layout(treebank, load_small):
    data = load_small(DATASETS["penn_treebank"], length=4)
    assert data.task == "language_modelling"
    assert data.clients is None
    # <pad>, <unk>, then by frequency: the and <eos> three times, sat twice
    assert data.class_names[:5] == ("<pad>", "<unk>", "<eos>", "the", "sat")
    assert spelled(data, data.inputs) == [
        ["the", "cat", "sat"],
        ["the", "<unk>", "sat", "on"],
        ["N", "mats"],
        ["the", "end"],
    ]
    assert spelled(data, data.labels) == [
        ["cat", "sat", "<eos>"],
        ["<unk>", "sat", "on", "N"],
        ["mats", "<eos>"],
        ["end", "<eos>"],
    ]
    assert (data.labels[0, 3], data.labels[2, 2]) == (-1, -1)
    assert len(set(data.example_ids.tolist())) == 4


def test_other_parts_use_the_training_words(treebank, load_small):
    data = load_small(DATASETS["penn_treebank"], split="val", length=4)
    assert spelled(data, data.inputs) == [["the", "<unk>", "sat"]]
    every = load_small(DATASETS["penn_treebank"], split="all", length=9)
    assert every.official_test.tolist() == [False] * 4 + [True]


def test_shards_are_clients_and_windows_run_on_within_them(treebank, load_small):
    data = load_small(DATASETS["penn_treebank"], shards=2, length=6)
    assert data.client_names == ("shard 0", "shard 1")
    assert spelled(data, data.inputs) == [
        ["the", "cat", "sat", "<eos>"][:3],
        ["the", "<unk>", "sat", "on", "N", "mats"],
        ["<eos>", "the", "end"],
    ]
    assert data.clients.tolist() == [0, 1, 1]
    whole = load_small(DATASETS["penn_treebank"], shards=1, length=99)
    words = " ".join(PARTS["train"].replace("\n", "<eos>").split())
    assert " ".join(spelled(whole, whole.inputs)[0]) + " <eos>" == words


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shards": 4}, r"shards: expected 0..3, the number of lines, got 4"),
        ({"shards": 2, "split": "all"}, "shards: expected 0 with split='all', got 2"),
        ({"split": "valid"}, "split: expected one of all, test, train, val, got 'valid'"),
        ({"length": 0}, "length: expected at least 1, got 0"),
    ],
)
def test_options_out_of_range_are_refused(treebank, load_small, options, message):
    with pytest.raises(ValueError, match=message):
        load_small(DATASETS["penn_treebank"], **options)


def test_damaged_files_are_refused(treebank, load_small):
    path = treebank / "ptb.valid.txt"
    path.write_text("the dog sat")
    with pytest.raises(ValueError, match=r"ptb.valid.txt, line 1: expected a line feed at the end, found none"):
        load_small(DATASETS["penn_treebank"])
    path.write_bytes(b"the dog\n\xff\n")
    with pytest.raises(ValueError, match=r"ptb.valid.txt, line 2: expected UTF-8 text, found byte 0xff"):
        load_small(DATASETS["penn_treebank"])


def test_the_full_set_is_counted_and_where_to_get_it_is_said(treebank, tmp_path, monkeypatch):
    monkeypatch.setenv("FEDJAX_LAYERS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match="penn_treebank, train, column text: expected 42068 examples, found 3"):
        load_dataset("penn_treebank", tmp_path)
    (treebank / "ptb.train.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"files ptb.train.txt \(the other 2 .*simple-examples.tgz"):
        load_dataset("penn_treebank", tmp_path)


def test_bytes_keep_the_lines(treebank, load_small):
    data = load_small(DATASETS["penn_treebank"], tokens="byte", length=99)
    assert bytes(data.inputs[0][data.inputs[0] > 0]) == b" the cat sat "
    assert np.flatnonzero(data.labels[0] == ord("\n")).tolist() == [12]
