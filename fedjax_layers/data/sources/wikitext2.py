"""WikiText-2: language modelling of good Wikipedia articles."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fedjax_layers.data.dataset import Dataset
from fedjax_layers.data.formats.text_files import read_lines
from fedjax_layers.data.tables.columns import Ragged, Tables, text
from fedjax_layers.data.tables.files import SourceFile
from fedjax_layers.data.tables.parts import take_parts
from fedjax_layers.data.tables.source import Layout, Source
from fedjax_layers.data.text.encoding import encode, number_texts, row_ids, spaced_words, windows
from fedjax_layers.data.text.topics import topic_strata

UNTITLED = "(text that belongs to another article)"
_HEADING = re.compile(r" = [^=].* = ")
_SHUFFLED = "wiki.train.shuffled-articles.tokens"
_PIECES = 29  # number of pieces of the shuffled file without a title


def _wikitext2(
    tables: Tables,
    provenance: str,
    *,
    split: str = "train",
    tokens: str = "word",
    length: int = 64,
    vocabulary: int | None = None,
    topics: int = 0,
    limit: int | None = None,
) -> Dataset:
    """Make windows ``[N, length]`` of an article's tokens, and for each token the next one.

    Words are those of the files, which have 33,278 different ones: rare words are ``<unk>`` there already, and every
    line ends with ``<eos>``. Windows are adjacent within an article, so each token but an article's first is predicted
    exactly once. Words and characters get numbers by frequency in the official training part, whichever part is loaded.
    The natural clients are the articles; the shuffled training file adds one, ``UNTITLED``.

    Args:
      tables: columns ``text`` and ``article``, one row per article.
      provenance: line on the source of the data.
      split: official part: ``"train"`` (600 articles, 2,088,628 words), ``"val"`` (60, 217,646), ``"test"`` (60,
        245,569) or ``"all"``.
      tokens: unit of texts: ``"word"``, ``"char"``, ``"byte"`` (of UTF-8, lines ending with a line feed) or path of a
        ``tokenizer.json``.
      length: T, the number of tokens in a window.
      vocabulary: V, the largest number of tokens, ``<pad>`` and ``<unk>`` included; ``None`` keeps all.
      topics: number of clusters of articles by their words, which are the strata; 0 for none.
      limit: number of first articles to take; ``None`` takes all.

    Raises:
      ValueError: an unknown split or kind of token, or a number out of range.
    """
    examples = take_parts(tables, split, limit)
    training = take_parts(tables, "train").ragged("text")
    encoded, names = encode(examples.ragged("text"), training, tokens, vocabulary, spaced_words)
    inputs, targets, rows = windows(encoded, length)
    clients, client_names = number_texts(examples.ragged("article"))
    strata, strata_names = topic_strata(examples.ragged("text"), topics, rows.document)
    test = examples.official_test
    return Dataset(
        name="wikitext2",
        inputs=inputs,
        labels=targets,
        class_names=names,
        clients=clients[rows.document],
        client_names=client_names,
        preprocess=None,
        source=provenance,
        licence=WIKITEXT2.licence,
        example_ids=row_ids(examples.ids, rows),
        task="language_modelling",
        strata=strata,
        strata_names=strata_names,
        official_test=None if test is None else test[rows.document],
    )


def _read(files: Mapping[str, Path]) -> Tables:
    """Read the three official files."""
    return _read_parts(files, "wiki.train.tokens", shuffled=False)


def _read_shuffled(files: Mapping[str, Path]) -> Tables:
    """Read training articles in another order, and the two other official files."""
    return _read_parts(files, _SHUFFLED, shuffled=True)


def _read_parts(files: Mapping[str, Path], train: str, shuffled: bool) -> Tables:
    tables = {"train": _articles(files[train], shuffled)}
    for split, name in {"val": "wiki.valid.tokens", "test": "wiki.test.tokens"}.items():
        tables[split] = _articles(files[name], shuffled=False)
    titles = _distinct(title for table in tables.values() for title in table["article"])
    for table in tables.values():
        table["article"] = [next(titles) for _ in table["article"]]
    return {split: {name: Ragged.of_texts(column) for name, column in table.items()} for split, table in tables.items()}


def _articles(path: Path, shuffled: bool) -> dict[str, list[str]]:
    """Split a file into the titles and texts of its articles.

    An article begins with three lines: blank, `` = Title = ``, blank. Running text with `` = ... = `` in a line of its
    own has no blank lines around it. The shuffled file was cut there too, one line earlier, and joined in another
    order, so what follows (14,796 words in all) belongs to an unknown article, named ``UNTITLED``.
    """
    lines = read_lines(path)
    starts: dict[int, str] = {}
    for i in range(1, len(lines) - 1):
        if _HEADING.fullmatch(lines[i]):
            if not lines[i - 1].strip() and not lines[i + 1].strip():
                starts[i - 1] = lines[i][3:-3]
            elif shuffled:
                starts[i - 1] = UNTITLED
    if 0 not in starts:
        raise ValueError(f"{path}, line 2: expected an article's title such as ' = Title = ', found {lines[1:2]}")
    ends = [*list(starts)[1:], len(lines)]
    texts = ["".join(f"{line}\n" for line in lines[a:b]) for a, b in zip(starts, ends, strict=True)]
    return {"text": texts, "article": list(starts.values())}


def _distinct(titles: Iterable[str]) -> Iterator[str]:
    """Make titles, of which several are ``<unk>``, distinct."""
    seen: collections.Counter[str] = collections.Counter()
    for title in titles:
        seen[title] += 1
        yield title if seen[title] == 1 or title == UNTITLED else f"{title} ({seen[title]})"


_OTHERS = (
    SourceFile("wiki.valid.tokens", "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8"),
    SourceFile("wiki.test.tokens", "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0"),
)

WIKITEXT2 = Source(
    name="wikitext2",
    title="language modelling of Wikipedia articles",
    task="language_modelling",
    licence="CC BY-SA 3.0",
    citation="S. Merity, C. Xiong, J. Bradbury, R. Socher, Pointer Sentinel Mixture Models (2016)",
    build=_wikitext2,
    classes=33_279,
    clients="article",
    columns={"text": text(), "article": text()},
    layouts=(
        Layout((SourceFile("wiki.train.tokens"), *_OTHERS), _read, {"train": 600, "val": 60, "test": 60}),
        Layout(
            (
                SourceFile(_SHUFFLED, "728c77e87e176af4730f9a80fc6008bcaff421a7202c1c048877c0eec3685f89"),
                *_OTHERS,
            ),
            _read_shuffled,
            {"train": 600 + _PIECES, "val": 60, "test": 60},
            f"training articles in another order, {_PIECES} pieces of them apart",
        ),
    ),
)
