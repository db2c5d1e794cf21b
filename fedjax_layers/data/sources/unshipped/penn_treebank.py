"""Penn Treebank as Mikolov prepared it: language modelling of the Wall Street Journal with 10,000 words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.formats.text_files import read_text
from fedjax_layers.data.tables.columns import Ragged, Tables, text
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.parts import take_parts
from fedjax_layers.data.tables.source import Layout, Source
from fedjax_layers.data.text.encoding import encode, row_ids, spaced_words, windows
from fedjax_layers.data.text.topics import topic_strata

_FILES = {"train": "ptb.train.txt", "val": "ptb.valid.txt", "test": "ptb.test.txt"}


def _penn_treebank(
    tables: Tables,
    provenance: str,
    *,
    split: str = "train",
    shards: int = 0,
    tokens: str = "word",
    length: int = 64,
    vocabulary: int | None = None,
    topics: int = 0,
    limit: int | None = None,
) -> Dataset:
    """Make windows ``[N, length]`` of tokens, and for each token the next one.

    Words are those of the files: numbers are ``N``, rare words ``<unk>``, and every line (a sentence) ends with
    ``<eos>``, which makes 10,000 different ones. Words and characters get numbers by frequency in the official training
    part, whichever part is loaded.

    The files name no authors or articles. With ``shards``, runs of consecutive lines are the natural clients, and
    windows continue from line to line within a shard; without, there are no clients, and a window stays within its
    line.

    Args:
      tables: column ``text``, one row per line.
      provenance: line on the source of the data.
      split: official part: ``"train"`` (42,068 lines, 929,589 words), ``"val"`` (3,370, 73,760), ``"test"`` (3,761,
        82,430) or ``"all"``.
      shards: number of runs of consecutive lines into which the part is cut, with nearly equal numbers of lines; 0 for
        none.
      tokens: unit of texts: ``"word"``, ``"char"``, ``"byte"`` (of UTF-8, lines ending with a line feed) or path of a
        ``tokenizer.json``.
      length: T, the number of tokens in a window.
      vocabulary: V, the largest number of tokens, ``<pad>`` and ``<unk>`` included; ``None`` keeps all.
      topics: number of clusters of lines, or of shards, by their words, which are the strata; 0 for none.
      limit: number of first lines to take; ``None`` takes all.

    Raises:
      ValueError: an unknown split or kind of token, a number out of range, or shards of all parts, of which one would
        hold training and other lines.
    """
    if shards and split == "all":
        raise ValueError(f"shards: expected 0 with split='all', got {shards}")
    examples = take_parts(tables, split, limit)
    training = take_parts(tables, "train").ragged("text")
    encoded, names = encode(examples.ragged("text"), training, tokens, vocabulary, spaced_words)
    documents, first_line = _documents(encoded, shards)
    inputs, targets, rows = windows(documents, length)
    strata, strata_names = topic_strata(_documents(examples.ragged("text"), shards)[0], topics, rows.document)
    test = examples.official_test
    return Dataset(
        name="penn_treebank",
        inputs=inputs,
        labels=targets,
        class_names=names,
        clients=rows.document.astype(np.int32) if shards else None,
        client_names=tuple(f"shard {i}" for i in range(shards)),
        preprocess=None,
        source=provenance,
        licence=PENN_TREEBANK.licence,
        example_ids=row_ids(examples.ids[first_line], rows),
        task="language_modelling",
        strata=strata,
        strata_names=strata_names,
        official_test=None if test is None else test[first_line[rows.document]],
    )


def _documents(lines: Ragged, shards: int) -> tuple[Ragged, np.ndarray]:
    """Make the sequences within which windows stay, and the first line ``[D]`` of each."""
    if not shards:
        return lines, np.arange(len(lines))
    if not 1 <= shards <= len(lines):
        raise ValueError(f"shards: expected 0..{len(lines)}, the number of lines, got {shards}")
    bounds = np.arange(shards + 1) * len(lines) // shards
    return Ragged(lines.values, lines.offsets[bounds]), bounds[:-1]


def _read(files: Mapping[str, Path]) -> Tables:
    """Read the lines of the three files, including line feeds."""
    return {split: {"text": Ragged.of_texts(_lines(files[name]))} for split, name in _FILES.items()}


def _lines(path: Path) -> list[str]:
    lines = read_text(path).split("\n")
    if lines.pop():
        raise ValueError(f"{path}, line {len(lines) + 1}: expected a line feed at the end, found none (truncated)")
    return [f"{line}\n" for line in lines]


PENN_TREEBANK = Source(
    name="penn_treebank",
    title="language modelling of newspaper text, 10,000 words",
    task="language_modelling",
    licence="LDC User Agreement for Non-Members (the Treebank, LDC99T42)",
    citation="M. Marcus, B. Santorini, M. Marcinkiewicz (1993); T. Mikolov et al., Recurrent neural network based "
    "language model (2010)",
    build=_penn_treebank,
    classes=10_001,
    clients="shard of neighbouring lines",
    columns={"text": text()},
    layouts=(
        Layout(
            tuple(SourceFile(name) for name in _FILES.values()),
            _read,
            {"train": 42_068, "val": 3_370, "test": 3_761},
        ),
    ),
    obtain="the files are in data/ of simple-examples.tgz at http://www.fit.vutbr.cz/~imikolov/rnnlm/",
)
