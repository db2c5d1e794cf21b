"""Sentiment140: tweets, positive or negative, by user."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.formats.archives import check_plain
from fedjax_layers.data.sources.unshipped.leaf import OBTAIN, chosen_clients, layouts, read_users
from fedjax_layers.data.tables.columns import Ragged, Table, Tables, label, text
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.parts import take_parts
from fedjax_layers.data.tables.source import Layout, Source
from fedjax_layers.data.text.encoding import encode, pad_to, words

_LABELS = ("negative", "positive")
_CSV = "training.1600000.processed.noemoticon.csv"
_CELLS = ("polarity", "id", "date", "query", "user", "text")
_TEXT = 4  # position of the text in LEAF's fields of a tweet: id, date, query, user, text, part
_POLARITY = {"0": 0, "4": 1}


def _sent140(
    tables: Tables,
    provenance: str,
    *,
    split: str = "all",
    ranks: tuple[int, ...] = (),
    min_examples: int = 1,
    tokens: str = "word",
    length: int = 64,
    vocabulary: int | None = None,
) -> Dataset:
    """Make tweets ``[N, length]`` of token numbers, labelled negative or positive by the smiley removed from them.

    The natural clients are the users. PLayer-FL takes those ranked 36 to 50 by number of tweets in the original CSV:
    ``ranks=(36, 50)``; its tokens are those of BERT (119 at most), with BERT's embeddings. The vocabulary is that of
    the chosen users, of their training part where LEAF has split the data; tweets that a later split within clients
    sets apart for testing are included. For bytes this does not matter.

    Args:
      tables: columns ``tweet``, ``label`` and ``user``.
      provenance: line on the source of the data.
      split: part of the data: ``"all"``; or ``"train"`` or ``"test"`` where LEAF has split them.
      ranks: first and last rank, counted from 1, of the users to take by their number of tweets; empty takes all.
      min_examples: least number of tweets of a user; others are left out, as by LEAF's ``-k``.
      tokens: unit of texts: ``"word"`` for words and punctuation marks in lower case, ``"char"``, ``"byte"`` (of
        UTF-8).
      length: T, the number of tokens of a tweet that are kept.
      vocabulary: V, the largest number of tokens, ``<pad>`` and ``<unk>`` included; ``None`` is 10,000 for words and
        all characters.

    Raises:
      ValueError: an unknown split or kind of token, or ranks or numbers out of range.
    """
    examples = take_parts(tables, split)
    rows, clients, names = chosen_clients(examples, "user", ranks, min_examples)
    tweets = examples.ragged("tweet")
    test = examples.official_test
    training = rows if test is None or test[rows].all() else rows[~test[rows]]
    usual = 10_000 if tokens == "word" else None
    encoded, _ = encode(
        _taken(tweets, rows),
        _taken(tweets, training),
        tokens,
        usual if vocabulary is None else vocabulary,
        _split_words,
    )
    return Dataset(
        name="sent140",
        inputs=pad_to(encoded, length),
        labels=examples.array("label")[rows].astype(np.int32),
        class_names=_LABELS,
        clients=clients,
        client_names=names,
        preprocess=None,
        source=provenance,
        licence=SENT140.licence,
        example_ids=examples.ids[rows],
        official_test=None if test is None else test[rows],
    )


def _taken(texts: Ragged, rows: np.ndarray) -> Ragged:
    return Ragged.of((texts[row] for row in rows.tolist()), "uint8")


def _split_words(tweet: str) -> list[str]:
    return words(tweet.lower())


def _table(paths: list[Path]) -> Table:
    tweets: list[str] = []
    labels: list[int] = []
    users: list[str] = []
    for path in paths:
        for user, inputs, classes in read_users(path):
            for row, (cells, number) in enumerate(zip(inputs, classes, strict=True)):
                if not isinstance(cells, list) or len(cells) <= _TEXT or str(number) not in ("0", "1"):
                    expected = "a list id, date, query, user, text and a label 0 or 1"
                    found = f"{len(cells) if isinstance(cells, list) else 'no'} cells and label {number!r}"
                    raise ValueError(f"{path}, user {user}, example {row}: expected {expected}, found {found}")
                tweets.append(str(cells[_TEXT]))
                labels.append(int(number))
            users += [user] * len(classes)
    return _columns(tweets, labels, users)


def _read_csv(files: Mapping[str, Path]) -> Tables:
    """Read the original file: Latin-1, quoted cells, no header."""
    path = files[_CSV]
    check_plain(path)
    tweets, labels, users = [], [], []
    with path.open(encoding="iso-8859-1", newline="") as stream:
        lines = csv.reader(stream, strict=True)
        try:
            for cells in lines:
                if len(cells) != len(_CELLS):
                    found = f"{len(cells)} in line {lines.line_num}"
                    raise ValueError(f"{path}: expected {len(_CELLS)} cells {', '.join(_CELLS)}, found {found}")
                if cells[0] not in _POLARITY:
                    where = f"{path}, line {lines.line_num}, column polarity"
                    raise ValueError(f"{where}: expected 0 or 4, found {cells[0]!r}")
                labels.append(_POLARITY[cells[0]])
                users.append(cells[4])
                tweets.append(cells[5])
        except csv.Error as error:
            raise ValueError(f"{path}, line {lines.line_num}: expected quoted cells, found {error}") from error
    return {"train": _columns(tweets, labels, users)}


def _from_stock(splits: Mapping[str, Mapping[str, Any]]) -> Tables:
    """Read the training part of stock TFDS's ``sentiment140``; the other part has neutral tweets, and few users."""
    part = splits["train"]
    labels = [_POLARITY[str(int(polarity))] for polarity in part["polarity"]]
    return {"train": _columns([t.decode() for t in part["text"]], labels, [u.decode() for u in part["user"]])}


def _columns(tweets: list[str], labels: list[int], users: list[str]) -> Table:
    return {
        "tweet": Ragged.of_texts(tweets),
        "label": np.array(labels, np.int64),
        "user": Ragged.of_texts(users),
    }


SENT140 = Source(
    name="sent140",
    title="sentiment of tweets by user (Sentiment140, LEAF)",
    task="classification",
    licence="none published; research use",
    citation="A. Go, R. Bhayani, L. Huang, Twitter Sentiment Classification using Distant Supervision (2009)",
    build=_sent140,
    classes=2,
    clients="user",
    columns={"tweet": text(), "label": label(_LABELS), "user": text()},
    layouts=(
        Layout((SourceFile(_CSV),), _read_csv, {"train": 1_600_000}),
        *layouts("all_data.json", _table),
    ),
    stock="sentiment140",
    from_stock=_from_stock,
    obtain=f"{OBTAIN}; {_CSV} is in trainingandtestdata.zip at http://help.sentiment140.com/for-students",
)
