"""NumPy: FedRoD, one client at a time, written from the paper's equations.

A round is a list of ``(client, weight, batches)`` as in :mod:`tests.reference.oracles`.
"""

import numpy as np

from tests.reference.network import combine, loss_and_gradient, zeros_like
from tests.reference.oracles import Oracle, average


def features(params, x):
    """What the last layer gets."""
    for layer in params[:-1]:
        x = np.tanh(x @ layer["w"] + layer["b"])
    return x


def logits(head, h):
    """One head on features."""
    return h @ head["w"] + head["b"]


class FedRod(Oracle):
    """The generic model on balanced logits, and each client's head on the sum of both heads' logits."""

    def __init__(self, *args, starts, counts, gamma, zero=False, **kw):
        """The pool's first row and number of rows of each client give its class counts."""
        super().__init__(*args, **kw)
        head = self.server[-1]
        start = {name: np.zeros_like(x) for name, x in head.items()} if zero else head
        self.heads, self.seen = [start] * len(self.own), set()
        classes = np.arange(head["b"].size)
        labels = [self.y[s : s + n] for s, n in zip(starts, counts, strict=True)]
        self.counts = [(own[:, None] == classes).sum(0) for own in labels]
        self.gamma = gamma
        self.speeds = [None] * len(self.own)

    def generic(self, client, params, rows):
        """Gradient of the cross-entropy whose logit of class c is ``z_c + gamma log n_c``: no n_c, no class."""
        with np.errstate(divide="ignore"):
            prior = self.gamma * np.log(self.counts[client]) if self.gamma else 0.0
        shifted = [*params[:-1], {**params[-1], "b": params[-1]["b"] + prior}]
        return loss_and_gradient(shifted, self.x[rows], self.y[rows])[1]

    def plain(self, params, head, rows):
        """Loss and gradient by the own head, with features and generic logits fixed."""
        h, y, n = features(params, self.x[rows]), self.y[rows], len(rows)
        z = logits(params[-1], h) + logits(head, h)
        z = z - z.max(1, keepdims=True)
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        loss = -np.log(p[np.arange(n), y]).mean()
        p[np.arange(n), y] -= 1
        return loss, {"w": h.T @ p / n, "b": p.sum(0) / n}

    def local(self, client, batches):
        """Both steps from the same point: the summed model, its mean loss, the generic model and the head."""
        lr, beta = self.sgd["lr"], self.sgd["beta"]
        w, head, losses = self.server, self.heads[client], []
        kept = self.speeds[client] if self.keep else None
        speed, own_speed = kept or (zeros_like(w), {name: np.zeros_like(x) for name, x in head.items()})
        for rows in batches:
            slope = self.generic(client, w, rows)
            loss, own_slope = self.plain(w, head, rows)
            losses.append(loss)
            speed = combine(lambda s, g: beta * s + g, speed, slope)
            own_speed = {name: beta * own_speed[name] + own_slope[name] for name in head}
            w = combine(lambda p, s: p - lr * s, w, speed)
            head = {name: head[name] - lr * own_speed[name] for name in head}
        self.speeds[client] = (speed, own_speed)
        return self.summed(w, head), np.mean(losses), w, head

    @staticmethod
    def summed(params, head):
        """The model whose logits are those of both heads together."""
        return [*params[:-1], {name: params[-1][name] + head[name] for name in head}]

    def aggregate(self, results):
        """Average the generic models; heads stay."""
        self.server = average([r[4] for r in results], [r[1] for r in results], self.server)
        for client, *_, head in results:
            self.heads[client] = head
            self.seen.add(client)

    def served(self):
        """Each client's head beside the common model; who never came has the common model alone."""
        heads = enumerate(self.heads)
        return [self.summed(self.server, head) if c in self.seen else self.server for c, head in heads]
