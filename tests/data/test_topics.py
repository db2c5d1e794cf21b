"""Topics: documents of one vocabulary together, whatever their order."""

import re

import numpy as np
import pytest

from fedjax_layers.data.tables.columns import Ragged
from fedjax_layers.data.text.topics import topic_clusters, topic_strata

SEA, FIELD = "ship sail wave harbour captain", "plough wheat barn cattle harvest"


def written(subjects):
    rng = np.random.default_rng(0)
    texts = [" ".join(["the", *rng.choice(subject.split(), 12), "and"]) for subject in subjects]
    return Ragged.of_texts(texts)


def test_documents_of_two_subjects_are_two_topics():
    subject = np.arange(40) % 2
    found = topic_clusters(written([(SEA, FIELD)[s] for s in subject]), 2)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found == found[0], subject == subject[0])


def test_strata_are_those_of_the_rows_documents():
    texts = written([SEA, FIELD])
    strata, names = topic_strata(texts, 2, np.array([0, 0, 1]))
    assert names == ("topic 0", "topic 1")
    assert strata[0] == strata[1] != strata[2]
    assert topic_strata(texts, 0, np.array([0])) == (None, ())


@pytest.mark.parametrize("topics", [-1, 3])
def test_as_many_topics_as_documents_at_most(topics):
    with pytest.raises(ValueError, match=re.escape(f"topics: expected 1 to 2, the documents, got {topics}")):
        topic_clusters(written([SEA, FIELD]), topics)
