"""Topics of documents: clusters by their words, used as a latent label for partitions of unlabelled text."""

from __future__ import annotations

import numpy as np

from fedjax_layers.data.tables.columns import Ragged
from fedjax_layers.data.text.encoding import words

_WORDS_SEEN = 5_000  # number of most frequent words that are used; rarer words say little about so few documents


def topic_strata(texts: Ragged, topics: int, of_row: np.ndarray) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Make a data set's strata ``[N]`` and their names from the topics of each row's document; none with 0 topics.

    Args:
      texts: D documents.
      topics: K, or 0.
      of_row: ``[N]``, the document of each row.

    Raises:
      ValueError: as :func:`topic_clusters`.
    """
    if topics == 0:
        return None, ()
    return topic_clusters(texts, topics)[of_row], tuple(f"topic {topic}" for topic in range(topics))


def topic_clusters(texts: Ragged, topics: int, seed: int = 0) -> np.ndarray:
    """Cluster documents with similar words by scikit-learn's k-means on TF-IDF rows of length 1.

    Term frequencies enter as ``1 + log(count)``. Another version of scikit-learn may find other clusters; a partition
    file keeps a split that was made from them.

    Args:
      texts: D documents.
      topics: K, the number of topics.
      seed: seed of the starts.

    Returns:
      ``[D]`` int32 in ``0 .. K-1``.

    Raises:
      ValueError: there are fewer than 1 or more than D topics.

    Source: the clients of FedTLU's experiments, ten topic clusters of lines by TF-IDF and k-means.
    """
    from sklearn.cluster import KMeans  # noqa: PLC0415  (slow to import)
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415

    if not 1 <= topics <= len(texts):
        raise ValueError(f"topics: expected 1 to {len(texts)}, the documents, got {topics}")
    counted = TfidfVectorizer(tokenizer=words, token_pattern=None, sublinear_tf=True, max_features=_WORDS_SEEN)
    rows = counted.fit_transform(texts.texts())
    return KMeans(topics, n_init=1, random_state=seed).fit(rows).labels_.astype(np.int32)
