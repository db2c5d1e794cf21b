import collections
import re

import numpy as np
import pytest

from fedjax_layers.data import load_dataset
from fedjax_layers.data.sources.sentiment import SENTIMENT
from fedjax_layers.data.sources.tiny_shakespeare import TINY_SHAKESPEARE
from fedjax_layers.data.sources.ud_english_ewt import GENRES, TAGS, UD_ENGLISH_EWT
from fedjax_layers.data.sources.wikitext2 import UNTITLED, WIKITEXT2
from fedjax_layers.data.tables.columns import Ragged


def spelled(data, row):
    """Names of a row's tokens, as far as it goes."""
    return [data.class_names[token] for token in data.inputs[row][data.labels[row] >= 0]]


# --- UD English EWT


@pytest.mark.data
def test_ewt_has_the_published_words_and_documents(data_folder):
    tables, _ = UD_ENGLISH_EWT.tables(data_folder)
    words = {split: int(table["tags"].lengths.sum()) for split, table in tables.items()}
    assert words == {"train": 204_577, "val": 25_147, "test": 25_094}
    documents = {split: set(table["document"].texts()) for split, table in tables.items()}
    assert {split: len(names) for split, names in documents.items()} == {"train": 540, "val": 318, "test": 316}
    assert not documents["train"] & documents["test"]
    tags = np.bincount(tables["train"]["tags"].values, minlength=17)
    counted = dict(zip(TAGS, tags.tolist(), strict=True))
    assert (counted["NOUN"], counted["PUNCT"], counted["X"]) == (34_751, 23_596, 400)  # by grep
    for table in tables.values():
        assert [len(t.split("\t")) for t in table["words"].texts()] == table["tags"].lengths.tolist()


@pytest.mark.data
def test_ewt_first_sentence(data_folder):
    tables, _ = UD_ENGLISH_EWT.tables(data_folder)
    words = tables["train"]["words"].texts()[0].split("\t")
    tags = [TAGS[t] for t in tables["train"]["tags"][0]]
    assert list(zip(words, tags, strict=True))[:7] == [
        ("Al", "PROPN"), ("-", "PUNCT"), ("Zaman", "PROPN"), (":", "PUNCT"),
        ("American", "ADJ"), ("forces", "NOUN"), ("killed", "VERB"),
    ]  # fmt: skip
    assert tables["train"]["document"].texts()[0].startswith("weblog-juancole.com_juancole_2005")


@pytest.mark.data
def test_ewt_loses_no_word_to_the_length(data_folder):
    short, long = (load_dataset("ud_english_ewt", data_folder, length=length) for length in (16, 160))
    assert len(long) == 12_544  # a row per sentence; the longest has 159 words
    assert (short.labels >= 0).sum() == (long.labels >= 0).sum() == 204_577
    assert short.inputs[short.labels >= 0].tolist() == long.inputs[long.labels >= 0].tolist()
    assert (short.inputs[short.labels < 0] == 0).all()
    assert len(np.unique(short.example_ids)) == len(short)
    np.testing.assert_array_equal(np.unique(short.example_ids // 1_000_000), np.arange(12_544))


@pytest.mark.data
def test_ewt_clients_are_documents_or_genres(data_folder):
    documents = load_dataset("ud_english_ewt", data_folder, split="all")
    genres = load_dataset("ud_english_ewt", data_folder, split="all", natural="genre")
    assert len(documents.client_names) == len(np.unique(documents.clients)) == 540 + 318 + 316
    assert genres.client_names == documents.strata_names == GENRES
    np.testing.assert_array_equal(genres.clients, documents.strata)
    for client in (0, 600, 1173):
        genre = documents.client_names[client].split("-")[0]
        assert {GENRES[s] for s in documents.strata[documents.clients == client]} == {genre}
    trained, tested = (
        np.unique(documents.clients[flags]) for flags in (~documents.official_test, documents.official_test)
    )
    assert (len(trained), len(tested), len(np.intersect1d(trained, tested))) == (858, 316, 0)


@pytest.mark.data
def test_ewt_vocabulary_is_that_of_the_training_part(data_folder):
    tables, _ = UD_ENGLISH_EWT.tables(data_folder)
    counts = collections.Counter(w for t in tables["train"]["words"].texts() for w in t.split("\t"))
    test = load_dataset("ud_english_ewt", data_folder, split="test", vocabulary=None)
    written = [w for t in tables["test"]["words"].texts() for w in t.split("\t")]
    numbers = test.inputs[test.labels >= 0]
    assert [w in counts for w in written] == (numbers != 1).tolist()
    ranked = sorted(counts, key=lambda w: (-counts[w], w))
    assert [ranked[n - 2] for n in numbers if n > 1] == [w for w in written if w in counts]
    assert test.inputs.max() < len(counts) + 2 == 19_676
    assert load_dataset("ud_english_ewt", data_folder).inputs.max() == 9_999


@pytest.mark.data
@pytest.mark.parametrize(("tokens", "close"), [("word", "<eos>"), ("byte", "0x0a")])
def test_ewt_as_language_runs_on_within_a_document(data_folder, tokens, close):
    options = {"target": "tokens", "tokens": tokens, "vocabulary": None if tokens == "byte" else 500}
    tables, _ = UD_ENGLISH_EWT.tables(data_folder)
    data = load_dataset("ud_english_ewt", data_folder, length=24, **options)
    assert data.task == "language_modelling"
    documents = tables["train"]["document"].texts()
    first = data.clients == 0
    assert data.client_names[0] == documents[0]
    follows = data.labels[first][data.labels[first] >= 0]
    sentences = [w for w, d in zip(tables["train"]["words"].texts(), documents, strict=True) if d == documents[0]]
    ends = [data.class_names[token] for token in follows].count(close)
    assert ends == len(sentences)
    written = sum(len(s.split("\t")) + 1 if tokens == "word" else len(s.encode()) + 1 for s in sentences)
    assert len(follows) == written - 1, "every token but the document's first is predicted once"
    same = data.inputs[first][1:, 0] == data.labels[first][:-1, -1]
    assert same.all(), "windows lie side by side"
    np.testing.assert_array_equal(data.strata[first], data.strata[first][0])


def test_ewt_targets_and_tokens_fit_together():
    tables = {"train": read_tables()}
    with pytest.raises(ValueError, match=re.escape("target: expected one of tags, tokens, got 'tag'; did you mean")):
        UD_ENGLISH_EWT.build(tables, "here", target="tag")
    with pytest.raises(ValueError, match=re.escape("tokens: expected 'word' with target='tags', got 'byte'")):
        UD_ENGLISH_EWT.build(tables, "here", tokens="byte")
    data = UD_ENGLISH_EWT.build(tables, "here", target="tokens", tokens="byte", length=8)
    assert bytes(data.inputs[0]).decode() == "do n't\nI"
    assert data.example_ids.tolist() == [0, 1, 2_000_000]


def read_tables():
    """Two documents: of two sentences, and of one."""
    return {
        "words": Ragged.of_texts(["do\tn't", "I\tsee", "Good"]),
        "tags": Ragged.of([np.array([3, 9]), np.array([10, 15]), np.array([0])], "uint8"),
        "document": Ragged.of_texts(["email-1", "email-1", "reviews-2"]),
        "genre": np.array([1, 1, 3]),
    }


CONLLU = """\
# newdoc id = email-enron-1
# sent_id = 1
1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tdo\tdo\tAUX\tVBP\t_\t0\troot\t0:root\t_
2\tn't\tnot\tPART\tRB\t_\t1\tadvmod\t1:advmod\t_
2.1\twas\tbe\tVERB\tVBD\t_\t_\t_\t1:conj\t_

# newdoc id = reviews-2
1\tGood\tgood\tADJ\tJJ\t_\t0\troot\t0:root\t_

"""


def read_conllu(folder, content):
    path = folder / "part.conllu"
    path.write_text(content)
    names = [f.name for f in UD_ENGLISH_EWT.layouts[0].files]
    return UD_ENGLISH_EWT.layouts[0].read(dict.fromkeys(names, path))["val"]


def test_conllu_skips_ranges_and_empty_nodes(tmp_path):
    table = read_conllu(tmp_path, CONLLU)
    assert table["words"].texts() == ["do\tn't", "Good"]
    assert [[TAGS[t] for t in tags] for tags in table["tags"]] == [["AUX", "PART"], ["ADJ"]]
    assert table["document"].texts() == ["email-enron-1", "reviews-2"]
    assert [GENRES[g] for g in table["genre"]] == ["email", "reviews"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("\t0:root\t_\n2", "\n2", "line 4: expected 10 columns, found 8"),
        ("2\tn't", "3\tn't", "line 5, column ID: expected word 2, found 3"),
        ("2.1", "b", "line 6, column ID: expected a number, a range or an empty node, found 'b'"),
        ("PART", "PRT", "line 5, column UPOS: expected one of ADJ"),
        ("email-", "mail-", "line 1: expected a document of answers, email"),
        ("# newdoc id = email-enron-1\n", "", "line 6: expected '# newdoc id = ...' before the first sentence"),
        ("0:root\t_\n\n", "0:ro", "line 9: expected a line feed at the end, found none (truncated)"),
        ("0:root\t_\n\n", "0:root\t_\n", "line 10: expected an empty line after the last sentence (truncated)"),
    ],
)
def test_conllu_names_the_place_of_damage(tmp_path, old, new, expected):
    head, _, tail = CONLLU.rpartition(old) if "\n\n" in old else CONLLU.partition(old)
    with pytest.raises(ValueError, match=re.escape(f"part.conllu, {expected}")):
        read_conllu(tmp_path, head + new + tail)


def test_ewt_refuses_unknown_clients(tmp_path):
    table = read_conllu(tmp_path, CONLLU)
    with pytest.raises(ValueError, match="natural: expected one of document, genre, got 'genres'; did you mean 'genre"):
        UD_ENGLISH_EWT.build({"train": table}, "a test", natural="genres")


# --- WikiText-2


@pytest.mark.data
def test_wikitext_has_the_published_tokens_and_articles(data_folder):
    # Merity et al. (2016), table 1; each article's first token is predicted by none.
    published = {"train": (2_088_628, 600), "val": (217_646, 60), "test": (245_569, 60)}
    for split, (tokens, articles) in published.items():
        data = load_dataset("wikitext2", data_folder, split=split)
        pieces = 29 if split == "train" else 0
        assert (data.labels >= 0).sum() == tokens - articles - pieces
        assert len(set(data.client_names) - {UNTITLED}) == articles
        assert data.num_classes == 33_278 + 1  # theirs, and padding; the training part has them all
        assert (UNTITLED in data.client_names) == (split == "train")


@pytest.mark.data
def test_wikitext_validation_part_begins_with_the_lobster(data_folder):
    data = load_dataset("wikitext2", data_folder, split="val", length=12)
    assert data.client_names[0] == "Homarus gammarus"
    assert " ".join(spelled(data, 0)) == "<eos> = Homarus gammarus = <eos> <eos> Homarus gammarus , known as"
    assert data.class_names[data.labels[0, -1]] == "the"
    assert spelled(data, 1)[:3] == ["the", "European", "lobster"]  # windows lie side by side
    assert data.class_names[:6] == ("<pad>", "<unk>", "the", ",", ".", "of")
    # Several titles are all <unk>; their articles stay apart.
    assert len(data.client_names) == 60
    assert "<unk> <unk> (5)" in data.client_names


@pytest.mark.data
def test_wikitext_numbers_are_those_of_the_training_part(data_folder):
    val, every = (load_dataset("wikitext2", data_folder, split=split) for split in ("val", "all"))
    assert val.class_names == every.class_names
    rows = np.searchsorted(every.example_ids, val.example_ids)
    np.testing.assert_array_equal(every.inputs[rows], val.inputs)
    np.testing.assert_array_equal(every.labels[rows], val.labels)
    few = load_dataset("wikitext2", data_folder, split="val", vocabulary=1_000)
    assert few.class_names == val.class_names[:1_000]
    np.testing.assert_array_equal(few.inputs, np.where(val.inputs < 1_000, val.inputs, 1))


@pytest.mark.data
def test_wikitext_bytes_are_those_of_the_file(data_folder):
    data = load_dataset("wikitext2", data_folder, split="test", tokens="byte", limit=2)
    content = (data_folder / "wikitext2/wiki.test.tokens").read_bytes()
    second = content.index(b" \n = Du Fu = \n")
    assert data.client_names == ("Robert <unk>", "Du Fu")
    got = data.labels[data.clients == 0]
    assert bytes(got[got >= 0].tolist()) == content[1:second]
    assert data.inputs.dtype == np.uint8


WIKI = " \n = One = \n \n text ( x \n = 2 ) and y = \n 3 . \n \n = = Part = = \n \n end \n \n = One = \n \n more \n"


def read_wiki(folder, layout, content=WIKI):
    paths = {}
    for file in WIKITEXT2.layouts[layout].files:
        paths[file.name] = folder / file.name
        paths[file.name].write_text(content if "train" in file.name else " \n = Two = \n \n text \n")
    return WIKITEXT2.layouts[layout].read(paths)


def test_wikitext_articles_begin_at_titles_between_blank_lines(tmp_path):
    tables = read_wiki(tmp_path, 0)
    assert tables["train"]["article"].texts() == ["One", "One (2)"]
    assert tables["val"]["article"].texts() == ["Two"]
    assert tables["test"]["article"].texts() == ["Two (2)"]
    assert "".join(tables["train"]["text"].texts()) == WIKI
    assert tables["train"]["text"].texts()[1] == " \n = One = \n \n more \n"


def test_wikitext_pieces_of_the_shuffled_file_have_no_title(tmp_path):
    tables = read_wiki(tmp_path, 1)
    assert tables["train"]["article"].texts() == ["One", UNTITLED, "One (2)"]
    assert "".join(tables["train"]["text"].texts()) == WIKI
    assert tables["train"]["text"].texts()[1].startswith(" text ( x \n = 2 ) and y = \n")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (WIKI[:-3], "wiki.train.tokens, line 14: expected a line feed at the end, found none (truncated)"),
        (WIKI[2:], "wiki.train.tokens, line 2: expected an article's title such as ' = Title = ', found [' ']"),
    ],
)
def test_wikitext_names_the_place_of_damage(tmp_path, content, expected):
    with pytest.raises(ValueError, match=re.escape(expected)):
        read_wiki(tmp_path, 0, content)


# --- Tiny Shakespeare


@pytest.mark.data
def test_shakespeare_speakers_and_characters(data_folder):
    data = load_dataset("tiny_shakespeare", data_folder)
    assert len(data.client_names) == len(np.unique(data.clients)) == 299
    assert data.num_classes == 65 + 2
    tables, _ = TINY_SHAKESPEARE.tables(data_folder)
    speeches = tables["train"]["text"]
    assert len(speeches) == 7_097
    blocks = collections.Counter(tables["train"]["speaker"].texts())
    assert sum(count >= 10 for count in blocks.values()) == 145
    assert blocks.most_common(1)[0][0] == "GLOUCESTER"
    assert (data.labels >= 0).sum() == speeches.lengths.sum() - 7_097
    content = (data_folder / "tiny_shakespeare/input.txt").read_text()
    assert speeches.texts()[1] == "Speak, speak."
    assert set("".join(speeches.texts())) == set(content)
    assert not any(re.match(r"[A-Z ]+:\n", speech) for speech in speeches.texts())


@pytest.mark.data
def test_shakespeare_windows(data_folder):
    data = load_dataset("tiny_shakespeare", data_folder, length=20)
    assert data.client_names[:3] == ("First Citizen", "All", "Second Citizen")
    assert "".join(spelled(data, 0)) == "Before we proceed an"
    assert "".join(spelled(data, 1)) == "y further, hear me s"
    assert data.class_names[data.labels[0, -1]] == "y"
    assert data.class_names[2:5] == (" ", "e", "t")
    second = np.flatnonzero(data.clients == 1)[0]
    assert "".join(spelled(data, second)) == "Speak, speak"  # the full stop is only predicted
    words = load_dataset("tiny_shakespeare", data_folder, tokens="word")
    assert spelled(words, 0)[:6] == ["Before", "we", "proceed", "any", "further", ","]


def test_shakespeare_headers_without_a_speech_are_left_out(tmp_path):
    path = tmp_path / "input.txt"
    path.write_text("A:\nOne.\nTwo:\n\nB:\n\n\nC:\nThree.\n")
    read = TINY_SHAKESPEARE.layouts[0].read
    table = read({"input.txt": path})["train"]
    assert table["speaker"].texts() == ["A", "C"]
    assert table["text"].texts() == ["One.\nTwo:", "Three."]
    path.write_text("A:\nOne.\n\nTwo\n")
    with pytest.raises(ValueError, match=r"input\.txt, line 4: expected 'SPEAKER:' after a blank line, found 'Two'"):
        read({"input.txt": path})


@pytest.mark.data
def test_shakespeare_from_the_stock_set(data_folder):
    content = (data_folder / "tiny_shakespeare/input.txt").read_bytes()
    parts = {"test": content[1_059_624:], "train": content[:1_003_854], "validation": content[1_003_854:1_059_624]}
    stock = TINY_SHAKESPEARE.from_stock({split: {"text": [part]} for split, part in parts.items()})
    tables, _ = TINY_SHAKESPEARE.tables(data_folder)
    for column in ("text", "speaker"):
        assert stock["train"][column].texts() == tables["train"][column].texts()


# --- sentiment


@pytest.mark.data
def test_sentiment_sentences_of_three_sites(data_folder):
    data = load_dataset("sentiment", data_folder)
    assert data.client_names == ("amazon", "imdb", "yelp")
    cells = np.stack([data.clients, data.labels])
    assert np.unique(cells, axis=1, return_counts=True)[1].tolist() == [500] * 6
    tables, _ = SENTIMENT.tables(data_folder)
    sentences = tables["train"]["sentence"].texts()
    assert sentences[1] == "Good case, Excellent value."
    assert sentences[2000] == "Wow... Loved this place."
    assert data.labels[[0, 1, 2000]].tolist() == [0, 1, 1]
    assert sum("\x85" in sentence for sentence in sentences[1000:2000]) > 0  # no line end


@pytest.mark.data
def test_sentiment_tokens(data_folder):
    words = load_dataset("sentiment", data_folder)
    assert words.inputs.shape == (3_000, 85)
    assert words.inputs.max() == 1_999
    # "Good case, Excellent value." in lower case; the full stop is the most frequent of all.
    assert (words.inputs[1] > 0).sum() == 6
    assert words.inputs[1, 5] == 2
    as_bytes = load_dataset("sentiment", data_folder, tokens="byte", length=9)
    assert bytes(as_bytes.inputs[1].tolist()) == b"Good case"
    assert load_dataset("sentiment", data_folder, tokens="char", vocabulary=20).inputs.max() == 19


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("good\t1\nbad 0\n", "imdb_labelled.txt, line 2: expected a sentence, a tab and 0 or 1, found 'bad 0'"),
        ("good\t1\nbad\t2\n", "imdb_labelled.txt, line 2: expected a sentence, a tab and 0 or 1, found 'bad\\t2'"),
        ("good\t1\nbad\t0", "imdb_labelled.txt, line 2: expected a line feed at the end, found none (truncated)"),
    ],
)
def test_sentiment_names_the_place_of_damage(tmp_path, content, expected):
    paths = {}
    for file in SENTIMENT.layouts[0].files:
        paths[file.name] = tmp_path / file.name
        paths[file.name].write_text(content if "imdb" in file.name else "fine\t1\n")
    with pytest.raises(ValueError, match=re.escape(expected)):
        SENTIMENT.layouts[0].read(paths)


@pytest.mark.data
@pytest.mark.parametrize("name", ["sentiment", "tiny_shakespeare", "ud_english_ewt", "wikitext2"])
def test_ids_are_distinct_and_the_same_whichever_part_is_taken(name, data_folder):
    data = load_dataset(name, data_folder)
    assert (np.diff(data.example_ids) > 0).all()
    if name in ("tiny_shakespeare", "ud_english_ewt", "wikitext2"):
        some = load_dataset(name, data_folder, limit=50)
        np.testing.assert_array_equal(some.inputs, data.inputs[np.isin(data.example_ids, some.example_ids)])


@pytest.mark.data
@pytest.mark.parametrize(("name", "options"), [("tiny_shakespeare", {"limit": 400}), ("wikitext2", {"split": "val"})])
def test_topics_are_strata_of_whole_documents(name, options, data_folder):
    data = load_dataset(name, data_folder, topics=4, **options)
    assert data.strata_names == ("topic 0", "topic 1", "topic 2", "topic 3")
    document = data.example_ids // 1_000_000
    for one in np.unique(document)[:50]:
        assert len(np.unique(data.strata[document == one])) == 1
    assert len(np.unique(data.strata)) > 1
    assert load_dataset(name, data_folder, **options).strata is None
