"""Tiny Shakespeare: language modelling of the speeches in several plays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.formats.text_files import read_text
from fedjax_layers.data.tables.columns import Ragged, Tables, text
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.parts import take_parts
from fedjax_layers.data.tables.source import Layout, Source
from fedjax_layers.data.text.encoding import encode, number_texts, row_ids, windows
from fedjax_layers.data.text.topics import topic_strata


def _tiny_shakespeare(
    tables: Tables,
    provenance: str,
    *,
    tokens: str = "char",
    length: int = 80,
    vocabulary: int | None = None,
    topics: int = 0,
    limit: int | None = None,
) -> Dataset:
    """Make windows ``[N, length]`` of a speech's characters, and for each character the next one.

    A document is one speech: the lines after ``SPEAKER:``, without that header, which would give the client away, and
    without the blank line after them. Windows are adjacent within a speech, so each character but a speech's first is
    predicted exactly once. The natural clients are the 299 speakers, as they are spelled.

    There is no official training part, so the vocabulary is that of all speeches, whatever the ``limit``: the 65
    characters in them. With ``tokens="word"``, words that occur only in a client's test speeches get numbers as well; a
    smaller ``vocabulary`` keeps most of them unknown. For bytes this does not matter.

    Args:
      tables: columns ``text`` and ``speaker``, one row per speech.
      provenance: line on the source of the data.
      tokens: units of the text: ``"char"``, ``"byte"``, ``"word"`` for words, punctuation marks and line ends, or the
        path of a ``tokenizer.json``.
      length: T, the number of tokens in a window; LEAF's windows of Shakespeare have 80.
      vocabulary: V, the largest number of tokens, ``<pad>`` and ``<unk>`` included; ``None`` keeps all.
      topics: number of clusters of speeches by their words, which are the strata; 0 for none.
      limit: number of first speeches to take; ``None`` takes all.

    Raises:
      ValueError: an unknown kind of token, or a number out of range.
    """
    examples = take_parts(tables, limit=limit)
    encoded, names = encode(examples.ragged("text"), take_parts(tables).ragged("text"), tokens, vocabulary)
    inputs, targets, rows = windows(encoded, length)
    clients, client_names = number_texts(examples.ragged("speaker"))
    strata, strata_names = topic_strata(examples.ragged("text"), topics, rows.document)
    return Dataset(
        name="tiny_shakespeare",
        inputs=inputs,
        labels=targets,
        class_names=names,
        clients=clients[rows.document],
        client_names=client_names,
        preprocess=None,
        source=provenance,
        licence=TINY_SHAKESPEARE.licence,
        example_ids=row_ids(examples.ids, rows),
        task="language_modelling",
        strata=strata,
        strata_names=strata_names,
    )


def _read(files: Mapping[str, Path]) -> Tables:
    path = files["input.txt"]
    return _speeches(read_text(path), str(path))


def _from_stock(splits: Mapping[str, Mapping[str, Any]]) -> Tables:
    """Join the three pieces of the stock set, which cuts the file after fixed numbers of characters."""
    parts = [splits[split]["text"][0] for split in ("train", "validation", "test")]
    return _speeches(b"".join(parts).decode(), "TFDS tiny_shakespeare")


def _speeches(content: str, where: str) -> Tables:
    """Split a text into speeches and speakers, without the 125 or so headers that no speech follows."""
    texts, speakers = [], []
    line = 1
    for block in content.split("\n\n"):
        header, _, speech = block.lstrip("\n").rstrip("\n").partition("\n")
        if not header.endswith(":"):
            place = line + len(block) - len(block.lstrip("\n"))
            raise ValueError(f"{where}, line {place}: expected 'SPEAKER:' after a blank line, found {header[:40]!r}")
        if speech:
            texts.append(speech)
            speakers.append(header[:-1])
        line += block.count("\n") + 2
    return {"train": {"text": Ragged.of_texts(texts), "speaker": Ragged.of_texts(speakers)}}


TINY_SHAKESPEARE = Source(
    name="tiny_shakespeare",
    title="language modelling of Shakespeare's plays",
    task="language_modelling",
    licence="public domain",
    citation="A. Karpathy, char-rnn (2015); W. Shakespeare",
    build=_tiny_shakespeare,
    classes=67,
    clients="speaker",
    columns={"text": text(), "speaker": text()},
    layouts=(
        Layout(
            (
                SourceFile(
                    "input.txt",
                    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
                    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
                ),
            ),
            _read,
            {"train": 7_097},
        ),
    ),
    stock="tiny_shakespeare",
    from_stock=_from_stock,
)
