"""Sentiment: positive or negative sentences from three sites."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.formats.text_files import read_lines
from fedjax_layers.data.tables.columns import Ragged, Tables, label, text
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.parts import take_parts
from fedjax_layers.data.tables.source import Layout, Source
from fedjax_layers.data.text.encoding import encode, pad_to, words

SITES = ("amazon", "imdb", "yelp")
_LABELS = ("negative", "positive")
_FILES = {"amazon_cells_labelled.txt": "amazon", "imdb_labelled.txt": "imdb", "yelp_labelled.txt": "yelp"}
_SHA256 = (
    "47003fc0a0d4840b00e96e715b6189bad09e7443a3da41c4cbe12ffc79f86ae3",
    "aef2e49e3da25714d61175e3a6e68eeef74a20a2f914318dc3be9947ea86512d",
    "c76468b7b5c6e56a0804d728345c5f84aa2142ddb214420f61cc9cfd4c00d2ea",
)


def _sentiment(
    tables: Tables,
    provenance: str,
    *,
    tokens: str = "word",
    length: int | None = None,
    vocabulary: int | None = None,
) -> Dataset:
    """Make the set of 3,000 sentences of reviews, ``[3000, T]`` token numbers, half of them positive.

    The natural clients are the sites, 1,000 sentences each: products, films and restaurants.

    There is no official training part, so words and characters get numbers by frequency in all 3,000 sentences. Those
    that occur only in test sentences get one as well, which no training changes; a smaller ``vocabulary`` makes most of
    them ``<unk>``. For bytes this does not matter.

    Args:
      tables: columns ``sentence``, ``label`` and ``site``.
      provenance: line on the source of the data.
      tokens: unit of texts: ``"word"`` for words and punctuation marks in lower case, ``"char"``, ``"byte"`` (of
        UTF-8).
      length: T, the number of tokens of a sentence that are kept; ``None`` keeps all: 85 words, 479 characters or 479
        bytes.
      vocabulary: V, the largest number of tokens, ``<pad>`` and ``<unk>`` included; ``None`` is 2,000 for words and all
        characters.

    Raises:
      ValueError: an unknown kind of token, or a number out of range.
    """
    examples = take_parts(tables)
    sentences = examples.ragged("sentence")
    usual = 2_000 if tokens == "word" else None
    encoded, _ = encode(sentences, sentences, tokens, usual if vocabulary is None else vocabulary, _split_words)
    return Dataset(
        name="sentiment",
        inputs=pad_to(encoded, int(encoded.lengths.max()) if length is None else length),
        labels=examples.array("label").astype(np.int32),
        class_names=_LABELS,
        clients=examples.array("site").astype(np.int32),
        client_names=SITES,
        preprocess=None,
        source=provenance,
        licence=SENTIMENT.licence,
        example_ids=examples.ids,
    )


def _split_words(sentence: str) -> list[str]:
    return words(sentence.lower())


def _read(files: Mapping[str, Path]) -> Tables:
    """Read the sentences of the three sites, one site after the other."""
    sentences: list[str] = []
    labels: list[int] = []
    sites: list[int] = []
    for name, site in _FILES.items():
        lines = read_lines(files[name])  # sentences contain U+0085, which is no line end here
        for number, line in enumerate(lines, start=1):
            sentence, tab, score = line.rpartition("\t")
            if not tab or score not in ("0", "1"):
                where = f"{files[name]}, line {number}"
                raise ValueError(f"{where}: expected a sentence, a tab and 0 or 1, found {line[-40:]!r}")
            sentences.append(sentence)
            labels.append(int(score))
        sites += [SITES.index(site)] * len(lines)
    return {
        "train": {
            "sentence": Ragged.of_texts(sentences),
            "label": np.array(labels, np.int64),
            "site": np.array(sites, np.int64),
        }
    }


SENTIMENT = Source(
    name="sentiment",
    title="sentiment of review sentences from three sites",
    task="classification",
    licence="CC BY 4.0",
    citation="D. Kotzias, M. Denil, N. de Freitas, P. Smyth, From Group to Individual Labels using Deep Features "
    "(KDD 2015)",
    build=_sentiment,
    classes=2,
    clients="site",
    columns={"sentence": text(), "label": label(_LABELS), "site": label(SITES)},
    layouts=(
        Layout(
            tuple(SourceFile(name, sha) for name, sha in zip(_FILES, _SHA256, strict=True)),
            _read,
            {"train": 3_000},
        ),
    ),
    folder="sentiment_sentences",
    obtain="the UCI Machine Learning Repository offers it as data set 331",
)
