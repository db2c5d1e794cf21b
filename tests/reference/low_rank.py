"""NumPy: low-rank adapters of the first layers of the oracle tests' network, whose head is trained whole.

A model is ``{"0/w": {"A", "B"}, "1/w": {"A", "B"}, "2/w", "2/b"}``. Nothing of the package is used.
"""

import numpy as np

from tests.reference.network import loss_and_gradient
from tests.reference.oracles import Oracle

KINDS = {"fedit": {}, "ffa_lora": {"frozen": "A"}, "fedsa_lora": {"local": "B"}}


def combine(fn, *models):
    """Apply ``fn`` to the corresponding arrays of several models."""
    return {
        path: {f: fn(*(m[path][f] for m in models)) for f in "AB"}
        if isinstance(x, dict)
        else fn(*(m[path] for m in models))
        for path, x in models[0].items()
    }


def choose(factor, on, off):
    """Arrays of this factor from ``on``, all others from ``off``."""
    return {
        path: {f: (on if f == factor else off)[path][f] for f in "AB"} if isinstance(x, dict) else off[path]
        for path, x in on.items()
    }


def cut(model, rank, other=None):
    """The first ``rank`` rows of each A and columns of each B; the others are 0, or those of another model."""
    cut_model = {}
    for path, x in model.items():
        if not isinstance(x, dict):
            cut_model[path] = x
            continue
        a, b = x["A"].copy(), x["B"].copy()
        a[rank:] = 0 if other is None else other[path]["A"][rank:]
        b[:, rank:] = 0 if other is None else other[path]["B"][:, rank:]
        cut_model[path] = {"A": a, "B": b}
    return cut_model


class LowRank(Oracle):
    """Each factor is averaged, unless it is frozen or stays with its client; clients may hold fewer ranks."""

    def __init__(self, *args, base, scale, frozen=None, local=None, ranks=None, **kw):
        super().__init__(*args, **kw)
        self.base, self.scale = base(), scale
        self.frozen, self.local_factor, self.ranks = frozen, local, ranks
        self.rank = self.server["0/w"]["A"].shape[0]

    def start_of(self, client):
        model = choose(self.local_factor, self.own[client], self.server)
        return model if self.ranks is None else cut(model, self.ranks[client])

    def gradient(self, model, rows):
        """Loss and gradient by W = W_0 + s B A, of a network whose weights are [inputs, outputs]."""
        dense = [dict(layer) for layer in self.base]
        for path, x in model.items():
            i, name = int(path[0]), path[2]
            dense[i][name] = dense[i][name] + self.scale * (x["B"] @ x["A"]).T if isinstance(x, dict) else x
        loss, grads = loss_and_gradient(dense, self.x[rows], self.y[rows])
        found = {}
        for path, x in model.items():
            g = grads[int(path[0])][path[2]]
            if isinstance(x, dict):
                found[path] = {"A": self.scale * x["B"].T @ g.T, "B": self.scale * g.T @ x["A"].T}
            else:
                found[path] = g
        return loss, found

    def local(self, client, batches):
        model = self.start_of(client)
        velocity = self.velocity[client] if self.keep else None
        velocity = combine(np.zeros_like, model) if velocity is None else velocity
        total = 0.0
        for rows in batches:
            loss, grads = self.gradient(model, rows)
            total += loss
            velocity = combine(lambda v, g: self.sgd["beta"] * v + g, velocity, grads)
            moved = combine(lambda p, v: p - self.sgd["lr"] * v, model, velocity)
            moved = choose(self.frozen, model, moved)
            model = moved if self.ranks is None else cut(moved, self.ranks[client])
        if self.keep:
            self.velocity[client] = velocity
        return model, total / max(len(batches), 1), None

    def aggregate(self, results):
        if not results:
            return
        weights = np.array([r[1] for r in results])
        mean = combine(
            lambda *xs: sum(w * x for w, x in zip(weights, xs, strict=True)) / weights.sum(), *(r[2] for r in results)
        )
        if self.ranks is not None:
            mean = cut(mean, max(self.ranks[r[0]] for r in results), self.server)
        self.server = choose(self.frozen, self.server, choose(self.local_factor, self.server, mean))
        for client, _, model, *_ in results:
            self.own[client] = model
