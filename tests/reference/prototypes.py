"""NumPy: FedProto, one client at a time, written from the paper's equations.

A round is a list of ``(client, weight, batches)`` as in :mod:`tests.reference.oracles`.
"""

import numpy as np

from tests.reference.network import combine, loss_and_gradient, zeros_like
from tests.reference.oracles import Oracle


class FedProto(Oracle):
    """Own models; the features of each example are pulled to the mean features of its class."""

    def __init__(self, *args, starts, counts, lam, by_count=False, **kw):
        """The pool's first row and number of rows of each client give its examples."""
        super().__init__(*args, **kw)
        self.rows = [range(s, s + n) for s, n in zip(starts, counts, strict=True)]
        self.lam, self.by_count, self.prototypes = lam, by_count, {}

    def pull(self, params, rows):
        """Gradient of the mean over examples and features of ``(h - P)^2``, by hand."""
        acts = [self.x[rows]]
        for layer in params[:-1]:
            acts.append(np.tanh(acts[-1] @ layer["w"] + layer["b"]))
        gap = [h - self.prototypes.get(y, h) for h, y in zip(acts[-1], self.y[rows], strict=True)]
        delta, grads = 2 * np.array(gap) / acts[-1].size, zeros_like(params)
        for i in reversed(range(len(params) - 1)):
            delta = delta * (1 - acts[i + 1] ** 2)
            grads[i] = {"w": acts[i].T @ delta, "b": delta.sum(0)}
            delta = delta @ params[i]["w"].T
        return grads

    def local(self, client, batches):
        """SGD with momentum on the client's own model."""
        params, losses = self.own[client], []
        speed = (self.velocity[client] if self.keep else None) or zeros_like(params)
        for rows in batches:
            loss, grads = loss_and_gradient(params, self.x[rows], self.y[rows])
            losses.append(loss)
            grads = combine(lambda g, p: g + self.lam * p, grads, self.pull(params, rows))
            speed = combine(lambda v, g: self.sgd["beta"] * v + g, speed, grads)
            params = combine(lambda p, v: p - self.sgd["lr"] * v, params, speed)
        self.velocity[client] = speed
        return params, np.mean(losses), None

    def aggregate(self, results):
        """Means of means, or of all examples; who lacks a class does not count in it."""
        found = {}
        for client, _, params, *_ in results:
            self.own[client] = params
            rows = list(self.rows[client])
            h = self.x[rows]
            for layer in params[:-1]:
                h = np.tanh(h @ layer["w"] + layer["b"])
            for y in set(self.y[rows]):
                own = h[self.y[rows] == y]
                found.setdefault(y, []).append((own.mean(0), len(own) if self.by_count else 1))
        for y, parts in found.items():
            self.prototypes[y] = sum(w * mean for mean, w in parts) / sum(w for _, w in parts)

    def served(self):
        """Each client's own model."""
        return self.own
