"""UD English EWT: web texts in five genres, for part-of-speech tagging or language modelling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.formats.text_files import read_lines
from fedjax_layers.data.tables.columns import Ragged, Table, Tables, label, text, tokens
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.parts import Examples, take_parts
from fedjax_layers.data.tables.source import Layout, Source
from fedjax_layers.data.text.encoding import END_OF_LINE, NO_TARGET, cut, encode, number_texts, row_ids, windows
from fedjax_layers.data.text.tokenizer_file import SUFFIX
from fedjax_layers.data.text.vocabulary import PAD_ID
from fedjax_layers.options import unknown_name

GENRES = ("answers", "email", "newsgroup", "reviews", "weblog")
TAGS = (
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM",
    "PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM", "VERB", "X",
)  # fmt: skip
_SPLITS = {"train": "train", "val": "dev", "test": "test"}  # our name: the files'
_NATURAL = ("document", "genre")
_TARGETS = ("tags", "tokens")
_DOCUMENT = "# newdoc id = "
_CELLS = 10  # of a word's line: ID FORM LEMMA UPOS and six more


def _ud_english_ewt(
    tables: Tables,
    provenance: str,
    *,
    target: str = "tags",
    split: str = "train",
    natural: str = "document",
    tokens: str = "word",
    length: int = 64,
    vocabulary: int | None = 10_000,
    limit: int | None = None,
) -> Dataset:
    """Make words ``[N, length]`` with their universal parts of speech, seventeen tags; or tokens with the next ones.

    A sentence longer than ``length`` continues in a further example, so no word is lost. Words are case-sensitive. They
    get numbers by frequency in the official training part, whichever part is loaded; by default nearly all that occur
    only once there stay ``<unk>``, so that a model learns to handle unknown words. Strata are the
    genres. No document is in more than one official part.

    For language modelling (FedTLU's data), the sentences of a document follow one another, each ended by ``<eos>``, or
    by a line feed where tokens are not words; windows are adjacent within a document.

    Args:
      tables: columns ``words`` (separated by tabs), ``tags``, ``document`` and ``genre``, one row per sentence.
      provenance: line on the source of the data.
      target: what is predicted: ``"tags"``, or ``"tokens"`` for language modelling.
      split: official part: ``"train"`` (12,544 sentences), ``"val"`` (2,001), ``"test"`` (2,077) or ``"all"``.
      natural: what a natural client is, ``"document"`` (540, 318 and 316) or ``"genre"`` (5).
      tokens: units of language modelling: ``"word"``, ``"char"``, ``"byte"`` (of UTF-8, words with a space between) or
        the path of a ``tokenizer.json``. Tags need words.
      length: T, the number of tokens in an example.
      vocabulary: V, the largest number of tokens, ``<pad>`` and ``<unk>`` included; ``None`` keeps every token of the
        training part. Bytes and a file have their own.
      limit: number of first sentences to take; ``None`` takes all.

    Raises:
      ValueError: an unknown target, split, client or kind of token, or a number out of range.
    """
    for name, value, known in (("target", target, _TARGETS), ("natural", natural, _NATURAL)):
        if value not in known:
            raise unknown_name(name, value, known)
    if target == "tags" and tokens != "word":
        raise ValueError(f"tokens: expected 'word' with target='tags', got {tokens!r}")
    examples = take_parts(tables, split, limit)
    make = _tagging if target == "tags" else _language
    inputs, labels, names, sentence, ids = make(examples, take_parts(tables, "train"), tokens, vocabulary, length)
    genre = examples.array("genre").astype(np.int32)
    clients, client_names = (genre, GENRES) if natural == "genre" else number_texts(examples.ragged("document"))
    test = examples.official_test
    return Dataset(
        name="ud_english_ewt",
        inputs=inputs,
        labels=labels,
        class_names=names,
        clients=clients[sentence],
        client_names=client_names,
        preprocess=None,
        source=provenance,
        licence=UD_ENGLISH_EWT.licence,
        example_ids=ids,
        task="tagging" if target == "tags" else "language_modelling",
        strata=genre[sentence],
        strata_names=GENRES,
        official_test=None if test is None else test[sentence],
    )


_Made = tuple[np.ndarray, np.ndarray, tuple[str, ...], np.ndarray, np.ndarray]


def _tagging(examples: Examples, training: Examples, tokens: str, vocabulary: int | None, length: int) -> _Made:
    """Make inputs, labels, names of classes, the sentence ``[N]`` of each example, and ids."""
    words, _ = encode(examples.ragged("words"), training.ragged("words"), tokens, vocabulary, _split_words)
    rows = cut(words.lengths, length)
    tags = rows.fill(examples.ragged("tags").values.astype(np.int32), NO_TARGET)
    return rows.fill(words.values, PAD_ID), tags, TAGS, rows.document, row_ids(examples.ids, rows)


def _language(examples: Examples, training: Examples, tokens: str, vocabulary: int | None, length: int) -> _Made:
    """Do the same as :func:`_tagging` for language; a window's sentence is the first of its document."""
    texts, first = _documents(examples, tokens)
    if tokens == "byte" or tokens.endswith(SUFFIX):
        vocabulary = None
    encoded, names = encode(texts, _documents(training, tokens)[0], tokens, vocabulary, _split_words)
    inputs, targets, rows = windows(encoded, length)
    return inputs, targets, names, first[rows.document], row_ids(examples.ids[first], rows)


def _documents(part: Examples, tokens: str) -> tuple[Ragged, np.ndarray]:
    """Join each document's consecutive sentences to one text, and return each document's first sentence ``[D]``."""
    number, _ = number_texts(part.ragged("document"))
    first = np.flatnonzero(np.diff(number, prepend=-1))
    between, close = ("\t", f"\t{END_OF_LINE}\t") if tokens == "word" else (" ", "\n")
    sentences = [sentence.replace("\t", between) + close for sentence in part.ragged("words").texts()]
    bounds = zip(first, [*first[1:], len(number)], strict=True)
    return Ragged.of_texts("".join(sentences[a:b]).removesuffix("\t") for a, b in bounds), first


def _split_words(sentence: str) -> list[str]:
    return sentence.split("\t")


def _read(files: Mapping[str, Path]) -> Tables:
    """Read the three parts, sentence by sentence."""
    return {split: _read_part(files[f"en_ewt-ud-{part}.conllu"]) for split, part in _SPLITS.items()}


def _read_part(path: Path) -> Table:
    """Read one CoNLL-U file (universaldependencies.org/format.html)."""
    words, tags, documents, genres = [], [], [], []
    for forms, numbers, document, genre in _sentences(path):
        words.append("\t".join(forms))
        tags.append(np.array(numbers, np.uint8))
        documents.append(document)
        genres.append(genre)
    return {
        "words": Ragged.of_texts(words),
        "tags": Ragged.of(tags, "uint8"),
        "document": Ragged.of_texts(documents),
        "genre": np.array(genres, np.int64),
    }


def _sentences(path: Path) -> Iterator[tuple[list[str], list[int], str, int]]:
    """Iterate over sentences: words, tags, document and genre."""
    tag_numbers = {tag: number for number, tag in enumerate(TAGS)}
    forms: list[str] = []
    tags: list[int] = []
    document, genre = "", -1
    lines = read_lines(path)
    for line_number, line in enumerate(lines, start=1):
        if line.startswith("#"):
            if line.startswith(_DOCUMENT):
                document = line.removeprefix(_DOCUMENT)
                genre = _genre(document, f"{path}, line {line_number}")
        elif line:
            word = _word(line, len(forms) + 1, tag_numbers, f"{path}, line {line_number}")
            if word is not None:
                forms.append(word[0])
                tags.append(word[1])
        elif forms:
            if not document:
                raise ValueError(f"{path}, line {line_number}: expected '{_DOCUMENT}...' before the first sentence")
            yield forms, tags, document, genre
            forms, tags = [], []
    if forms:
        raise ValueError(f"{path}, line {len(lines) + 1}: expected an empty line after the last sentence (truncated)")


def _word(line: str, expected: int, tag_numbers: Mapping[str, int], place: str) -> tuple[str, int] | None:
    """Parse form and tag of a word's line; ``None`` for a range such as ``1-2`` or an empty node such as ``1.1``."""
    cells = line.split("\t")
    if len(cells) != _CELLS:
        raise ValueError(f"{place}: expected {_CELLS} columns, found {len(cells)}")
    if not cells[0].isdecimal():
        first, separator, _ = cells[0].replace(".", "-").partition("-")
        if not separator or not first.isdecimal():
            raise ValueError(f"{place}, column ID: expected a number, a range or an empty node, found {cells[0]!r}")
        return None
    if int(cells[0]) != expected:
        raise ValueError(f"{place}, column ID: expected word {expected}, found {cells[0]}")
    if cells[3] not in tag_numbers:
        raise ValueError(f"{place}, column UPOS: expected one of {', '.join(TAGS)}, found {cells[3]!r}")
    return cells[1], tag_numbers[cells[3]]


def _genre(document: str, place: str) -> int:
    genre = document.partition("-")[0]
    if genre not in GENRES:
        raise ValueError(f"{place}: expected a document of {', '.join(GENRES)}, found {document!r}")
    return GENRES.index(genre)


UD_ENGLISH_EWT = Source(
    name="ud_english_ewt",
    title="part-of-speech tagging of English web texts",
    task="tagging",
    licence="CC BY-SA 4.0",
    citation="N. Silveira et al., A Gold Standard Dependency Corpus for English (LREC 2014); Universal Dependencies, "
    "UD_English-EWT after release 2.16",
    build=_ud_english_ewt,
    classes=len(TAGS),
    clients="document or genre",
    columns={"words": text(), "tags": tokens("uint8"), "document": text(), "genre": label(GENRES)},
    layouts=(
        Layout(
            (
                SourceFile(
                    "en_ewt-ud-train.conllu", "3fb78e2b55482c8ee00caa653af436c88c9e5bc9a73ce26e4ae3ddc79d2b7e7b"
                ),
                SourceFile("en_ewt-ud-dev.conllu", "531a54ff90d6ab12201c5a50c3e78e6ddac4de69abc4bce5d275d3cd29efe2b6"),
                SourceFile("en_ewt-ud-test.conllu", "e266e515a0a7547657ed3d90d9ba46487d6bd251f27ad4269d4e8a427c8555cd"),
            ),
            _read,
            {"train": 12_544, "val": 2_001, "test": 2_077},
        ),
    ),
    obtain="the files are in github.com/UniversalDependencies/UD_English-EWT at commit 15d613d8",
)
