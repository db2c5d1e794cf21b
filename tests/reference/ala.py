"""NumPy: FedALA, one client at a time, written from the paper's algorithm; the test says which examples are drawn.

A round is a list of ``(client, weight, batches)`` as in :mod:`tests.reference.oracles`.
"""

import numpy as np

from tests.reference.network import combine, local_run, loss_and_gradient
from tests.reference.oracles import Oracle


class FedAla(Oracle):
    """Top layers are merged elementwise, with weights that are learnt."""

    parts: dict  # client -> rows of the pool on which its weights are learnt, set before each round

    def __init__(self, *args, top, rate, size, threshold=0.1, window=10, most=50, **kw):
        super().__init__(*args, **kw)
        self.top = [i >= len(self.server) - top for i in range(len(self.server))]
        self.rate, self.size, self.threshold, self.window, self.most = rate, size, threshold, window, most
        ones = combine(np.ones_like, self.server)
        self.weights = [ones] * len(self.own)
        self.rounds, self.epochs = [0] * len(self.own), []

    def start_of(self, client):
        """The merge with the weights as they are."""
        if not self.rounds[client]:
            return self.server
        mix = combine(lambda o, s, x: o + (s - o) * x, self.own[client], self.server, self.weights[client])
        return [m if t else s for t, m, s in zip(self.top, mix, self.server, strict=True)]

    def epoch(self, client):
        """Go over the part once; the loss on its last batch."""
        rows, loss = self.parts[client], None
        for begin in range(0, len(rows), self.size):
            batch = rows[begin : begin + self.size]
            loss, grads = loss_and_gradient(self.start_of(client), self.x[batch], self.y[batch])
            gap = combine(lambda s, o: s - o, self.server, self.own[client])
            self.weights[client] = combine(
                lambda x, g, d: np.clip(x - self.rate * g * d, 0, 1), self.weights[client], grads, gap
            )
        return loss

    def learn(self, client):
        """Nothing in a client's first round, until it stands in the second, once in later ones."""
        losses = []
        while self.rounds[client] and len(losses) < (self.most if self.rounds[client] == 1 else 1):
            losses.append(self.epoch(client))
            if len(losses) > self.window and np.std(losses[-self.window :]) < self.threshold:
                break
        if self.rounds[client] == 1:
            self.epochs.append(len(losses))

    def local(self, client, batches):
        """Learn the weights, then train all layers."""
        self.learn(client)
        velocity = self.velocity[client] if self.keep else None
        params, self.velocity[client], loss, grad = local_run(
            self.start_of(client), batches, self.x, self.y, velocity=velocity, **self.sgd
        )
        return params, loss, grad

    def aggregate(self, results):
        """Average all layers."""
        super().aggregate(results)
        for client, *_ in results:
            self.rounds[client] += 1
