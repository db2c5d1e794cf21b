"""NumPy: FedTLU's score and its choice of blocks, from the paper's formula and the note's identity, in float64."""

import numpy as np

from tests.reference.oracles import Oracle, average, take_layers


def flat(layers):
    """Layers as one vector."""
    return np.concatenate([np.ravel(layer[k]) for layer in layers for k in sorted(layer)])


def score(delta, reading="ratio"):
    """``||d|| / (sqrt(n) std)`` of a vector, and the readings that the paper's text might be taken for."""
    if not delta.any():
        return 1.0 if reading == "ratio" else 0.0
    length, std, n = np.linalg.norm(delta), delta.std(), delta.size
    return {
        "ratio": length / (np.sqrt(n) * std),
        "product": length / np.sqrt(n) * std,
        "size": length / (n * std),
        "absolute": np.abs(delta).mean() / std,
    }[reading]


class FedTLU(Oracle):
    """Blocks are layers; all clients train everything, the server updates the k best layers."""

    def __init__(self, *args, k, reading="ratio", choice="score", every=1, **kw):
        super().__init__(*args, **kw)
        self.k, self.reading, self.choice, self.every = k, reading, choice, every
        self.rounds, self.chosen = 0, None

    def values(self, mean):
        """What the k largest are taken of."""
        num = len(self.server)
        if self.choice == "last":
            return list(range(num))
        if self.choice == "round_robin":
            return [-((i - self.rounds * self.k) % num) for i in range(num)]
        deltas = [flat([m]) - flat([s]) for m, s in zip(mean, self.server, strict=True)]
        if self.choice == "norm":
            return [np.linalg.norm(d) for d in deltas]
        scores = [score(d, self.reading) for d in deltas]
        return [-s for s in scores] if self.choice == "lowest" else scores

    def aggregate(self, results):
        """Average, choose, freeze the rest."""
        mean = average([r[2] for r in results], [r[1] for r in results], self.server)
        if self.rounds % self.every == 0:
            order = sorted(range(len(mean)), key=lambda i: (-self.values(mean)[i], i))
            self.chosen = [i in order[: self.k] for i in range(len(mean))]
        self.server = take_layers(self.chosen, mean, self.server)
        self.own = [self.server] * len(self.own)
        self.rounds += 1
