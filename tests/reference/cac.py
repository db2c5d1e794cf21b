"""NumPy: FedCAC, one client at a time, written from the paper's equations.

A round is a list of ``(client, weight, batches)`` as in :mod:`tests.reference.oracles`.
"""

import itertools

import numpy as np

from tests.reference.network import combine
from tests.reference.oracles import Oracle


def marked(criticality, share):
    """Marks of the most critical numbers of one tensor."""
    marks = np.zeros(criticality.size, bool)
    marks[np.argsort(-criticality.ravel())[: int(share * criticality.size)]] = True
    return marks.reshape(criticality.shape)


def flat(marks):
    """All marks of a network as numbers."""
    return np.concatenate([layer[k].ravel() for layer in marks for k in sorted(layer)]).astype(float)


def overlap(a, b):
    """One minus the share of marks that only one of two clients has."""
    a, b = flat(a), flat(b)
    return 1 - np.abs(a - b).sum() / (2 * a.sum())


class FedCac(Oracle):
    """Critical numbers from a custom mix, the others from the server."""

    def __init__(self, *args, share, last, **kw):
        super().__init__(*args, **kw)
        self.share, self.last, self.turn = share, last, 0
        self.masks = [combine(lambda x: np.zeros(x.shape, bool), self.server)] * len(self.own)
        self.told = []  # mean overlap, threshold, mean number of partners

    def start_of(self, client):
        """The custom model where marked."""
        return combine(np.where, self.masks[client], self.own[client], self.server)

    def round(self, cohort):
        """Remember the starts, train and average, then mark and mix."""
        starts = {client: self.start_of(client) for client, *_ in cohort}
        results = super().round(cohort)
        self.turn += 1
        models = {client: params for client, _, params, *_ in results}
        for client, model in models.items():
            critical = combine(lambda w, s: np.abs((w - s) * w), model, starts[client])
            self.masks[client] = combine(lambda q: marked(q, self.share), critical)
        pairs = {
            (i, j): overlap(self.masks[i], self.masks[j]) if self.share else 1.0
            for i, j in itertools.permutations(models, 2)
        }
        mean, most = np.mean(list(pairs.values())), max(pairs.values())
        threshold = mean + self.turn / self.last * (most - mean)
        number = 0
        for i, own in models.items():
            group = [own] + [other for j, other in models.items() if j != i and pairs[i, j] >= threshold - 1e-12]
            number += len(group) - 1
            self.own[i] = combine(lambda *xs: sum(xs) / len(xs), *group)
        self.told.append((mean, threshold, number / len(models)))
        return results
